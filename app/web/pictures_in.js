// Pictures that a request draws from: dropped, pasted or chosen, then put to the use that the visitor says.

import { byId, dialogTop, el, onEdit, openDialog } from "./dom.js";
import { createFurther } from "./further.js";
import { notify } from "./problems.js";
import { pictureUrl, sendPicture } from "./send_picture.js";
import { chooser, slot } from "./slot.js";
import { START_FIELDS, createStart } from "./start_picture.js";

/** Fields of a request that are chosen in this section. */
export const PICTURE_FIELDS = [...START_FIELDS, "fit", "reference_images"];

/**
 * The section. `drawn()` is [width, height] of the drawing; `ask(picture)` asks for a picture's own size and says
 * whether the model draws it; `controls()` tells whether an adapter in use reads a picture of the drawing's size;
 * `others(stored)` are further uses of a picture, as [what it is for, what does it].
 */
export function createPictures({ drawn, ask: askFor, controls, others }) {
  const section = byId("pictures-in");
  const fitting = createFurther(byId("fitting"));
  const fit = () => fitting.values().fit ?? "refuse";
  const start = createStart(byId("start-picture"), { drawn, fit, began: (stored) => bring(stored, true), changed: show });
  const references = [];
  let profile = {};
  const most = () => profile.max_references ?? 0;
  const least = () => (profile.obeys?.reference_images ? profile.min_references ?? 0 : 0);

  /** Has a picture fit: by the drawing's size where that is `free`, else by cutting off what is too much. */
  function bring(stored, free) {
    const [width, height] = drawn();
    const same = free ? askFor(stored) : stored.width === width && stored.height === height;
    if (free && same) fitting.set({});
    else if (!same && fit() === "refuse") fitting.set({ fit: "crop" });
  }

  const placed = () => start.begun() || controls();

  function show() {
    section.hidden = uses({}).length === 0;
    byId("fitting").hidden = !placed();
    start.look();
  }

  onEdit(byId("fitting"), show);

  function showReferences() {
    const place = byId("references");
    place.hidden = !profile.obeys?.reference_images;
    references.splice(place.hidden ? 0 : most());
    const limits = least() ? ` (${least() === most() ? least() : `${least()} to ${most()}`})` : "";
    place.replaceChildren(
      el("h3", {}, `Shown to the model${limits}`),
      slot({ refs: references, most: most(), text: "Add…", label: "Reference picture", multiple: true, changed: tooFew }),
      el("p", { class: "hint problem", role: "alert" }),
    );
  }

  /** Says what is missing once it was asked for; whether it is. */
  function tooFew() {
    const few = references.length < least();
    const said = byId("references").querySelector("[role=alert]");
    const text = `This model draws nothing without ${least() === 1 ? "a picture" : `${least()} pictures`} to look at.`;
    if (said) said.textContent = few ? text : "";
    return few;
  }

  /** What a picture may be for with this model, as [words, act]. */
  function uses(stored) {
    const own = [
      profile.obeys?.init_image && ["Start from it", () => start.begin(stored)],
      profile.obeys?.reference_images && ["Show it to the model", () => {
        if (references.length < most()) references.push(stored.ref);
        showReferences();
      }],
    ];
    return [...own.filter(Boolean), ...others(stored)];
  }

  async function ask(stored) {
    const found = uses(stored);
    if (!found.length) return notify(new Error("This model draws from no picture, and no adapter here reads one."));
    if (found.length === 1) return found[0][1]();
    const dialog = byId("use");
    const choose = (act) => () => {
      dialog.close();
      Promise.resolve(act()).catch(notify);
    };
    openDialog(dialog, dialogTop("use-title", "What is this picture for?"),
      el("div", { class: "begun" }, el("img", { class: "view", src: pictureUrl(stored.ref), alt: "The picture" }),
        el("div", { class: "settings" }, ...found.map(([words, act]) => el("button", { type: "button", onclick: choose(act) }, words)))));
  }

  const [button, input] = chooser("Add a picture…", "A picture to draw from", ask);
  button.id = "pictures-in-add";
  byId("pictures-in-title").after(button, input);

  return {
    /** Takes what a model obeys, and the fields of a request by name, as JSON Schema. */
    offer(fields, chosen) {
      profile = chosen;
      fitting.offer(fields.fit ? { fit: fields.fit } : {}, chosen, "");
      start.offer(fields, chosen);
      showReferences();
      show();
    },

    /** Whether the model was given the pictures that it needs; says so and goes there where it was not. */
    valid() {
      if (!start.valid()) return false;
      if (!tooFew()) return true;
      byId("references").querySelector("button.small:not([aria-label])").focus();
      return false;
    },

    /** Shows what is of use: by the model, or by an adapter of the list. */
    show,

    /** How pictures are brought to the drawing's size. */
    fit,

    /** Has the picture that an adapter was given fit. */
    bring(stored) {
      bring(stored, !start.begun());
      show();
    },

    /** Takes a picture file, sends it, and asks what it is for. */
    async take(file) {
      await ask(await sendPicture(file));
    },

    /** What is chosen here, as the wire has it. */
    values: () => ({ ...start.values(), ...(placed() ? fitting.values() : {}), ...(references.length ? { reference_images: [...references] } : {}) }),

    /** Puts back what a resolved request has. */
    async set(request) {
      references.splice(0, Infinity, ...(request.reference_images ?? []));
      showReferences();
      fitting.set(request);
      await start.set(request);
      show();
    },
  };
}
