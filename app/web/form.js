// The prompt and the settings under "More": a model's defaults and limits in, a request out.

import { byId, el, onEdit } from "./dom.js";
import { createFurther } from "./further.js";
import { PICTURE_FIELDS } from "./pictures_in.js";
import { sizeFor } from "./size.js";
import { createUpscale } from "./upscale.js";

const SUGGESTIONS_AT_ONCE = 6;
const SMALL = 128; // pixels; larger pictures get larger tiles
const NUMBERS = { width: "width", height: "height", steps: "steps", guidance_scale: "guidance", count: "count" };
const OWN = ["prompt", "negative_prompt", "model", "adapters", "sampler", "seed", "upscale", ...PICTURE_FIELDS];
const FIELDS = new Set([...OWN, ...Object.keys(NUMBERS)]);
const OBEYED = { ...NUMBERS, negative_prompt: "negative" }; // inputs of fields that a model may not obey
const SHORT = { width: "wide", height: "high", steps: "steps", guidance_scale: "guidance", count: "pictures" };

/**
 * The form without its adapters.
 *
 * `changed(model, fields)` is called whenever the chosen model changes, with its profile and the fields of a request.
 */
export function createForm(changed) {
  const form = byId("form");
  const prompt = byId("prompt");
  const more = byId("more");
  const summary = more.querySelector("summary");
  let models = [];
  const further = createFurther(byId("further"));
  const upscale = createUpscale(byId("upscale"));
  let all = {}; // fields of a request, by name, as JSON Schema
  let known = {}; // those without a place of their own

  const profile = () => models.find(({ name }) => name === byId("model").value) ?? models[0] ?? null;
  const defaults = () => ({ ...profile(), count: 1 });

  function summarise() {
    const parts = [];
    const own = defaults();
    for (const [field, id] of Object.entries(NUMBERS)) {
      const { value } = byId(id);
      if (Number(value) !== own[field]) parts.push(`${value} ${SHORT[field]}`);
    }
    if (byId("sampler").value) parts.push(byId("sampler").value);
    if (byId("seed").value) parts.push(`seed ${byId("seed").value}`);
    if (negative()) parts.push("negative prompt");
    parts.push(...further.parts(), ...upscale.parts());
    summary.textContent = parts.length ? `More: ${parts.join(", ")}` : "More";
  }

  /** The negative prompt, where the model reads one at this guidance. */
  function negative() {
    return byId("negative").disabled ? "" : byId("negative").value.trim() && byId("negative").value;
  }

  function limit() {
    const { negative_over: over, sampler_steps: steps = {}, max_steps: most } = profile() ?? {};
    const unread = over !== null && over !== undefined && Number(byId("guidance").value) <= over;
    byId("negative").disabled = unread;
    byId("negative").placeholder = unread ? `read where the guidance scale is over ${over}` : "";
    const limits = [most, steps[byId("sampler").value || "own"]].filter(Number.isFinite);
    byId("steps").max = limits.length ? Math.min(...limits) : "";
  }

  /** Shows the inputs of what the model obeys, within its limits. */
  function offer() {
    const { obeys = {}, size_multiple: multiple = 8, sizes = [], max_edge: edge } = profile();
    for (const [field, id] of Object.entries(OBEYED)) byId(id).closest(".field").hidden = obeys[field] === false;
    for (const side of ["width", "height"]) {
      Object.assign(byId(side), { min: multiple, step: multiple, max: edge });
      if (sizes.length) byId(side).closest(".field").hidden = true;
    }
    byId("size").closest(".field").hidden = sizes.length === 0;
    byId("size").replaceChildren(...sizes.map((size) => el("option", { value: size.join("×") }, size.join(" × "))));
  }

  function chooseSampler(sampler) {
    const known = profile()?.samplers ?? [];
    const names = sampler && !known.includes(sampler) ? [...known, sampler] : known;
    byId("sampler").replaceChildren(
      el("option", { value: "" }, "the model’s own"),
      ...names.map((name) => el("option", { value: name }, name)),
    );
    byId("sampler").value = sampler ?? "";
    offerFurther();
  }

  function offerFurther() {
    upscale.offer(profile());
    further.offer(known, profile(), byId("sampler").value);
  }

  /** Shows numbers by field. */
  function fillNumbers(numbers) {
    for (const [field, id] of Object.entries(NUMBERS)) byId(id).value = numbers[field];
    byId("size").value = `${numbers.width}×${numbers.height}`;
  }

  function fillDefaults() {
    const own = defaults();
    offer();
    fillNumbers(own);
    byId("negative").value = byId("seed").value = "";
    chooseSampler(null);
    further.set({});
    upscale.set({});
    changedByHand();
  }

  function showSuggestions(from = 0) {
    const all = profile().suggestions;
    const chips = all.slice(from, from + SUGGESTIONS_AT_ONCE).map((text) => {
      const choose = () => {
        prompt.value = text;
        prompt.focus();
      };
      return el("button", { type: "button", class: "chip", onclick: choose }, text);
    });
    if (all.length > SUGGESTIONS_AT_ONCE) {
      const others = () => {
        showSuggestions(from + SUGGESTIONS_AT_ONCE < all.length ? from + SUGGESTIONS_AT_ONCE : 0);
        byId("suggestions").lastElementChild.focus();
      };
      chips.push(el("button", { type: "button", class: "chip quiet", "aria-label": "Other suggestions", onclick: others }, "others…"));
    }
    byId("suggestions").replaceChildren(...chips);
    byId("suggestions").hidden = chips.length === 0;
  }

  function useModel() {
    const { name, device, dtype, width } = profile();
    byId("gallery").classList.toggle("large", width > SMALL);
    byId("facts").textContent = [name, device, dtype].filter(Boolean).join(" · ");
    fillDefaults();
    showSuggestions();
    changed(profile(), all);
  }

  function setSize([width, height]) {
    Object.assign(byId("width"), { value: width });
    Object.assign(byId("height"), { value: height });
    byId("size").value = `${width}×${height}`;
    summarise();
  }

  function changedByHand() {
    limit();
    summarise();
  }

  onEdit(form, changedByHand);
  onEdit(byId("sampler"), offerFurther);
  onEdit(byId("size"), () => {
    [byId("width").value, byId("height").value] = byId("size").value.split("×");
  });
  // An invalid field in a closed "More" could not be pointed at.
  form.addEventListener("invalid", () => (more.open = true), true);
  form.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  byId("model").addEventListener("change", useModel);
  byId("reset").addEventListener("click", fillDefaults);
  byId("seed-clear").addEventListener("click", () => {
    byId("seed").value = "";
    summarise();
  });
  if (/Mac|iPhone|iPad/.test(navigator.platform)) byId("prompt-hint").textContent = "⌘ + Enter draws";

  return {
    /** Takes the service's models and the fields of a request; what was typed stays if the chosen model is still there. */
    setModels(profiles, defaultName, fields) {
      all = fields;
      known = Object.fromEntries(Object.entries(fields).filter(([field]) => !FIELDS.has(field)));
      const chosen = models.length ? byId("model").value : defaultName;
      models = profiles;
      byId("model").replaceChildren(...models.map(({ name }) => el("option", { value: name }, name)));
      byId("model-field").hidden = models.length < 2;
      byId("draw").disabled = models.length === 0;
      if (!models.length) return;
      const there = models.some(({ name }) => name === chosen);
      byId("model").value = there ? chosen : models[0].name;
      if (!there || !byId("width").value) return useModel();
      offerFurther();
      changed(profile(), all);
    },

    /** Chooses a model, where there is one of that name. */
    choose(name) {
      if (byId("model").value === name || !models.some((one) => one.name === name)) return;
      byId("model").value = name;
      useModel();
    },

    /** The size that is drawn. */
    size: () => [Number(byId("width").value), Number(byId("height").value)],

    /** Asks for the size of a picture, or of its shape where the model does not draw that; whether it is its own. */
    ask(picture) {
      setSize(sizeFor(picture, profile()));
      const [width, height] = this.size();
      return width === picture.width && height === picture.height;
    },

    /** Whether every field holds what it may; the browser points at the first that does not. */
    valid() {
      return form.reportValidity();
    },

    /** The request as the wire has it, without adapters. */
    request() {
      const numbers = Object.entries(NUMBERS).map(([field, id]) => [field, Number(byId(id).value)]);
      return {
        ...further.values(),
        ...upscale.values(),
        prompt: prompt.value,
        negative_prompt: negative(),
        model: profile().name,
        ...Object.fromEntries(numbers),
        sampler: byId("sampler").value || null,
        seed: byId("seed").value ? Number(byId("seed").value) : null,
      };
    },

    /** Puts a resolved request back, fields that are not shown too; `seed` and `count` say which of its pictures. */
    reuse(request, seed, count) {
      this.choose(request.model);
      fillNumbers({ ...request, count });
      byId("seed").value = seed;
      byId("negative").value = request.negative_prompt;
      prompt.value = request.prompt;
      chooseSampler(request.sampler);
      further.set(request);
      upscale.set(request);
      changedByHand();
      prompt.focus();
    },
  };
}
