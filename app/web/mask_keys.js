// Painting a mask without a pointer: arrow keys move a brush over it, Space puts it down and takes it up again.

import { el } from "./dom.js";

const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FINE = 0.25; // of the brush's size is one move; with Shift it is all of it

/**
 * A ring that shows where the brush is while `canvas` is used by keys, to be put over the canvas.
 *
 * `begin(point)` starts a stroke, `move(point)` goes on with it, `end()` ends it; `size()` is the brush's, all in the
 * canvas's pixels.
 */
export function brushByKeys(canvas, { begin, move, end, size }) {
  const ring = el("div", { class: "brush", hidden: true });
  const edges = [canvas.width, canvas.height];
  let place = edges.map((edge) => edge / 2);
  let down = false;

  function look() {
    const [left, top] = place.map((at, axis) => `${(at / edges[axis]) * 100}%`);
    Object.assign(ring.style, { left, top, width: `${(size() / canvas.width) * 100}%` });
    ring.classList.toggle("down", down);
  }

  function lift() {
    if (down) end();
    down = false;
  }

  canvas.tabIndex = 0;
  canvas.addEventListener("focus", () => {
    ring.hidden = !canvas.matches(":focus-visible");
    look();
  });
  canvas.addEventListener("blur", () => {
    lift();
    ring.hidden = true;
  });
  canvas.addEventListener("keydown", (event) => {
    const way = MOVES[event.key];
    if (!way && event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    ring.hidden = false;
    if (way) {
      const far = size() * (event.shiftKey ? 1 : FINE);
      place = place.map((at, axis) => Math.min(Math.max(at + way[axis] * far, 0), edges[axis]));
      if (down) move(place);
    } else if (down) {
      lift();
    } else {
      down = true;
      begin(place);
    }
    look();
  });
  return ring;
}
