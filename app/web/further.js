// Fields of a request that have no place of their own in the form: an input for each that the model obeys, read off the
// API's own documentation, so that a field that is added has one at once.

import { el, onEdit } from "./dom.js";

const OWN_SAMPLER = "own"; // as a profile calls it
// Of fields of which `obeys` says nothing, and of some of which it does: their choices, or whether they may be set at all
const LISTED = {
  apply: (profile) => profile.apply_modes ?? true,
  stack_mode: () => true, // the service's own, as is the next
  priority: () => true,
  sigmas: (profile, sampler) => profile.sampler_sigmas?.[sampler] ?? [],
  eta: (profile, sampler) => Boolean(profile.obeys?.eta && profile.eta_samplers?.includes(sampler)),
};

const label = (name) => name.replaceAll("_", " ");

/** The schema of a value that is not null, with the field's own default. */
function valueOf(schema) {
  return { ...(schema.anyOf?.find(({ type }) => type !== "null") ?? schema), default: schema.default ?? null };
}

/** Two whole numbers as people type them, or null. */
function pairOf(text) {
  const found = /^\s*(\d+)\s*[×x,\s]\s*(\d+)\s*$/.exec(text);
  return found && [Number(found[1]), Number(found[2])];
}

const readers = {
  array: pairOf,
  integer: Number,
  number: Number,
  string: (text) => text,
};

/** An input for a value of this schema, empty where the field is as by default. */
function inputFor(name, schema, choices) {
  const hint = { id: `further-${name}`, title: schema.description ?? "" };
  if (choices) {
    const own = schema.default ?? "the model’s own";
    return el("select", hint, el("option", { value: "" }, own), ...choices.map((one) => el("option", { value: one }, one)));
  }
  if (schema.type === "array") {
    return el("input", { ...hint, type: "text", placeholder: "1024 × 1024", pattern: "\\s*\\d+\\s*[×x,\\s]\\s*\\d+\\s*" });
  }
  if (schema.type === "string") return el("input", { ...hint, type: "text" });
  const step = schema.type === "integer" ? "1" : "any";
  return el("input", { ...hint, type: "number", placeholder: schema.default, min: schema.minimum, max: schema.maximum, step });
}

/** The inputs in `place`, and the values that they stand for. */
export function createFurther(place) {
  let known = {}; // fields of a request, by name, as JSON Schema
  let shown = {}; // name -> input
  let values = {}; // what is not as by default

  function read(name) {
    const { value } = shown[name];
    const typed = value.trim() === "" ? null : readers[known[name].type](value);
    if (typed === null || Number.isNaN(typed)) delete values[name];
    else values[name] = typed;
  }

  return {
    /** Shows an input for each of these fields that the model obeys with a sampler; what was typed stays. */
    offer(fields, profile, sampler) {
      known = Object.fromEntries(Object.entries(fields).map(([name, schema]) => [name, { ...valueOf(schema), description: schema.description }]));
      shown = {};
      for (const [name, schema] of Object.entries(known)) {
        const may = LISTED[name]?.(profile, sampler || OWN_SAMPLER) ?? profile.obeys?.[name] ?? false;
        const choices = (Array.isArray(may) ? may : schema.enum)?.filter((one) => one !== schema.default);
        if (!may || choices?.length === 0) {
          delete values[name];
          continue;
        }
        shown[name] = inputFor(name, schema, choices);
        onEdit(shown[name], () => read(name));
      }
      place.replaceChildren(...Object.entries(shown).map(([name, input]) =>
        el("div", { class: "field" }, el("label", { for: input.id }, label(name)), input)));
      this.set(values);
    },

    /** What is set, in words; of a text only that there is one. */
    parts: () => Object.entries(values).map(([name, value]) => {
      const text = known[name].type === "string" && !known[name].enum;
      return label(name) + (text ? "" : ` ${Array.isArray(value) ? value.join(" × ") : value}`);
    }),

    /** What is set, by name. */
    values: () => ({ ...values }),

    /** Sets these values, and all others as by default. */
    set(wanted) {
      values = {};
      for (const [name, input] of Object.entries(shown)) {
        const value = wanted[name] ?? null;
        const same = value === null || value === known[name].default;
        input.value = same ? "" : Array.isArray(value) ? value.join(" × ") : value;
        read(name);
      }
    },
  };
}
