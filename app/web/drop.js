// Files from outside: dropped anywhere on the page, or chosen with the button.

import { byId, el } from "./dom.js";
import { dropped } from "./folder.js";
import { shownView } from "./view.js";

const HINTS = {
  draw: "Drop a picture to draw from it, or the file of an adapter",
  train: "Drop a folder, a zip or pictures to train on them",
};

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/**
 * Calls `take(file)` for a file that is dropped on the drawing view, pasted or chosen, and `learn(promise)` with the
 * [path, File] pairs to come of all that is dropped on the training view.
 */
export function acceptFiles(take, learn) {
  const veil = byId("drop");
  const input = el("input", { type: "file", accept: ".safetensors,.zip", id: "adapters-file", hidden: true });
  byId("adapters-add").after(input);
  byId("adapters-add").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files.length) take(input.files[0]);
    input.value = "";
  });
  window.addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (!file || shownView()[0] !== "draw" || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(file);
  });
  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    byId("drop-hint").textContent = HINTS[shownView()[0]];
    veil.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    if (shownView()[0] === "train") learn(dropped(event.dataTransfer));
    else if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
