// The list of adapters: what there is, what fits the chosen model, and which of it is in the stack, at which strength.

import { adapterPath } from "./about.js";
import { call } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { mapField } from "./map.js";
import { partsField } from "./parts.js";
import { strengthRow } from "./strength.js";
import { notify } from "./problems.js";
import { slot } from "./slot.js";
import { algorithmsOf } from "./verdict.js";

const MANY = 10;
const DESCRIBED = 30; // rows whose verdict is asked for; the others' are a click away
const TRIGGERS = 6;
const MOST_PICTURES = 16; // of one image prompt
// Adapters that read pictures, by kind: how many, and what is said of that
const READS = {
  control: { called: "control", most: 1, text: "Choose a picture…", label: "Control picture", sized: true, use: "Follow its shapes" },
  image_prompt: { called: "image prompt", most: MOST_PICTURES, text: "Add a picture…", label: "Prompt picture", use: "Draw something like it", multiple: true },
};

/** `name:version`: what was looked at is what is used, even if a newer version comes in between. */
export function refOf({ name, version }) {
  return `${name}:${version}`;
}

function whyNot(record, model) {
  if (record.fits.includes(model)) return null;
  const others = record.fits.length ? `fits ${record.fits.join(", ")}` : "fits no model here";
  return `Not for ${model}: ${others}.`;
}

/** The pictures that `use` names, as a list; and the same put back. */
function picturesOf({ image, images }) {
  return image ? [image] : [...(images ?? [])];
}

function setPictures(use, refs) {
  delete use.images;
  use.image = refs.length === 1 ? refs[0] : null;
  if (refs.length > 1) use.images = [...refs];
}

/**
 * The pictures that an adapter reads, and of which kind they are where it reads several; null where it reads none.
 *
 * `map` is the field of what is made of one, where it is read at the drawing's size.
 */
function picturesField(record, use, verdict, given, map) {
  const reads = READS[record.kind];
  if (!reads) return null;
  const refs = picturesOf(use);
  const { most, text, multiple } = reads;
  const field = el("div", { class: "reads" },
    slot({ most, text, multiple, label: `${reads.label} of ${record.name}`, refs, changed: (stored) => {
      setPictures(use, refs);
      map?.look();
      given(stored);
    } }), map?.element);
  verdict.then(({ modes = [] }) => {
    if (!modes.length) return;
    use.mode ??= modes[0];
    const chosen = el("select", { "aria-label": `What the picture of ${record.name} is` },
      ...modes.map((mode) => el("option", { value: mode, selected: mode === use.mode }, mode)));
    chosen.addEventListener("change", () => (use.mode = chosen.value));
    field.append(chosen);
  }).catch(notify);
  return field;
}

/** A small picture of what an adapter draws, where it has one; its name says the rest. */
function coverOf({ cover }) {
  return cover ? el("img", { class: "cover", src: `v1/images/${cover}`, alt: "", loading: "lazy" }) : null;
}

/**
 * The list; `about(record)` shows one adapter, `changed()` is called when the stack changes, `given(stored)` when one
 * that reads pictures of the drawing's size is given one, and `drawing()` is that size and how pictures fit it.
 */
