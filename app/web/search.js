// The search above the pictures: words of the prompt, an adapter, how they ended, a star; the list's own filters.

import { byId } from "./dom.js";
import { announce, notify } from "./problems.js";

const PAUSE_MS = 300; // after the last key

/** Looks for what is typed and chosen; `find(query)` shows it, and says in words how much that is, or null. */
export function createSearch(find) {
  const form = byId("search");
  let timer = 0;
  let last = "";

  async function run() {
    clearTimeout(timer);
    const said = [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
    const query = said.length ? `&${new URLSearchParams(said)}` : "";
    if (query === last) return;
    last = query;
    try {
      const found = await find(query);
      if (found !== null) announce(found);
    } catch (error) {
      last = "";
      notify(error);
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  form.addEventListener("change", run);
  byId("search-q").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(run, PAUSE_MS);
  });
}
