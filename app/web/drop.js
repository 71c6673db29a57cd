// Files from outside: dropped anywhere on the page, or chosen with the button.

import { byId, el } from "./dom.js";

function carriesFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

/** Calls `take(file)` for a file dropped on the page, pasted or chosen. */
export function acceptFiles(take) {
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
    if (!file || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    take(file);
  });
  window.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true;
  });
  window.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    veil.hidden = true;
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
  });
}
