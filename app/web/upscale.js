// A second pass at a larger size: how much larger, how much of it is drawn anew, and what is scaled.

import { el } from "./dom.js";

const METHODS = { lanczos: "the picture", latent: "its latents" };
const USUAL = { denoise: 0.4, method: "lanczos" };

/** Three inputs in `place`, and the `upscale` of a request that they stand for; none where no scale is given. */
export function createUpscale(place) {
  const number = (id, more) => el("input", { id, type: "number", step: "any", ...more });
  const scale = number("upscale-scale", { min: "1.01", max: "4", placeholder: "none" });
  const denoise = number("upscale-denoise", { min: "0.001", max: "1", placeholder: String(USUAL.denoise) });
  const method = el("select", { id: "upscale-method" }, ...Object.entries(METHODS).map(([value, text]) => el("option", { value }, text)));
  const field = (text, input) => el("div", { class: "field" }, el("label", { for: input.id }, text), input);
  place.replaceChildren(field("Upscale by", scale), field("Drawn anew in it", denoise), field("By scaling", method));

  const api = {
    offer(profile) {
      place.hidden = !profile.obeys?.upscale;
      if (place.hidden) api.set({});
    },
    values: () => scale.value === "" ? {} : {
      upscale: { scale: Number(scale.value), denoise: Number(denoise.value || USUAL.denoise), method: method.value },
    },
    parts: () => scale.value === "" ? [] : [`${scale.value} times larger`],
    set({ upscale }) {
      scale.value = upscale?.scale ?? "";
      denoise.value = upscale?.denoise ?? "";
      method.value = upscale?.method ?? USUAL.method;
    },
  };
  return api;
}
