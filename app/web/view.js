// Which part of the page is shown: by the part of its address after #, so that links, Back and a reload do what they should.

import { byId } from "./dom.js";

const VIEWS = ["draw", "train"];

/** The view that is shown, and what is said of it: "#train/dataset:2c26" is ["train", "dataset:2c26"]. */
export function shownView() {
  const [view, ...rest] = location.hash.slice(1).split("/");
  return VIEWS.includes(view) ? [view, rest.join("/")] : [VIEWS[0], ""];
}

/** Shows what the address says, now and whenever that changes; `listener(view, said)` is told. */
export function followAddress(listener) {
  function show() {
    const [view, said] = shownView();
    for (const one of VIEWS) {
      byId(`${one}-view`).hidden = one !== view;
      const link = byId(`${one}-link`);
      if (one === view) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    listener(view, said);
  }

  window.addEventListener("hashchange", show);
  show();
}

/** Goes to a view. */
export function goTo(view) {
  location.hash = view;
  window.scrollTo(0, 0);
}

/** Keeps in the address what the shown view is about; Back does not return to what it was about before. */
export function keepInAddress(view, said) {
  history.replaceState(null, "", said ? `#${view}/${said}` : `#${view}`);
}
