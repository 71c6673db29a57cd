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
  const watched = new Set(); // ids of those that are followed until they end
  let next = null;
  let asked = ""; // what is looked for, as the list's query has it
  let turn = 0; // of what was asked last: answers to what was asked before it are dropped

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
    byId("gallery-none").querySelector("p").textContent = asked ? "Nothing found" : "Nothing drawn yet";
    byId("search").hidden = known.size === 0 && !asked;
    byId("older").hidden = next === null;
  }

  function update(generation) {
    if (!tiles.has(generation.id)) return; // deleted while it was followed
    known.set(generation.id, generation);
    tiles.get(generation.id).update(generation);
  }

  async function watch(generation) {
    watched.add(generation.id);
    const { status, request, error } = await follow(generation, update).finally(() => watched.delete(generation.id));
    announce(status === "failed" ? `${request.prompt} failed: ${error?.message}` : `${request.prompt}: ${status}`);
  }

  function take(generation) {
    if (known.has(generation.id)) return;
    known.set(generation.id, generation);
    tiles.set(generation.id, createTiles(generation, actions));
    if (!ended(generation) && !watched.has(generation.id)) watch(generation).catch(notify);
  }

  async function page(cursor) {
    const after = cursor ? `&before=${encodeURIComponent(cursor)}` : "";
    return call("GET", `v1/generations?limit=${PAGE}${after}${asked}`);
  }

  /** A page, and whether it is still what was asked last. */
  async function newestPage() {
    const mine = ++turn;
    const found = await page(null);
    return [found, mine === turn];
  }

  byId("older").addEventListener("click", async () => {
    try {
      const mine = turn;
      const older = await page(next);
      if (mine !== turn) return;
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
      const [newest, wanted] = await newestPage();
      if (!wanted) return;
      if (known.size === 0) next = newest.next;
      newest.generations.forEach(take);
      render();
    },

    /** Shows what is found in place of what is shown; `query` begins with an ampersand, or is empty. Says how many. */
    async search(query) {
      asked = query;
      const [found, wanted] = await newestPage();
      if (!wanted) return null;
      for (const one of [known, tiles, sheets]) one.clear();
      next = found.next;
      found.generations.forEach(take);
      render();
      return `${found.generations.length || "nothing"}${next ? " or more" : ""} found`;
    },

    /** Shows a generation that was just accepted. */
    add(generation) {
      take(generation);
      render();
    },
  };
}
