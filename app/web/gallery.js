// The gallery: the service's generations, newest first, each followed until it ends.

import { Problem, call } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { ended, follow, pathOf } from "./follow.js";
import { announce, notify } from "./problems.js";
import { sheetsOf } from "./sheets.js";
import { createTiles } from "./tiles.js";

const PAGE = 50;

/** The gallery; `open(generation, index, acts)` shows a picture in full, and may `star` and `remove` it. */
export function createGallery(open) {
  const known = new Map();
  const tiles = new Map();
  const sheets = new Map();
  let next = null;

  async function cancel(id) {
    try {
      await call("POST", `${pathOf(id)}/cancel`);
    } catch (error) {
      // It ended in the meantime: the picture is on its way, which needs no notice.
      if (!(error instanceof Problem) || error.status !== 409) notify(error);
    }
  }

  async function remove(id) {
    try {
      await call("DELETE", pathOf(id));
    } catch (error) {
      if (!(error instanceof Problem) || ![404, 410].includes(error.status)) throw error; // it has gone before
    }
    known.delete(id);
    tiles.delete(id);
    render();
  }

  async function star(id, starred) {
    const marked = await call("PATCH", pathOf(id), { body: { starred } });
    update(marked);
    return marked;
  }

  const actions = {
    cancel,
    remove: (id) => remove(id).catch(notify),
    open: (id, index) => open(known.get(id), index, { star: (on) => star(id, on), remove: () => remove(id) }),
  };

  function sheetElement(sheet) {
    const key = sheet.map(({ id }) => id).join(" ");
    if (!sheets.has(key)) {
      const { prompt, seed, count } = sheet[0].request;
      const figures = sheet.flatMap(({ id }) => tiles.get(id).figures);
      sheets.set(
        key,
        el(
          "li",
          { class: `sheet ${figures.length === 1 ? "one" : "several"}` },
          el("p", { class: "prompt" }, prompt),
          el("div", { class: "tiles" }, ...figures),
          count === 1 ? el("p", { class: "quiet" }, `seed ${seed}`) : null,
        ),
      );
    }
    return [key, sheets.get(key)];
  }

  function render() {
    const newestFirst = [...known.values()].sort((a, b) => (a.created_at < b.created_at) - (a.created_at > b.created_at));
    const shown = sheetsOf(newestFirst).map(sheetElement);
    const keys = new Set(shown.map(([key]) => key));
    for (const key of sheets.keys()) if (!keys.has(key)) sheets.delete(key);
    arrange(byId("gallery"), shown.map(([, element]) => element));
    byId("gallery-none").hidden = known.size > 0;
    byId("older").hidden = next === null;
  }

  function update(generation) {
    if (!tiles.has(generation.id)) return; // deleted while it was followed
    known.set(generation.id, generation);
    tiles.get(generation.id).update(generation);
  }

  async function watch(generation) {
    const { status, request, error } = await follow(generation, update);
    announce(status === "failed" ? `${request.prompt} failed: ${error?.message}` : `${request.prompt}: ${status}`);
  }

  function take(generation) {
    if (known.has(generation.id)) return;
    known.set(generation.id, generation);
    tiles.set(generation.id, createTiles(generation, actions));
    if (!ended(generation)) watch(generation).catch(notify);
  }

  async function page(cursor) {
    const after = cursor ? `&before=${encodeURIComponent(cursor)}` : "";
    return call("GET", `v1/generations?limit=${PAGE}${after}`);
  }

  byId("older").addEventListener("click", async () => {
    try {
      const older = await page(next);
      next = older.next;
      older.generations.forEach(take);
      render();
    } catch (error) {
      notify(error);
    }
  });

  return {
    /** Reads the newest generations; what is shown already stays. */
    async load() {
      const newest = await page(null);
      if (known.size === 0) next = newest.next;
      newest.generations.forEach(take);
      render();
    },

    /** Shows a generation that was just accepted. */
    add(generation) {
      take(generation);
      render();
    },
  };
}