export function createAdapters({ about, changed, given, drawing }) {
  const list = byId("adapters-list");
  const filter = byId("adapters-filter");
  const uses = new Map(); // by ref; kept when unticked, so that a strength found by trying is not lost
  const rows = new Map();
  const verdicts = new Map(); // a version never changes
  const maps = new Set(); // fields of rows that are shown, or were
  let records = [];
  let pinned = [];
  let model = null;

  const isActive = (record) => uses.get(refOf(record))?.on ?? false;

  function toggle(record, on) {
    const ref = refOf(record);
    const use = { strength: 1, strengths: {}, blocks: {}, schedule: [], rank: null, ...uses.get(ref), ref, on };
    if (on) uses.delete(ref); // what is ticked last is last in the stack
    uses.set(ref, use);
    render();
  }

  function gave(record, stored) {
    if (stored && READS[record.kind].sized) given(stored);
    else changed();
  }

  function verdictOf(record) {
    const ref = refOf(record);
    if (!verdicts.has(ref)) verdicts.set(ref, call("GET", adapterPath(ref)).then(({ verdict }) => verdict));
    return verdicts.get(ref);
  }

  async function describe(record, kind, words) {
    const verdict = await verdictOf(record);
    kind.textContent = algorithmsOf(verdict) || READS[record.kind]?.called || "";
    if (verdict.triggers.length) words.textContent = `Trained with: ${verdict.triggers.slice(0, TRIGGERS).join(", ")}`;
  }

  function row(record) {
    const reason = whyNot(record, model);
    const use = !reason && isActive(record) ? uses.get(refOf(record)) : null;
    const old = pinned.includes(record);
    const tick = el("input", { type: "checkbox", checked: Boolean(use), disabled: Boolean(reason) });
    tick.addEventListener("change", () => toggle(record, tick.checked));
    const kind = el("span", { class: "quiet kind" }, old ? `version ${record.version}` : "");
    const words = el("p", { class: "hint quiet line", hidden: !use });
    if (!old && records.indexOf(record) < DESCRIBED) describe(record, kind, words).catch(notify);
    return el(
      "li",
      { class: `adapter${use ? " active" : ""}`, "data-name": record.name },
      el(
        "div",
        { class: "row" },
        el("label", { class: "tick" }, tick, coverOf(record), el("span", { class: "name" }, record.name)),
        kind,
        el(
          "button",
          { type: "button", class: "small", "aria-label": `About ${record.name}`, onclick: () => about(record) },
          "…",
        ),
      ),
      use ? strengthRow(record.name, use) : null,
      use ? picturesField(record, use, verdictOf(record), (stored) => gave(record, stored), mapOf(record, use)) : null,
      use ? partsField(record.name, use) : null,
      words,
      reason ? el("p", { class: "hint quiet" }, reason) : null,
    );
  }

  function mapOf(record, use) {
    if (!READS[record.kind]?.sized) return null;
    const field = mapField(record.name, use, drawing);
    maps.add(field);
    return field;
  }

  // A row is made anew only when what it shows has changed, so that a slider in use is never replaced.
  function rowFor(record) {
    const ref = refOf(record);
    const state = JSON.stringify([record.sha256, record.fits, model, isActive(record), pinned.includes(record)]);
    const made = rows.get(ref);
    if (made?.state === state) return made.element;
    const element = row(record);
    if (made?.element.contains(document.activeElement)) queueMicrotask(() => element.querySelector("input").focus());
    rows.set(ref, { state, element });
    return element;
  }

  function render() {
    const all = [...pinned, ...records];
    const sought = filter.value.trim().toLowerCase();
    const matches = ({ name, description }) => `${name} ${description}`.toLowerCase().includes(sought);
    arrange(list, all.filter((record) => isActive(record) || matches(record)).map(rowFor));
    filter.hidden = all.length < MANY;
    byId("adapters-none").hidden = all.length > 0;
    const count = api.stack().length;
    byId("adapters-count").textContent = count ? `${count} in use` : "";
    changed();
  }

  filter.addEventListener("input", render);
  filter.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault();
  });
  byId("reset").addEventListener("click", () => api.setStack([]));

  const api = {
    /** Reads the list again; the stack keeps what is still there. */
    async load() {
      ({ adapters: records } = await call("GET", "v1/adapters"));
      pinned = pinned.filter((old) => !records.some((record) => refOf(record) === refOf(old)));
      render();
    },

    /** Sets the model that the adapters are for. */
    setModel(name) {
      model = name;
      render();
    },

    /** The stack for the chosen model, as the wire has it. */
    stack() {
      const fitting = new Set([...pinned, ...records].filter((record) => !whyNot(record, model)).map(refOf));
      return [...uses].filter(([ref, use]) => use.on && fitting.has(ref)).map(([, { on, ...use }]) => use);
    },

    /** Makes exactly these resolved adapters the stack; versions that the list no longer has get a row of their own. */
    setStack(stack) {
      uses.clear();
      rows.clear();
      const known = new Set(records.map(refOf));
      pinned = stack
        .filter((use) => !known.has(refOf(use)))
        .map((use) => ({ ...use, description: "", fits: [model] }));
      for (const { name, version, sha256, ignore, kind, boxes, ...use } of stack) {
        const ref = refOf({ name, version }); // whatever it was called by, these are its bytes
        uses.set(ref, { ...use, ref, on: true });
      }
      render();
    },

    /** What a picture may be for: each adapter of the model that reads one, as [words, what gives it the picture]. */
    pictureUses(stored) {
      return [...pinned, ...records].filter((record) => READS[record.kind] && !whyNot(record, model)).map((record) => [
        `${READS[record.kind].use}: ${record.name}`,
        () => {
          const ref = refOf(record);
          const { most } = READS[record.kind];
          const refs = [...(most > 1 ? picturesOf(uses.get(ref) ?? {}) : []), stored.ref];
          rows.delete(ref);
          toggle(record, true);
          setPictures(uses.get(ref), refs);
          rows.delete(ref);
          render();
          gave(record, stored);
        },
      ]);
    },

    /** Whether one of the stack reads a picture of the drawing's size. */
    readsPictures() {
      const sized = [...pinned, ...records].filter((record) => READS[record.kind]?.sized && isActive(record));
      return sized.some((record) => picturesOf(uses.get(refOf(record))).length > 0);
    },

    /** Takes a map out of view that is not of the drawing's size any more. */
    look() {
      for (const map of maps) map.element.isConnected ? map.look() : maps.delete(map);
    },

    /** Adds one more adapter to the stack. */
    add(record) {
      toggle(record, true);
    },
  };
  return api;
}
