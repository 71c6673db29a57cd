// Pictures that a request draws from: dropped, pasted or chosen, then put to the use that the visitor says.

import { byId, dialogTop, el, openDialog } from "./dom.js";
import { notify } from "./problems.js";
import { pictureUrl, sendPicture } from "./send_picture.js";
import { chooser, slot } from "./slot.js";
import { START_FIELDS, createStart } from "./start_picture.js";

const MOST_REFERENCES = 8;

/** Fields of a request that are chosen in this section. */
export const PICTURE_FIELDS = [...START_FIELDS, "reference_images"];

/**
 * The section; `sizes` as `createStart` takes them; `others(stored)` are further uses of a picture, as [what it is for,
 * what does it]; `changed()` is called when anything here changes.
 */
export function createPictures({ sizes, others, changed }) {
  const section = byId("pictures-in");
  const start = createStart(byId("start-picture"), sizes, changed);
  const references = [];
  let profile = {};

  function showReferences() {
    const place = byId("references");
    place.hidden = !profile.obeys?.reference_images;
    if (place.hidden) references.length = 0;
    place.replaceChildren(el("h3", {}, "Shown to the model"), slot({
      refs: references, most: MOST_REFERENCES, text: "Add…", label: "Reference picture", multiple: true, changed,
    }));
  }

  /** What a picture may be for with this model, as [words, act]. */
  function uses(stored) {
    const own = [
      profile.obeys?.init_image && ["Start from it", () => start.begin(stored)],
      profile.obeys?.reference_images && ["Show it to the model", () => {
        if (references.length < MOST_REFERENCES) references.push(stored.ref);
        showReferences();
        changed();
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
      start.offer(fields, chosen);
      showReferences();
      this.show();
    },

    /** Shows the section where a picture is of use: by the model, or by an adapter of the list. */
    show() {
      section.hidden = uses({}).length === 0;
    },

    /** Takes a picture file, sends it, and asks what it is for. */
    async take(file) {
      await ask(await sendPicture(file));
    },

    /** What is chosen here, as the wire has it. */
    values: () => ({ ...start.values(), ...(references.length ? { reference_images: [...references] } : {}) }),

    /** The same in words. */
    parts: () => [...start.parts(), ...(references.length ? [`${references.length} shown to the model`] : [])],

    /** Puts back what a resolved request has. */
    async set(request) {
      references.splice(0, Infinity, ...(request.reference_images ?? []));
      showReferences();
      await start.set(request);
      changed();
    },

    /** Shows the start picture at the drawing's shape. */
    look: start.look,
  };
}
