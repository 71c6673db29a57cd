// One picture in full: its whole recipe, its file, and its settings for another go.

import { byId, dialogTop, el, facts, openDialog } from "./dom.js";
import { keeping } from "./keep.js";
import { partsShown } from "./parts.js";
import { notify } from "./problems.js";
import { pictureUrl } from "./send_picture.js";
import { strengthText } from "./strength.js";
import { stackText } from "./tiles.js";

const SHOWN_AT_LEAST = 384;
const APPLIED = { bypass: "by bypass, not merged", recompute: "by recomputing, not merged" }; // merging is usual
const BECAUSE = {
  masked: ", because an adapter is kept to a region",
  quantised: ", as weights are quantised",
  no_forward_form: ", as weights are quantised and an adapter has no forward form",
  in_sequence: ", as weights are quantised and adapters follow each other",
  never_called: ", as the model does not call all of its layers",
};

function fileName(prompt, seed) {
  const words = prompt.toLowerCase().normalize("NFKD").replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);
  return `${words || "picture"}-${seed}.png`;
}

function applied({ applied: way, applied_because: because }) {
  return APPLIED[way] && APPLIED[way] + (BECAUSE[because] ?? "");
}

function adapterLine({ name, version, strength, strengths, sha256, ignore, kind, boxes, ...rest }) {
  const parts = Object.entries(strengths ?? {}).map(([component, value]) => `, ${component} ${strengthText(value)}`);
  const left = ignore?.length ? `, without ${ignore.join(", ")}` : "";
  return el(
    "li",
    {},
    `${name} version ${version} at ${strengthText(strength)}${parts.join("")}${partsShown(rest)}${left} `,
    el("code", { class: "quiet", title: sha256 }, sha256.slice(0, 12)),
  );
}

function timing(timings) {
  if (!timings) return null;
  const { queued, load, swap, sample, store, total } = timings;
  const ms = (value) => `${Math.round(value)}`;
  return `${ms(total)} ms: waiting ${ms(queued)}, loading ${ms(load)}, swap ${ms(swap)}, drawing ${ms(sample)}, storing ${ms(store)}`;
}

/** The pictures that it was drawn from, as small views; null where there are none. */
function drawnFrom({ init_image: start, mask_image: mask, reference_images: shown = [], denoise, adapters }) {
  const views = [
    start && [start, "start picture"],
    mask && [mask, "mask"],
    ...shown.map((ref, at) => [ref, `reference picture ${at + 1}`]),
    ...adapters.flatMap(({ name, image, images = [] }) => [image, ...images].map((ref) => ref && [ref, `picture of ${name}`])),
  ].filter(Boolean);
  if (!views.length) return null;
  const words = start ? el("p", {}, `${strengthText(denoise)} drawn anew${mask ? " where masked" : ""}`) : null;
  return el("div", { class: "slot" }, ...views.map(([ref, label]) => el("figure", { class: "thumb" }, el("img", { src: pictureUrl(ref), alt: label }))), words);
}

/** Shows picture `index` of a generation; `reuse(request, seed)` puts its settings back, `from(url)` draws from it, `star(on)` and `remove()` keep it or not. */
export function showPicture(generation, index, { reuse, from, star, remove }) {
  const dialog = byId("picture");
  const { request } = generation;
  const image = generation.images.find((candidate) => candidate.index === index);
  const { seed } = image;
  const times = Math.max(1, Math.floor(SHOWN_AT_LEAST / Math.max(image.width, image.height)));
  const again = () => {
    dialog.close();
    reuse({ ...request, priority: generation.priority }, seed);
  };
  const onward = () => {
    dialog.close();
    from(image.url).catch(notify);
  };
  const actions = el(
    "div",
    { class: "actions" },
    el("button", { type: "button", class: "primary", onclick: again }, "Reuse these settings"),
    el("button", { type: "button", onclick: onward }, "Draw from it"),
    el("a", { class: "button", href: image.url, download: fileName(request.prompt, seed) }, "Download PNG"),
  );
  keeping(generation, actions, { star, remove, gone: () => dialog.close() });
  openDialog(
    dialog,
    dialogTop("picture-title", request.prompt),
    el(
      "div",
      { class: "detail" },
      el("img", { src: image.url, alt: `${request.prompt}, ${stackText(request.adapters)}`, width: image.width * times, height: image.height * times }),
      el(
        "div",
        {},
        facts([
          ["Seed", String(seed)],
          ["Adapters", request.adapters.length ? el("ul", {}, ...request.adapters.map(adapterLine)) : "none"],
          ["Applied", applied(generation)],
          ["Drawn from", drawnFrom(request)],
          ["Negative prompt", request.negative_prompt],
          ["Model", request.model],
          ["Size", `${image.width} × ${image.height}`],
          ["Steps", String(request.steps)],
          ["Guidance scale", String(request.guidance_scale)],
          ["Sampler", request.sampler ?? "the model’s own"],
          ["Drawn", new Date(generation.finished_at ?? generation.created_at).toLocaleString()],
          ["Took", timing(generation.timings_ms)],
          ["sha256", el("code", { class: "quiet" }, image.sha256)],
        ]),
        actions,
      ),
    ),
  );
}
