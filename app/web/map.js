// What a control net reads of its picture: the picture as it is, or a map made of it, which can be looked at before.

import { call } from "./api.js";
import { el } from "./dom.js";
import { problemView } from "./problems.js";
import { madeOf, pictureUrl } from "./send_picture.js";

// As people call them
const KINDS = { none: "Read as it is", canny: "Its edges (canny)", depth: "Its depth", pose: "Its poses" };

/** The ref of the map that `use` would read at this size; throws Problem. */
async function mapOf({ image, preprocess, thresholds = null }, [width, height], fit) {
  const answer = await call("POST", `v1/images/${image}/preprocess`, { body: { preprocess, width, height, fit, thresholds } });
  return (await madeOf(answer)).ref;
}

/**
 * The choice for `use.preprocess`, which it changes in place, and a button that shows the map.
 *
 * `made` are the kinds of maps that are made here; one that was asked for elsewhere stays, and is refused by name.
 * `drawing()` is the size of the drawing and how pictures are brought to it: a map that was shown goes with them.
 */
export function mapField(name, use, made, drawing) {
  const offered = ["none", ...made, use.preprocess].filter((one, at, all) => one && all.indexOf(one) === at);
  const kind = el("select", { "aria-label": `What ${name} reads of its picture` },
    ...offered.map((value) => el("option", { value, selected: value === (use.preprocess ?? "none") }, KINDS[value] ?? value)));
  const view = el("div", { class: "map", role: "status" });
  const button = el("button", { type: "button", class: "small", onclick: show }, "See the map");
  let seen = null; // what the map in view was made of

  const wanted = () => JSON.stringify([use.image, use.preprocess, use.thresholds, drawing()]);

  function look() {
    button.hidden = !use.image || (use.preprocess ?? "none") === "none";
    if (seen !== null && seen !== wanted()) clear();
  }

  function clear() {
    seen = null;
    view.replaceChildren();
  }

  async function show() {
    const asked = wanted();
    const { size, fit } = drawing();
    button.disabled = true;
    clear();
    try {
      const ref = await mapOf(use, size, fit);
      if (asked !== wanted()) return;
      const said = `${size[0]} × ${size[1]}, as ${name} reads it`;
      view.append(el("img", { src: pictureUrl(ref), alt: `Map for ${name}`, width: size[0], height: size[1] }), el("p", { class: "hint quiet" }, said));
    } catch (error) {
      view.append(problemView(error));
    } finally {
      seen = asked;
      button.disabled = false;
    }
  }

  kind.addEventListener("change", () => {
    if (kind.value === "none") delete use.preprocess;
    else use.preprocess = kind.value;
    delete use.thresholds; // they were of another map
    look();
  });
  look();
  return { element: el("div", { class: "maps" }, el("div", { class: "row" }, kind, button), view), look };
}
