// The dataset that is about to be trained on: sent, chosen among earlier ones, and captioned in place.

import { moment } from "./amounts.js";
import { call } from "./api.js";
import { captionList } from "./captions.js";
import { byId, el } from "./dom.js";
import { chosen } from "./folder.js";
import { announce, notify, problemView } from "./problems.js";
import { datasetText, reportView } from "./report.js";
import { forUnreadable, sendDataset } from "./send_dataset.js";

const REST_MS = 600; // without a further caption, then they are sent together: each sending makes a dataset
const TAKEN = ".zip,.txt,.jsonl,.csv,image/png,image/jpeg,image/webp,image/avif";

const pathOf = (ref) => `v1/datasets/${ref}`;

/** The section; `changed(dataset)` is called with the dataset that is chosen, or null, whenever that changes. */
export function createDataset(changed) {
  const state = el("p", { class: "quiet", role: "status" });
  const bar = el("progress", { "aria-label": "Sending the pictures", hidden: true });
  const outcome = el("div", { class: "outcome", role: "alert" });
  const shown = el("div", {});
  const earlier = el("select", { id: "dataset-earlier", "aria-label": "A dataset that was sent before", hidden: true });
  let dataset = null;
  let captions = {}; // by picture, not sent yet
  let resting = null;
  let sent = Promise.resolve();

  function chooser(text, id, attributes) {
    const input = el("input", { type: "file", id, hidden: true, multiple: true, "aria-label": text, ...attributes });
    input.addEventListener("change", () => {
      const files = chosen(input);
      input.value = "";
      if (files.length) api.take(files);
    });
    return [el("button", { type: "button", class: "small", onclick: () => input.click() }, text), input];
  }

  function say(text, part) {
    state.textContent = text;
    bar.hidden = !text;
    if (part === null || part === undefined) bar.removeAttribute("value");
    else bar.value = part;
  }

  function show(found) {
    dataset = found;
    captions = {};
    byId("dataset-facts").textContent = found ? datasetText(found) : "";
    byId("dataset-hint").hidden = found !== null;
    shown.replaceChildren(...(found ? [reportView(found), captionList(found.pictures, said)] : []));
    changed(found);
  }

  function said(ref, caption) {
    captions[ref] = caption;
    clearTimeout(resting);
    resting = setTimeout(() => api.settled().catch(failed), REST_MS);
  }

  /** Sends the captions that were written; the list stays as it is, so that writing goes on. */
  async function write() {
    if (!Object.keys(captions).length) return;
    const written = captions;
    captions = {};
    try {
      const next = await call("PATCH", pathOf(dataset.ref), { body: { captions: written } });
      const merged = next.pictures.length !== dataset.pictures.length;
      dataset = next;
      if (merged) return show(next); // two entries have become one
    } catch (error) {
      captions = { ...written, ...captions };
      throw error;
    }
    byId("dataset-facts").textContent = `${datasetText(dataset)}, captions kept`;
    shown.querySelector(".report").replaceWith(reportView(dataset));
    outcome.replaceChildren();
    changed(dataset);
  }

  function failed(error) {
    outcome.replaceChildren(problemView(error));
    outcome.scrollIntoView({ block: "nearest" });
  }

  async function list() {
    const { datasets } = await call("GET", "v1/datasets");
    const line = ({ ref, pictures, created_at: when }) => el("option", { value: ref },
      `${pictures} pictures, ${moment(when)}`);
    earlier.replaceChildren(el("option", { value: "" }, "Sent before…"), ...datasets.map(line));
    earlier.value = datasets.some(({ ref }) => ref === dataset?.ref) ? dataset.ref : "";
    earlier.hidden = datasets.length === 0;
  }

  earlier.addEventListener("change", () => earlier.value && api.choose(earlier.value).catch(failed));
  byId("dataset").append(
    el("div", { class: "buttons" },
      ...chooser("Choose a folder…", "dataset-folder", { webkitdirectory: true }),
      ...chooser("Choose files…", "dataset-files", { accept: TAKEN }),
      earlier),
    state, bar, outcome, shown,
  );

  const api = {
    /** Sends files and chooses what they make. */
    async take(files, leaveOut = false) {
      outcome.replaceChildren();
      try {
        show(await sendDataset(files, { leaveOut, said: say }));
        announce(datasetText(dataset));
        list().catch(notify);
      } catch (error) {
        failed(error);
        if (forUnreadable(error)) {
          outcome.append(el("button", { type: "button", onclick: () => api.take(files, true) }, "Leave these out"));
        }
      } finally {
        say("");
      }
    },

    /** Chooses a dataset that the service has. */
    async choose(ref) {
      outcome.replaceChildren();
      await api.settled();
      show(await call("GET", pathOf(ref)));
      earlier.value = ref;
    },

    /** Reads what was sent before. */
    load: list,

    /** The dataset that is chosen, once all captions that were written are in it; null where none is. */
    async settled() {
      clearTimeout(resting);
      sent = sent.catch(() => {}).then(write);
      await sent;
      return dataset;
    },
  };
  return api;
}
