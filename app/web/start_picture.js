// The picture that a request begins from: how much of it is drawn anew, where, and how it is made to fit.

import { byId, el } from "./dom.js";
import { createFurther } from "./further.js";
import { editMask } from "./mask.js";
import { notify } from "./problems.js";
import { opaque, pictureUrl, sizeOf } from "./send_picture.js";
import { chooser } from "./slot.js";

const DENOISE = { least: 0.05, usual: 0.75 };
const OF_MASK = ["mask_blur", "inpaint_area", "inpaint_padding"];
const SHOWN_AS = { stretch: "fill", crop: "cover", pad: "contain", refuse: "contain" }; // `fit` as CSS has it

/** Fields of a request that are chosen here. */
export const START_FIELDS = ["init_image", "denoise", "mask_image", ...OF_MASK];

/**
 * The card in `place`; `drawn()` is [width, height] of the drawing, and `fit()` how pictures are brought to that;
 * `began(stored)` is called with a picture to start from, `changed()` when anything here changes.
 */
export function createStart(place, { drawn, fit, began, changed }) {
  let start = null; // {ref, width, height}
  let mask = null;
  let fields = {}; // by name, as JSON Schema
  let profile = {};
  const denoise = el("input", { type: "range", id: "denoise", min: String(DENOISE.least), max: "1", step: "0.05" });
  const exactly = el("input", { type: "number", id: "denoise-number", min: "0.001", max: "1", step: "any", required: true, "aria-label": "Drawn anew, as a number" });
  const ofMask = el("div", { class: "grid" });
  const furtherOfMask = createFurther(ofMask);
  const view = el("div", { class: "view" });

  denoise.addEventListener("input", () => (exactly.value = denoise.value));
  exactly.addEventListener("input", () => (denoise.value = exactly.value));

  const obeys = (name) => profile.obeys?.[name] ?? false;
  const some = (names) => Object.fromEntries(names.filter((name) => fields[name]).map((name) => [name, fields[name]]));

  /** The picture as the model sees it: at the drawing's shape, by `fit`, with what is drawn anew in red. */
  function look() {
    if (!start) return;
    const [width, height] = drawn();
    const how = SHOWN_AS[fit()];
    const layers = [el("img", { src: pictureUrl(start.ref), alt: "Start picture" })];
    if (mask) {
      const red = el("div", { class: "masked" });
      red.style.maskImage = red.style.webkitMaskImage = `url("${new URL(pictureUrl(mask), document.baseURI).href}")`;
      red.style.maskSize = red.style.webkitMaskSize = { fill: "100% 100%" }[how] ?? how;
      layers.push(red);
    }
    view.replaceChildren(...layers);
    view.style.setProperty("--fit", how);
    view.style.aspectRatio = `${width} / ${height}`;
    view.title = `${start.width} × ${start.height}, drawn at ${width} × ${height}`;
    ofMask.hidden = !mask;
  }

  function change() {
    look();
    changed();
  }

  /** What a model that draws nothing without a mask still needs, in words; empty where that is nothing. */
  function lacks() {
    if (profile.inpaint !== "native" || mask) return "";
    return start ? "This model draws only inside a mask: paint one." : "This model draws into a picture: choose one, and paint where.";
  }

  function render() {
    place.hidden = !start && !lacks();
    const hint = lacks() ? el("p", { class: "hint", id: "start-lacks" }, lacks()) : null;
    if (!start) {
      const choose = hint ? chooser("Choose a picture…", "A picture to draw into", (stored) => api.begin(stored)) : [];
      return place.replaceChildren(...(hint ? [el("div", { class: "row" }, el("h3", {}, "Start from"), ...choose), hint] : []));
    }
    const out = () => {
      start = mask = null;
      render();
      changed();
    };
    const painted = (ref) => {
      mask = ref;
      render();
      changed();
    };
    const masks = obeys("mask_image") ? [
      el("button", { type: "button", class: "small", onclick: () => editMask(start, mask, painted).catch(notify) }, mask ? "Edit the mask…" : "Paint a mask…"),
      mask ? el("button", { type: "button", class: "small", onclick: () => painted(null) }, "Remove the mask") : null,
    ] : [];
    place.replaceChildren(
      el("div", { class: "row" }, el("h3", {}, "Start from"),
        ...chooser("Another…", "Another picture to start from", (stored) => api.begin(stored)),
        el("button", { type: "button", class: "small", "aria-label": "Remove the start picture", onclick: out }, "✕")),
      el("div", { class: "begun" }, view,
        el("div", { class: "settings" },
          el("div", { class: "field" }, el("label", { for: "denoise" }, "Drawn anew"), el("div", { class: "joined strengths" }, denoise, exactly)),
          el("div", { class: "buttons" }, ...masks), hint)),
      ofMask,
    );
    look();
  }

  for (const kind of ["input", "change"]) place.addEventListener(kind, change);

  const api = {
    /** Takes what a model obeys; what it does not goes. */
    offer(known, chosen) {
      fields = known;
      profile = chosen;
      furtherOfMask.offer(some(OF_MASK), chosen, "");
      if (!obeys("init_image")) start = mask = null;
      render();
    },

    /** Begins from a picture that is stored; one with transparent places is put on white. */
    async begin(given) {
      const stored = await opaque(given);
      if (mask && (stored.width !== start.width || stored.height !== start.height)) mask = null;
      if (!start) denoise.value = exactly.value = String(DENOISE.usual);
      start = stored;
      began(stored);
      render();
      place.scrollIntoView({ block: "nearest" });
      changed();
    },

    /** Whether the model was given the picture and the mask that it needs; goes where they are given where it was not. */
    valid() {
      if (!lacks()) return true;
      byId("start-lacks").classList.add("problem");
      const [button] = place.querySelectorAll(start ? ".buttons button" : "button");
      button.setAttribute("aria-describedby", "start-lacks");
      button.focus();
      return false;
    },

    /** Whether there is a picture. */
    begun: () => start !== null,

    values: () => !start ? {} : {
      ...(mask ? { mask_image: mask, ...furtherOfMask.values() } : {}),
      init_image: start.ref,
      denoise: Number(exactly.value),
    },

    /** Puts back what a resolved request has. */
    async set(request) {
      start = request.init_image ? { ref: request.init_image } : null;
      mask = request.mask_image ?? null;
      furtherOfMask.set(request);
      denoise.value = exactly.value = String(request.denoise ?? DENOISE.usual);
      if (start) Object.assign(start, await sizeOf(start.ref));
      render();
    },

    look,
  };
  return api;
}
