// HTTP to the service: JSON in and out, problems as exceptions, and requests that outlive a restart of the API.

import { connection } from "./connection.js";
import { askForKey } from "./key.js";

/** An answer of 400 or more, with what problem+json said of it. */
export class Problem extends Error {
  constructor({ title, status, code = "", detail = "", errors = [] }) {
    super(detail || title);
    Object.assign(this, { title, status, code, detail, errors });
  }
}

/** The Problem in a response's text, whatever kind of server answered. */
export function problemOf(status, text) {
  let body = null;
  try {
    body = JSON.parse(text);
  } catch {
    // a proxy's page: the status has to do
  }
  if (body?.title) return new Problem({ ...body, status, errors: body.errors ?? [] });
  return new Problem({ title: `The service answered ${status}`, status, detail: "Without saying why. Try again." });
}

/**
 * Calls the service with JSON or a form; null for an empty answer.
 *
 * When the network fails, the call waits until the service is back and is made again: everything it is used for can be
 * repeated safely (reads, deletions, and what is posted under an Idempotency-Key). So it is once a key was given, where
 * the service needs one.
 */
export async function call(method, path, { body, form, key } = {}) {
  const headers = { Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  for (;;) {
    let response, text;
    try {
      response = await fetch(path, { method, headers, body: form ?? (body && JSON.stringify(body)), cache: "no-store" });
      text = await response.text();
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      await connection.restored();
      continue;
    }
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    if (!response.ok) throw problemOf(response.status, text);
    return text ? JSON.parse(text) : null;
  }
}
