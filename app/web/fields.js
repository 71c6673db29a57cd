// Inputs for fields that the API describes by JSON Schema, so that a field that is added has one at once.

import { el, onEdit } from "./dom.js";

const label = (name) => name.replaceAll("_", " ");

/** Those of `all` that are not what a field is by default; undefined where there are none to choose from. */
export function othersOf(all, usual) {
  const others = all?.filter((one) => one !== usual);
  return others?.length ? others : undefined;
}

/** The schema of a value that is not null, with the field's own default and description, and what may be chosen. */
export function valueOf(schema) {
  const { description, default: usual = null } = schema;
  const value = schema.anyOf?.find(({ type }) => type !== "null") ?? schema;
  return { ...value, description, default: usual, choices: othersOf(value.enum, usual) };
}

/** Two whole numbers as people type them, or null. */
function pairOf(text) {
  const found = /^\s*(\d+)\s*[×x,\s]\s*(\d+)\s*$/.exec(text);
  return found && [Number(found[1]), Number(found[2])];
}

// By kind: the value that is typed, the text that stands for a value, and attributes of an input
const KINDS = {
  pair: { read: pairOf, text: (value) => value.join(" × "), input: { type: "text", placeholder: "1024 × 1024", pattern: "\\s*\\d+\\s*[×x,\\s]\\s*\\d+\\s*" } },
  words: { read: (text) => text.split(/[\s,]+/).filter(Boolean), text: (value) => value.join(" "), input: { type: "text", spellcheck: "false" } },
  integer: { read: Number, text: String, input: { type: "number", step: "1" } },
  number: { read: Number, text: String, input: { type: "number", step: "any" } },
  string: { read: (text) => text, text: (value) => value, input: { type: "text" } },
  boolean: { read: (text) => text === "true", text: String, input: {} },
};

function kindOf({ type, items }) {
  if (type === "array") return items?.type === "string" ? "words" : "pair";
  return type;
}

/** An input for a value of this schema, empty where the field is as by default. */
function inputFor(id, schema) {
  const hint = { id, title: schema.description ?? "" };
  const kind = kindOf(schema);
  if (schema.choices) {
    const own = schema.default ?? "the model’s own";
    return el("select", hint, el("option", { value: "" }, own), ...schema.choices.map((one) => el("option", { value: one }, one)));
  }
  if (kind === "boolean") {
    const other = String(!schema.default);
    const words = { true: "yes", false: "no" };
    return el("select", hint, el("option", { value: "" }, words[String(Boolean(schema.default))]), el("option", { value: other }, words[other]));
  }
  const usual = kind === "integer" || kind === "number" ? schema.default : null;
  const limits = { min: schema.minimum, max: schema.maximum, maxlength: schema.maxLength };
  return el("input", { placeholder: usual, ...hint, ...KINDS[kind].input, ...limits });
}

/** The inputs in `place`, each with the id `prefix-name`, and the values that they stand for. */
export function createFields(place, prefix) {
  let known = {}; // schemas by name
  let shown = {}; // name -> input
  let values = {}; // what is not as by default
  const said = el("p", { class: "hint quiet", hidden: true }); // of the field that was in use last: no title is seen by touch

  function read(name) {
    const { value } = shown[name];
    const typed = value.trim() === "" ? null : KINDS[kindOf(known[name])].read(value);
    if (typed === null || Number.isNaN(typed)) delete values[name];
    else values[name] = typed;
  }

  function tell(name) {
    const { description } = known[name];
    said.hidden = !description;
    said.textContent = description ? `${label(name)}: ${description.replaceAll("`", "")}` : "";
  }

  return {
    /** Shows an input for each of these schemas, of those with `choices` a menu; what was typed stays where it may. */
    offer(schemas) {
      known = Object.fromEntries(Object.entries(schemas).filter(([, schema]) => KINDS[kindOf(schema)])); // others have no input
      for (const name of Object.keys(values)) if (!known[name]) delete values[name];
      shown = Object.fromEntries(Object.entries(known).map(([name, schema]) => [name, inputFor(`${prefix}-${name}`, schema)]));
      for (const [name, input] of Object.entries(shown)) {
        onEdit(input, () => read(name));
        input.addEventListener("focus", () => tell(name));
      }
      said.hidden = true;
      const fields = Object.entries(shown).map(([name, input]) => el("div", { class: "field" }, el("label", { for: input.id }, label(name)), input));
      place.replaceChildren(...(fields.length ? [...fields, said] : []));
      this.set(values);
    },

    /** What is set, in words; of a text only that there is one. */
    parts: () => Object.entries(values).map(([name, value]) => {
      const text = known[name].type === "string" && !known[name].choices;
      return label(name) + (text ? "" : ` ${KINDS[kindOf(known[name])].text(value)}`);
    }),

    /** What is set, by name. */
    values: () => ({ ...values }),

    /** Says in empty inputs what holds there, by name. */
    hold(numbers) {
      for (const [name, input] of Object.entries(shown)) if (name in numbers) input.placeholder = numbers[name] ?? "";
    },

    /** Sets these values, and all others as by default. */
    set(wanted) {
      values = {};
      for (const [name, input] of Object.entries(shown)) {
        const value = wanted[name] ?? null;
        const same = value === null || value === known[name].default;
        input.value = same ? "" : KINDS[kindOf(known[name])].text(value);
        read(name);
      }
    },
  };
}
