// The checkpoints of a training side by side: prompts down, steps across, each sample drawn with the same seed.

import { short } from "./amounts.js";
import { byId, dialogTop, el, openDialog } from "./dom.js";

const SHOWN_AT_LEAST = 512;

function enlarged({ prompt, seed }, { step, url }) {
  const image = el("img", { class: "enlarged", src: url, alt: `${prompt}, after step ${step}` });
  image.addEventListener("load", () => {
    const times = Math.max(1, Math.floor(SHOWN_AT_LEAST / Math.max(image.naturalWidth, image.naturalHeight)));
    image.width = image.naturalWidth * times;
  });
  openDialog(byId("picture"), dialogTop("picture-title", prompt), image, el("p", { class: "quiet" }, `after step ${step}, seed ${seed}`));
}

function cell(sample, picture) {
  if (!picture) return el("td", {}, el("span", { class: "waiting", "aria-label": "not drawn" }));
  const label = `${sample.prompt}, after step ${picture.step}`;
  const image = el("img", { src: picture.url, alt: label, loading: "lazy" });
  return el("td", {}, el("button", { type: "button", class: "picture", "aria-label": `Enlarge: ${label}`, onclick: () => enlarged(sample, picture) }, image));
}

/** What is known of each checkpoint, by step in order: those of the record, and those that samples were drawn with. */
function columnsOf({ checkpoints = [], pictures }) {
  const found = new Map(checkpoints.map((one) => [one.step, one]));
  for (const { step } of pictures) if (!found.has(step)) found.set(step, { step, loss: null });
  return [...found.values()].sort((a, b) => a.step - b.step);
}

/** The grid; `over(step)` is what stands over a checkpoint that is kept. Null where there is no checkpoint yet. */
export function checkpointGrid(training, over) {
  const columns = columnsOf(training);
  const { samples, name } = training.request;
  if (!columns.length) return null;
  const kept = new Set((training.checkpoints ?? []).map(({ step }) => step));
  const heads = columns.map(({ step, loss }) => el("th", { scope: "col" },
    el("div", {}, `Step ${step}`),
    loss === null || loss === undefined ? null : el("div", { class: "quiet" }, `loss ${short(loss)}`),
    kept.has(step) ? over(step) : null));
  const rows = samples.map((sample, at) => el("tr", {},
    el("th", { scope: "row" }, sample.prompt, el("div", { class: "quiet" }, `seed ${sample.seed}`)),
    ...columns.map(({ step }) => cell(sample, training.pictures.find((one) => one.step === step && one.sample === at)))));
  return el("div", { class: "checkpoints", role: "region", tabindex: "0", "aria-label": `Checkpoints of ${name}` },
    el("table", {}, el("thead", {}, el("tr", {}, el("td", {}, "Checkpoints"), ...heads)), el("tbody", {}, ...rows)));
}
