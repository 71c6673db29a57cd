// The pictures of a dataset with their captions, which are written in place.

import { el } from "./dom.js";
import { pictureUrl } from "./send_picture.js";

/** The list of them; `said(ref, caption)` is called with each caption that is changed. */
export function captionList(pictures, said) {
  return el("ul", { class: "captions" }, ...pictures.map((picture) => entry(picture, said)));
}

function entry({ ref, thumbnail, caption, name, width, height, repeats }, said) {
  const called = name || `${width} × ${height}`;
  const text = el("textarea", { rows: "2", "aria-label": `Caption of ${called}`, placeholder: "no caption yet" }, caption ?? "");
  const seen = repeats > 1 ? `, ${repeats} times an epoch` : "";
  const item = el(
    "li",
    { class: caption === null ? "missing" : "" },
    el("img", { src: pictureUrl(thumbnail ?? ref), alt: called, title: `${called}, ${width} × ${height}${seen}`, loading: "lazy" }),
    text,
  );
  text.addEventListener("change", () => {
    item.classList.remove("missing");
    said(ref, text.value);
  });
  return item;
}
