// The pictures of one generation: each a tile that shows progress first and the picture then.

import { el } from "./dom.js";
import { ended } from "./follow.js";
import { partsText } from "./parts.js";
import { nameAndStrength } from "./strength.js";

const LILY = new URL("./lily.svg", import.meta.url).href; // until there is a preview

function useText(use) {
  const parts = partsText(use);
  return parts ? `${nameAndStrength(use)} (${parts})` : nameAndStrength(use);
}

/** A stack as a short text: "no adapter", "fluent-3d-lokr × 0.8 + ink × 0.5 (mid=0)". */
export function stackText(adapters) {
  return adapters.map(useText).join(" + ") || "no adapter";
}

function stateText({ status, queue_position: place, progress, error }) {
  const texts = {
    queued: place ? `Waiting, number ${place} in line` : "Waiting",
    running: progress.step ? `Step ${progress.step} of ${progress.steps}` : "Starting",
    failed: error?.message ?? "Failed",
    canceled: "Canceled",
    succeeded: "Fetching",
  };
  return texts[status] ?? status;
}

function picture(generation, image, open) {
  const { prompt, adapters } = generation.request;
  const shown = el("img", { src: image.url, alt: prompt, width: image.width, height: image.height, loading: "lazy" });
  shown.style.aspectRatio = `${image.width} / ${image.height}`;
  const label = `Details of: ${prompt}, seed ${image.seed}, ${stackText(adapters)}`;
  return el("button", { type: "button", class: "picture", "aria-label": label, onclick: () => open(generation.id, image.index) }, shown);
}

function pending(generation, index, cancel, remove) {
  const lily = el("img", { src: LILY, alt: "" });
  const text = el("p", {});
  const bar = el("progress", { "aria-label": `Progress of: ${generation.request.prompt}` });
  const stop = el("button", { type: "button", class: "small", onclick: () => { stop.disabled = true; cancel(generation.id); } }, "Cancel");
  const away = el("button", { type: "button", class: "small", onclick: () => { away.disabled = true; remove(generation.id); } }, "Remove");
  const blank = el("div", { class: "blank" }, lily, text, bar, ...(cancel ? [stop, away] : []));
  blank.style.aspectRatio = `${generation.request.width} / ${generation.request.height}`;
  const update = (state) => {
    const { step, steps } = state.progress;
    text.textContent = stateText(state);
    bar.max = steps;
    if (state.status === "queued") bar.removeAttribute("value");
    else bar.value = step;
    const preview = state.preview?.index === index ? state.preview.data : null;
    const shown = preview ?? LILY;
    if (lily.src !== shown) lily.src = shown;
    lily.classList.toggle("preview", Boolean(preview));
    lily.style.opacity = String(preview ? 1 : 0.12 + (0.88 * step) / steps);
    blank.classList.toggle("over", ended(state));
    bar.hidden = stop.hidden = ended(state);
    away.hidden = !ended(state) || state.status === "succeeded";
  };
  update(generation);
  return { blank, update };
}

function tile(generation, index, { open, cancel, remove }) {
  const { adapters, count, seed } = generation.request;
  const caption = el("figcaption", { class: adapters.length ? "active" : "quiet" });
  if (count === 1 || adapters.length) caption.append(el("div", {}, stackText(adapters)));
  if (count > 1) caption.append(el("div", { class: "quiet" }, `seed ${seed + index}`));
  const star = el("span", { class: "star", title: "Starred", hidden: true }, "★ ");
  caption.prepend(star);
  const { blank, update } = pending(generation, index, index === 0 ? cancel : null, remove);
  const figure = el("figure", { class: "tile" }, blank, caption);
  let shown;
  return {
    figure,
    update(state) {
      update(state);
      star.hidden = !state.starred;
      const image = state.images.find((candidate) => candidate.index === index);
      // The picture comes once; it goes again if the generation is canceled or done anew on another worker.
      if (image?.sha256 === shown) return;
      shown = image?.sha256;
      figure.firstElementChild.replaceWith(image ? picture(state, image, open) : blank);
    },
  };
}

/** The tiles of a generation: their elements, and `update(generation)` for its newer states. */
export function createTiles(generation, actions) {
  const tiles = Array.from({ length: generation.request.count }, (_, index) => tile(generation, index, actions));
  const update = (state) => tiles.forEach((one) => one.update(state));
  update(generation);
  return { figures: tiles.map(({ figure }) => figure), update };
}
