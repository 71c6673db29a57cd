// One adapter: its verdict, where it is at hand, its file, and deleting it.

import { call } from "./api.js";
import { byId, dialogTop, el, openDialog } from "./dom.js";
import { announce, problemView } from "./problems.js";
import { verdictView } from "./verdict.js";

/** Where an adapter is, or its file: `name`, `name:version`, or either with `owner/` before it. */
export function adapterPath(ref, file = "") {
  const [name, owner] = ref.split("/").reverse();
  return `v1/adapters/${encodeURIComponent(name)}${file}${owner ? `?owner=${encodeURIComponent(owner)}` : ""}`;
}

/** How many workers have an adapter at hand, in a sentence. */
function atHand(record, workers) {
  const having = (field) => workers.filter((worker) => worker[field].includes(record.sha256)).length;
  const all = workers.length === 1 ? "1 worker" : `${workers.length} workers`;
  return el("p", { class: "quiet" }, `In the memory of ${having("resident")} of ${all}, active on ${having("active")} now.`);
}

/** Shows an adapter, a name or `name:version`; `deleted()` is called once its name is gone. */
export async function showAdapter(ref, deleted) {
  const [record, { workers }] = await Promise.all([
    call("GET", adapterPath(ref)),
    call("GET", "v1/workers").catch(() => ({ workers: null })), // not every key may ask
  ]);
  const dialog = byId("adapter");
  const bottom = el("div", { class: "actions" });

  async function remove() {
    try {
      await call("DELETE", adapterPath(record.name));
    } catch (error) {
      bottom.replaceChildren(problemView(error));
      return;
    }
    dialog.close();
    announce(`${record.name} deleted`);
    deleted();
  }

  function ask() {
    const keep = el("button", { type: "button", onclick: offer }, "Keep it");
    bottom.replaceChildren(
      el("p", {}, `Delete ${record.name} with all its versions? Pictures already drawn stay.`),
      el("button", { type: "button", class: "primary", onclick: remove }, "Delete"),
      keep,
    );
    keep.focus();
  }

  function offer() {
    bottom.replaceChildren(
      el("a", { class: "button", href: adapterPath(ref, "/file"), download: "" }, "Download file"),
      el("button", { type: "button", onclick: ask }, "Delete…"),
    );
  }

  offer();
  openDialog(dialog, dialogTop("adapter-title", record.name), verdictView(record), ...(workers ? [atHand(record, workers)] : []), bottom);
}
