// A place for pictures in the form: small views of them, each with a button that takes it out, and one that adds another.

import { el } from "./dom.js";
import { notify } from "./problems.js";
import { PICTURE_TYPES, pictureUrl, sendPicture } from "./send_picture.js";

/** Calls `take(stored)` with each picture that is chosen by a button; the button, with its hidden file input. */
export function chooser(text, label, take, more = {}) {
  const input = el("input", { type: "file", accept: PICTURE_TYPES, hidden: true, "aria-label": label, ...more });
  const button = el("button", { type: "button", class: "small", onclick: () => input.click() }, text);
  input.addEventListener("change", async () => {
    button.disabled = true;
    try {
      for (const file of [...input.files]) await take(await sendPicture(file));
    } catch (error) {
      notify(error);
    } finally {
      input.value = "";
      button.disabled = false;
    }
  });
  return [button, input];
}

/** A picture as a small view with a button that takes it out. */
export function thumb(ref, label, remove) {
  return el(
    "figure",
    { class: "thumb" },
    el("img", { src: pictureUrl(ref), alt: label, loading: "lazy" }),
    el("button", { type: "button", class: "small", "aria-label": `Remove ${label}`, onclick: remove }, "✕"),
  );
}

/**
 * Up to `most` pictures, as an element; `refs` is the list of them, which it changes in place.
 *
 * `changed(stored)` is called whenever it does, with the picture that was added.
 */
export function slot({ refs, most, text, label, changed, ...more }) {
  const shown = el("div", { class: "slot" });
  const render = () => {
    const views = refs.map((ref, at) => thumb(ref, refs.length > 1 ? `${label} ${at + 1}` : label, () => {
      refs.splice(at, 1);
      render();
      changed?.();
    }));
    const take = ({ ref, ...size }) => {
      if (most === 1) refs.length = 0;
      if (refs.length < most && !refs.includes(ref)) refs.push(ref);
      render();
      changed?.({ ref, ...size });
    };
    const full = most > 1 && refs.length >= most;
    shown.replaceChildren(...views, ...(full ? [] : chooser(refs.length && most === 1 ? "Another…" : text, label, take, more)));
  };
  render();
  return shown;
}
