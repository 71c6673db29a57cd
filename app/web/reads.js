// Adapters that read pictures: how many, what is said of that, and the place for them in an adapter's row.

import { el } from "./dom.js";
import { slot } from "./slot.js";

const MOST_PICTURES = 16; // of one image prompt
const READS = {
  control: { called: "control", most: 1, text: "Choose a picture…", label: "Control picture", sized: true, use: "Follow its shapes" },
  image_prompt: { called: "image prompt", most: MOST_PICTURES, text: "Add a picture…", label: "Prompt picture", use: "Draw something like it", multiple: true },
};

/** What an adapter reads, by its kind and, of weights, by its verdict where that is known; null where it reads none. */
export function readsOf({ kind }, verdict) {
  return READS[kind] ?? (verdict?.reads_picture ? READS.control : null);
}

/** The pictures that `use` names, as a list. */
export function picturesOf({ image, images }) {
  return image ? [image] : [...(images ?? [])];
}

/** Puts a list of pictures back into `use`. */
export function setPictures(use, refs) {
  delete use.images;
  use.image = refs.length === 1 ? refs[0] : null;
  if (refs.length > 1) use.images = [...refs];
}

/** Which of its modes the picture of a net that is several in one is; null where a net has none. */
function modeField(name, use, modes = []) {
  if (!modes.length) return null;
  use.mode ??= modes[0];
  const chosen = el("select", {},
    ...modes.map((mode) => el("option", { value: mode, selected: mode === use.mode }, mode)));
  chosen.addEventListener("change", () => (use.mode = chosen.value));
  return el("label", { class: "named" }, `${name} reads it as`, chosen);
}

/**
 * The place for what an adapter reads, by its verdict where that is known.
 *
 * `given(stored)` is called when pictures change; `map` is the field of what is made of one, where it is read at the
 * drawing's size.
 */
export function picturesField(record, use, verdict, given, map) {
  const { most, text, multiple, label } = readsOf(record, verdict);
  const refs = picturesOf(use);
  const pictures = slot({ most, text, multiple, label: `${label} of ${record.name}`, refs, changed: (stored) => {
    setPictures(use, refs);
    map?.look();
    given(stored);
  } });
  return el("div", { class: "reads" }, pictures, map?.element, modeField(record.name, use, verdict?.modes));
}
