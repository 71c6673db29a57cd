// Sending files with progress, which fetch does not tell, and waiting for what the service says of them.

import { Problem, call, problemOf } from "./api.js";
import { askForKey } from "./key.js";
import { FROM, sendParts } from "./resumable.js";

const POLL_MS = 200;

/** Sends the fields, a large file in parts; as `sendForm`. `kind`: adapters or datasets. */
export async function sendFile(kind, fields, progress, signal) {
  const file = fields.find(([name]) => name === "file")[1];
  if (file.size <= FROM) return sendForm(`v1/${kind}`, fields, progress, signal);
  return sendParts(kind, file, fields.filter(([name]) => name !== "file"), progress, signal);
}

/**
 * Sends the fields; `progress(loaded, total)` in bytes. Resolves with {body, location} of what is to be inspected.
 *
 * An AbortSignal breaks it off while it is sent. Once all of it was, the answer is waited for: it says where the upload
 * is canceled. Of what breaks off in any other way the service keeps nothing. It is sent again once a key was given, where
 * the service needs one.
 */
export async function sendForm(path, fields, progress, signal) {
  for (;;) {
    try {
      return await sendOnce(path, fields, progress, signal);
    } catch (error) {
      if (error.status !== 401) throw error;
      await askForKey();
      signal?.throwIfAborted();
    }
  }
}

function sendOnce(path, fields, progress, signal) {
  return new Promise((done, fail) => {
    const form = new FormData();
    for (const [name, value] of fields) form.append(name, value);
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("Prefer", "respond-async"); // its address is known at once: it can be canceled there
    let sent = false;
    request.upload.onload = () => (sent = true);
    signal?.addEventListener("abort", () => sent || request.abort());
    request.onabort = () => fail(signal.reason);
    request.upload.onprogress = ({ loaded, total }) => progress(loaded, total);
    request.onerror = () =>
      fail(new Problem({ title: "The upload broke off", status: 0, detail: "The service did not answer. Try again." }));
    request.onload = () => {
      const { status, responseText } = request;
      if (status >= 400) fail(problemOf(status, responseText));
      else done({ body: JSON.parse(responseText), location: request.getResponseHeader("Location") });
    };
    request.send(form);
  });
}

/** What became of an upload, once its inspection is over; throws the Problem of a refusal. Canceled, it is there too. */
export async function inspected(location, signal) {
  for (;;) {
    if (signal?.aborted) {
      await call("DELETE", location).catch(() => {}); // judged already, or gone: there is nothing to cancel
      throw signal.reason;
    }
    const answer = await call("GET", location);
    if (answer.status !== "inspecting") return answer;
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}
