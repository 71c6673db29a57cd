// Problems shown to people: title, detail and every reason, as text.

import { Problem } from "/static/api.js";
import { byId, el } from "/static/dom.js";

const MOST_NOTICES = 3;
const SUBJECTS = ["tensor", "module", "layer", "adapter", "field", "name", "key", "ref", "target"];
const TEXTS = ["message", "reason", "msg", "detail", "why", "problem"];

/** One entry of a problem's `errors` as a line of text: what it is about, then what is wrong with it. */
export function reasonText(reason) {
  if (typeof reason !== "object" || reason === null) return String(reason);
  const place = Array.isArray(reason.loc) ? reason.loc.filter((part) => part !== "body").join(".") : null;
  const subjects = [place, ...SUBJECTS.map((name) => reason[name])].filter((text) => typeof text === "string" && text);
  const text = TEXTS.map((name) => reason[name]).find((value) => typeof value === "string" && value);
  if (text) return subjects.length ? `${subjects.join(", ")}: ${text}` : text;
  return Object.entries(reason)
    .map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(", ");
}

/** A problem as an element: title, detail, and its reasons as a list. */
export function problemView(error) {
  const known = error instanceof Problem;
  if (!known) console.error(error);
  const title = known ? error.title : "Something went wrong on this page";
  const detail = known ? error.detail : error.message;
  const reasons = known ? error.errors : [];
  return el(
    "div",
    { class: "problem" },
    el("strong", {}, title),
    detail ? el("p", {}, detail) : null,
    reasons.length ? el("ul", {}, ...reasons.map((reason) => el("li", {}, reasonText(reason)))) : null,
    known && error.code ? el("code", { class: "quiet" }, error.code) : null,
  );
}

/** Shows a problem until it is dismissed. */
export function notify(error) {
  const notices = byId("notices");
  const notice = el("div", { class: "notice", role: "alert" }, problemView(error));
  notice.append(
    el("button", { type: "button", class: "small", "aria-label": "Dismiss", onclick: () => notice.remove() }, "✕"),
  );
  notices.append(notice);
  while (notices.children.length > MOST_NOTICES) notices.firstElementChild.remove();
}

/** Tells screen readers what happened. */
export function announce(text) {
  byId("announcements").textContent = text;
}
