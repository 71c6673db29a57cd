// The list of adapters: what there is, what fits the chosen model, and which of it is in the stack, at which strength.

import { adapterPath } from "./about.js";
import { call } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { mapField } from "./map.js";
import { partsField } from "./parts.js";
import { notify } from "./problems.js";
import { picturesField, picturesOf, readsOf, setPictures } from "./reads.js";
import { isAnothers } from "./key.js";
import { strengthRow } from "./strength.js";
import { algorithmsOf } from "./verdict.js";

const MANY = 10;
const DESCRIBED = 30; // rows whose verdict is asked for; the others' are a click away
const TRIGGERS = 6;

/** `name:version`: what was looked at is what is used, even if a newer version comes in between. */
export function refOf({ name, version, owner }) {
  return `${isAnothers(owner) ? `${owner}/` : ""}${name}:${version}`;
}

function whyNot(record, model) {
  if (record.fits.includes(model)) return null;
  const others = record.fits.length ? `fits ${record.fits.join(", ")}` : "fits no model here";
  return `Not for ${model}: ${others}.`;
}

/** A small picture of what an adapter draws, where it has one; its name says the rest. */
function coverOf({ cover_url: cover }) {
  return cover ? el("img", { class: "cover", src: cover, alt: "", loading: "lazy" }) : null;
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
  const verdicts = new Map(); // promises of them, by ref: a version never changes
  const judged = new Map(); // the same once they are known
  const maps = new Set(); // fields of rows that are shown, or were
  let records = [];
  let pinned = [];
  let model = null;
  let kinds = []; // of maps that are made here

  const reads = (record) => readsOf(record, judged.get(refOf(record)));
  const isActive = (record) => uses.get(refOf(record))?.on ?? false;

  function toggle(record, on) {
    const ref = refOf(record);
    const use = { strength: 1, strengths: {}, blocks: {}, schedule: [], rank: null, ...uses.get(ref), ref, on };
    if (on) uses.delete(ref); // what is ticked last is last in the stack
    uses.set(ref, use);
    render();
  }

  function gave(record, stored) {
    if (stored && reads(record).sized) given(stored);
    else changed();
  }

  async function asked(record) {
    const ref = refOf(record);
    const { verdict } = await call("GET", adapterPath(ref));
    judged.set(ref, verdict);
    if (!readsOf(record) && readsOf(record, verdict)) queueMicrotask(render); // a control LoRA: its row gets a place for a picture
    return verdict;
  }

  function verdictOf(record) {
    const ref = refOf(record);
    if (!verdicts.has(ref)) verdicts.set(ref, asked(record));
    return verdicts.get(ref);
  }

  async function describe(record, kind, words) {
    const verdict = await verdictOf(record);
    if (!pinned.includes(record)) kind.textContent = algorithmsOf(verdict) || reads(record)?.called || "";
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
    if (use || (!old && records.indexOf(record) < DESCRIBED)) describe(record, kind, words).catch(notify);
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
      use && reads(record) ? picturesField(record, use, judged.get(refOf(record)), (stored) => gave(record, stored), mapOf(record, use)) : null,
      use ? partsField(record.name, use) : null,
      words,
      reason ? el("p", { class: "hint quiet" }, reason) : null,
    );
  }

  function mapOf(record, use) {
    if (!reads(record).sized) return null;
    const field = mapField(record.name, use, kinds, drawing);
    maps.add(field);
    return field;
  }

  // A row is made anew only when what it shows has changed, so that a slider in use is never replaced.
  function rowFor(record) {
    const ref = refOf(record);
    const state = JSON.stringify([record.sha256, record.fits, model, isActive(record), pinned.includes(record), kinds, reads(record), judged.get(ref)?.modes]);
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

    /** Sets the model that the adapters are for, and the kinds of maps that are made here. */
    setModel(name, maps) {
      model = name;
      kinds = maps;
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
      for (const { name, version, sha256, ignore, kind, boxes, maps, image_encoder, ...use } of stack) {
        const ref = refOf({ name, version }); // whatever it was called by, these are its bytes
        uses.set(ref, { ...use, ref, on: true });
      }
      render();
    },

    /** What a picture may be for: each adapter of the model that reads one, as [words, what gives it the picture]. */
    pictureUses(stored) {
      return [...pinned, ...records].filter((record) => reads(record) && !whyNot(record, model)).map((record) => [
        `${reads(record).use}: ${record.name}`,
        () => {
          const ref = refOf(record);
          const { most } = reads(record);
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
      const sized = [...pinned, ...records].filter((record) => reads(record)?.sized && isActive(record));
      return sized.some((record) => picturesOf(uses.get(refOf(record))).length > 0);
    },

    /** Takes a map out of view that is not of the drawing's size any more. */
    look() {
      for (const map of maps) map.element.isConnected ? map.look() : maps.delete(map);
    },

    /** Adds one more adapter for the model to the stack; a version that is not the newest gets a row of its own. */
    add(record) {
      const there = [...pinned, ...records].some((one) => refOf(one) === refOf(record));
      if (!there) pinned.push({ description: "", fits: [model], ...record });
      toggle(record, true);
    },
  };
  return api;
}
