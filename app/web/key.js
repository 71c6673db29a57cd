// The key of a service that needs one: asked for once, and turned into a cookie that no script can read.

import { byId, el } from "./dom.js";

const OWNER = "owner";
const BUNDLED = "radiata";

let asking = null;

/** Whether something of an owner is named with them: it is neither the caller's nor came with a base model. */
export function isAnothers(owner) {
  return Boolean(owner) && owner !== BUNDLED && owner !== localStorage.getItem(OWNER);
}

/** What the service says against a key; nothing where it took it. */
async function refusal(key) {
  const headers = { Accept: "application/json", "Content-Type": "application/json" };
  const response = await fetch("v1/session", { method: "POST", headers, body: JSON.stringify({ key }) });
  if (response.ok) {
    localStorage.setItem(OWNER, (await response.json()).owner);
    return "";
  }
  const problem = await response.json().catch(() => ({}));
  return problem.code === "no_keys" ? "" : (problem.detail ?? `The service answered ${response.status}`);
}

function ask(done) {
  const dialog = byId("key");
  const field = el("input", { id: "key-text", type: "password", required: true, autocomplete: "current-password", maxlength: "200" });
  const state = el("p", { role: "alert" });
  const form = el(
    "form",
    {},
    el("h2", { id: "key-title" }, "A key is needed"),
    el("p", { class: "quiet" }, "Whoever runs this service gives you one. It is kept as a cookie for a week."),
    el("label", { for: "key-text" }, "Key"),
    field,
    state,
    el("button", { type: "submit", class: "primary" }, "Continue"),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    state.textContent = await refusal(field.value.trim()).catch((error) => error.message);
    if (state.textContent) return field.select();
    dialog.close();
    done();
  });
  dialog.oncancel = (event) => event.preventDefault(); // nothing behind it works without a key
  dialog.replaceChildren(form);
  if (!dialog.open) dialog.showModal();
}

/** Asks for a key until the service takes one; whoever calls meanwhile waits for the same answer. */
export function askForKey() {
  asking ??= new Promise(ask).finally(() => (asking = null));
  return asking;
}
