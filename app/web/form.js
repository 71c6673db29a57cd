// The prompt and the settings under "More": a model's defaults and limits in, a request out.

import { byId, el } from "./dom.js";

const SUGGESTIONS_AT_ONCE = 6;
const SMALL = 128; // pixels; larger pictures get larger tiles
const NUMBERS = { width: "width", height: "height", steps: "steps", guidance_scale: "guidance", count: "count" };
const FIELDS = new Set(["prompt", "negative_prompt", "model", "adapters", "sampler", "seed", ...Object.keys(NUMBERS)]);
const SHORT = { width: "wide", height: "high", steps: "steps", guidance_scale: "guidance", count: "pictures" };

/**
 * The form without its adapters.
 *
 * `changed(modelName)` is called whenever the chosen model changes.
 */
export function createForm(changed) {
  const form = byId("form");
  const prompt = byId("prompt");
  const more = byId("more");
  const summary = more.querySelector("summary");
  let models = [];
  let kept = {}; // of the request that was reused, what has no field here: the form edits the rest of it
  let known = {}; // fields of a request, by name, as JSON Schema

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
    if (byId("negative").value.trim()) parts.push("negative prompt");
    for (const [field, value] of Object.entries(kept)) {
      if (value !== known[field].default) parts.push(typeof value === "object" ? field : `${field.replace("_", " ")} ${value}`);
    }
    summary.textContent = parts.length ? `More: ${parts.join(", ")}` : "More";
  }

  function chooseSampler(sampler) {
    const known = profile()?.samplers ?? [];
    const names = sampler && !known.includes(sampler) ? [...known, sampler] : known;
    byId("sampler").replaceChildren(
      el("option", { value: "" }, "the model’s own"),
      ...names.map((name) => el("option", { value: name }, name)),
    );
    byId("sampler").value = sampler ?? "";
  }

  function fillDefaults() {
    const own = defaults();
    kept = {};
    for (const [field, id] of Object.entries(NUMBERS)) byId(id).value = own[field];
    byId("width").max = byId("height").max = own.max_edge;
    byId("negative").value = byId("seed").value = "";
    chooseSampler(null);
    summarise();
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
    changed(name);
  }

  form.addEventListener("input", summarise);
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
      known = fields;
      const chosen = models.length ? byId("model").value : defaultName;
      models = profiles;
      byId("model").replaceChildren(...models.map(({ name }) => el("option", { value: name }, name)));
      byId("model-field").hidden = models.length < 2;
      byId("draw").disabled = models.length === 0;
      if (!models.length) return;
      const kept = models.some(({ name }) => name === chosen);
      byId("model").value = kept ? chosen : models[0].name;
      if (kept && byId("width").value) changed(chosen);
      else useModel();
    },

    /** Whether every field holds what it may; the browser points at the first that does not. */
    valid() {
      return form.reportValidity();
    },

    /** The request as the wire has it, without adapters. */
    request() {
      const numbers = Object.entries(NUMBERS).map(([field, id]) => [field, Number(byId(id).value)]);
      return {
        ...kept,
        prompt: prompt.value,
        negative_prompt: byId("negative").value,
        model: profile().name,
        ...Object.fromEntries(numbers),
        sampler: byId("sampler").value || null,
        seed: byId("seed").value ? Number(byId("seed").value) : null,
      };
    },

    /** Puts a resolved request back, fields that are not shown too; `seed` and `count` say which of its pictures. */
    reuse(request, seed, count) {
      if (models.some(({ name }) => name === request.model) && byId("model").value !== request.model) {
        byId("model").value = request.model;
        useModel();
      }
      for (const [field, id] of Object.entries(NUMBERS)) byId(id).value = request[field];
      byId("count").value = count;
      byId("seed").value = seed;
      byId("negative").value = request.negative_prompt;
      prompt.value = request.prompt;
      chooseSampler(request.sampler);
      kept = Object.fromEntries(Object.entries(request).filter(([field]) => !FIELDS.has(field) && field in known));
      summarise();
      prompt.focus();
    },
  };
}
