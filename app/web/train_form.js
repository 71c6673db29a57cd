// What is trained, and how: a training's request, whose fields are those that the chosen algorithm has a use for.

import { byId, el, onEdit } from "./dom.js";
import { createFields, othersOf, valueOf } from "./fields.js";
import { createSamples } from "./sample_rows.js";
import { nameFrom } from "./upload.js";

const FIRST = ["rank", "alpha", "steps", "learning_rate", "batch_size", "checkpoint_every", "trigger", "default_caption"];
const OWN = new Set([...FIRST, "name", "dataset", "model", "algorithm", "options", "samples"]);
const OPTION_TYPES = { flag: "boolean", whole: "integer", number: "number", choice: "string" };

/** An option of an algorithm, as JSON Schema has fields. */
function optionSchema({ kind, default: usual, meaning, least, most, choices }) {
  return { type: OPTION_TYPES[kind], default: usual, description: meaning, minimum: least, maximum: most, choices: othersOf(choices, usual) };
}

/** The folder that all pictures of a dataset come from, or "". */
function folderOf({ pictures }) {
  const [first, ...others] = new Set(pictures.map(({ name }) => (name.includes("/") ? name.split("/")[0] : "")));
  return others.length ? "" : first.replace(/^\d+_/, "");
}

/** The form; `changed()` is called when what it asks for changes. */
export function createTrainForm(changed) {
  const form = byId("training-form");
  const first = createFields(byId("training-first"), "training");
  const options = createFields(byId("training-options"), "option");
  const more = createFields(byId("training-more-fields"), "training");
  const samples = createSamples(byId("training-samples"), changed);
  let schemas = {}; // by name
  let algorithms = [];
  let missing = false; // captions

  const algorithm = () => algorithms.find(({ name }) => name === byId("training-algorithm").value);

  /** The fields that come first, as the algorithm has them. */
  function firstSchemas({ rank, default_rank: usual, alpha, learning_rate: rate, why_rate: why }) {
    const own = {
      rank: rank && { default: usual, description: rank },
      alpha: alpha && {},
      learning_rate: { default: rate, description: why },
      default_caption: missing && {},
    };
    const offered = FIRST.filter((name) => schemas[name] && (own[name] ?? true));
    return Object.fromEntries(offered.map((name) => [name, { ...schemas[name], ...own[name] }]));
  }

  function offer() {
    const chosen = algorithm();
    if (!chosen) return;
    byId("training-summary").textContent = `${chosen.summary}; layers: ${chosen.reaches.join(", ")}.`;
    first.offer(firstSchemas(chosen));
    options.offer(Object.fromEntries(chosen.options.map((one) => [one.name, optionSchema(one)])));
    more.offer(Object.fromEntries(Object.entries(schemas).filter(([name]) => !OWN.has(name))));
    summarise();
  }

  function summarise() {
    const parts = more.parts();
    byId("training-more").querySelector("summary").textContent = parts.length ? `More: ${parts.join(", ")}` : "More";
  }

  onEdit(form, () => {
    summarise();
    changed();
  });
  byId("training-algorithm").addEventListener("change", () => {
    offer();
    changed();
  });
  form.addEventListener("invalid", ({ target }) => {
    const closed = target.closest("details");
    if (closed) closed.open = true; // what is wrong in a closed one could not be pointed at
  }, true);

  return {
    /** Takes the fields of a training as JSON Schema, the algorithms, and the models with the default one's name. */
    setKnown(fields, known, models, usual) {
      schemas = Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, valueOf(schema)]));
      algorithms = known.filter(({ untrainable }) => !untrainable);
      const [model, chosen] = [byId("training-model").value || usual, byId("training-algorithm").value || schemas.algorithm.default];
      byId("training-model").replaceChildren(...models.map(({ name }) => el("option", { value: name }, name)));
      byId("training-model").closest(".field").hidden = models.length < 2;
      byId("training-model").value = model;
      byId("training-algorithm").replaceChildren(...algorithms.map(({ name }) => el("option", { value: name }, name)));
      byId("training-algorithm").value = chosen;
      offer();
    },

    /** Takes what of a dataset decides what is asked. */
    setDataset(dataset) {
      const some = dataset?.pictures.some(({ caption }) => caption === null) ?? false;
      if (some !== missing) {
        missing = some;
        offer();
      }
      if (!dataset) return;
      const [name, folder] = [byId("training-name"), folderOf(dataset)];
      if (!name.value && folder) name.value = nameFrom(folder);
      samples.suggest(dataset.pictures.find(({ caption }) => caption)?.caption.split("\n")[0]);
    },

    /** Says in empty fields what holds there, as a resolved request has it. */
    hold({ seed, ...resolved }) { // a seed that was drawn for a dry run is not the one that will be
      first.hold(resolved);
      more.hold(resolved);
    },

    /** Whether it is known what can be asked for. */
    ready: () => algorithms.length > 0,

    /** Whether every field holds what it may; the browser points at the first that does not. */
    valid: () => form.reportValidity(),

    /** The request as the wire has it, without the dataset. */
    request: () => ({
      ...more.values(),
      ...first.values(),
      name: byId("training-name").value || "unnamed",
      model: byId("training-model").value || null,
      algorithm: algorithm().name,
      options: options.values(),
      samples: samples.values(),
    }),

    /** Puts back what a resolved request has. */
    reuse(request) {
      byId("training-name").value = request.name;
      byId("training-model").value = request.model;
      byId("training-algorithm").value = request.algorithm;
      offer();
      for (const fields of [first, more]) fields.set(request);
      options.set(request.options);
      samples.set(request.samples);
      summarise();
      changed();
    },
  };
}
