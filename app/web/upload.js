// Adding an adapter: a dropped or chosen file, sent with progress, answered with its verdict or every reason against it.

import { size } from "./amounts.js";
import { byId, dialogTop, el, openDialog } from "./dom.js";
import { announce, problemView } from "./problems.js";
import { inspected, sendFile } from "./sending.js";
import { verdictView } from "./verdict.js";

const NAME = "[a-z0-9][a-z0-9._\\-]{0,63}";

/** A name that the service takes, made from a file's name. */
export function nameFrom(fileName) {
  const plain = fileName.replace(/\.(safetensors|zip)$/i, "").toLowerCase().normalize("NFKD").replace(/[\u0300-\u036f]/g, "");
  const tame = plain.replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 64).replace(/[-._]+$/, "");
  return tame || "adapter";
}

/** Opens the dialog on a file; `added()` is called once it is in, `use(record)` if it is to join the stack. */
export function showUpload(file, { added, use }) {
  const dialog = byId("upload");
  const name = el("input", { id: "upload-name", required: true, pattern: NAME, maxlength: "64", autocomplete: "off", "aria-describedby": "upload-name-hint" });
  const description = el("input", { id: "upload-description", autocomplete: "off" });
  const ignore = el("textarea", { id: "upload-ignore", rows: "2", spellcheck: "false", "aria-describedby": "upload-ignore-hint" });
  const submit = el("button", { type: "submit", class: "primary" }, "Add");
  const sending = new AbortController();
  const { signal } = sending;
  const bar = el("progress", { "aria-label": "Upload", hidden: true });
  const state = el("p", { class: "quiet", role: "status" });
  const outcome = el("div", { role: "alert" });
  name.value = nameFrom(file.name);

  async function run(event) {
    event.preventDefault();
    const patterns = ignore.value.split("\n").map((line) => line.trim()).filter(Boolean);
    const fields = [
      ["name", name.value],
      ["description", description.value],
      ...patterns.map((pattern) => ["ignore", pattern]),
      ["file", file],
    ];
    submit.disabled = true;
    bar.hidden = false;
    outcome.replaceChildren();
    state.textContent = "Sending";
    try {
      const answer = await sendFile("adapters", fields, (loaded, total) => {
        bar.max = total;
        bar.value = loaded;
        if (loaded === total) {
          bar.removeAttribute("value");
          state.textContent = "Inspecting";
        }
      }, signal);
      const record = await inspected(answer.location, signal);
      show(record, record.created_at !== answer.body.created_at);
    } catch (error) {
      if (signal.aborted) return announce("Upload canceled");
      state.textContent = "";
      outcome.replaceChildren(problemView(error));
      outcome.scrollIntoView({ block: "nearest" });
    } finally {
      submit.disabled = false;
      bar.hidden = true;
    }
  }

  function show(record, there) {
    announce(`${record.name} added`);
    added();
    const chosen = () => {
      dialog.close();
      use(record);
    };
    const fits = record.fits.length > 0;
    openDialog(
      dialog,
      dialogTop("upload-title", there ? `${record.name} was here already` : `${record.name} is in`),
      verdictView(record),
      el(
        "div",
        { class: "actions" },
        fits ? el("button", { type: "button", class: "primary", onclick: chosen }, "Use it") : null,
        el("button", { type: "button", "data-close": "" }, "Close"),
      ),
    );
  }

  const form = el(
    "form",
    { onsubmit: run },
    el("p", { class: "quiet" }, `${file.name}, ${size(file.size)}`),
    el("div", { class: "field" }, el("label", { for: "upload-name" }, "Name"), name,
      el("p", { id: "upload-name-hint", class: "hint quiet" }, "Small letters, digits, dot, dash, underscore. A name that is taken gets a new version.")),
    el("div", { class: "field" }, el("label", { for: "upload-description" }, "Description"), description),
    el("details", {}, el("summary", {}, "Leave parts out"),
      el("div", { class: "field" }, el("label", { for: "upload-ignore" }, "Tensors to ignore, one pattern a line"), ignore,
        el("p", { id: "upload-ignore-hint", class: "hint quiet" }, "Nothing is skipped in silence: a file with parts that no model here has a place for is refused unless they are named here."))),
    bar, state, outcome,
    el("div", { class: "actions" }, submit, el("button", { type: "button", "data-close": "" }, "Cancel")),
  );
  dialog.addEventListener("close", () => sending.abort(), { once: true });
  openDialog(dialog, dialogTop("upload-title", "Add an adapter"), form);
  name.focus();
}
