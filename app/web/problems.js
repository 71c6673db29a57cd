// Problems shown to people: title, detail and every reason, as text.

import { Problem } from "./api.js";
import { byId, el } from "./dom.js";

const MOST_NOTICES = 3;

/** One entry of a problem's `errors` as text: what it is about (a tensor, a field), then what is wrong with it. */
function reasonText({ subject, field, message }) {
  const about = subject || field;
  return about ? `${about}: ${message}` : message;
}

/** The reasons that a problem's detail does not tell as well: of one, it often says all. */
function listed({ detail, errors }) {
  return errors.length === 1 && !errors[0].subject && detail.endsWith(errors[0].message) ? [] : errors;
}

/** A problem's detail without the reasons that it repeats, which the list beneath it spells out. */
function detailText(detail, reasons) {
  const [first] = reasons;
  const repeated = first ? Math.max(detail.indexOf(reasonText(first)), detail.indexOf(first.message)) : -1;
  return repeated < 0 ? detail : detail.slice(0, repeated).replace(/[:\s]+$/, "");
}

/** A problem as an element: title, detail, and its reasons as a list. */
export function problemView(error) {
  const known = error instanceof Problem;
  if (!known) console.error(error);
  const title = known ? error.title : "Something went wrong on this page";
  const reasons = known ? listed(error) : [];
  const detail = known ? detailText(error.detail, reasons) : error.message;
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
