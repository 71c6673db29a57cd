// What a generation that has ended may be told: to stay whatever its age, or to go.

import { el } from "./dom.js";
import { ended } from "./follow.js";
import { announce, problemView } from "./problems.js";

/** Buttons at the end of `actions`, the bottom of a dialog: `star(on)` and `remove()` do it, `gone()` is called then. */
export function keeping(generation, actions, { star, remove, gone }) {
  let starred = generation.starred;
  const label = () => (starred ? "★ Starred" : "☆ Star");
  const toggle = el("button", { type: "button", "aria-pressed": String(starred), onclick: mark }, label());
  const offered = [...actions.childNodes, toggle];
  if (ended(generation)) offered.push(el("button", { type: "button", onclick: ask }, "Delete…"));
  const offer = () => actions.replaceChildren(...offered);

  async function mark() {
    toggle.disabled = true;
    try {
      starred = (await star(!starred)).starred;
      toggle.textContent = label();
      toggle.setAttribute("aria-pressed", String(starred));
    } catch (error) {
      actions.append(problemView(error));
    }
    toggle.disabled = false;
  }

  async function erase() {
    try {
      await remove();
    } catch (error) {
      actions.replaceChildren(problemView(error));
      return;
    }
    announce(`${generation.request.prompt} deleted`);
    gone();
  }

  function ask() {
    const { count } = generation.request;
    const keep = el("button", { type: "button", onclick: offer }, "Keep it");
    actions.replaceChildren(
      el("p", {}, count > 1 ? `Delete this picture and the ${count - 1} drawn with it? They cannot be brought back.` : "Delete this picture? It cannot be brought back."),
      el("button", { type: "button", class: "primary", onclick: erase }, "Delete"),
      keep,
    );
    keep.focus();
  }

  offer();
}
