// Large files, sent in parts (tus 1.0.0): no proxy cuts them, and what a broken connection costs is the last part alone.

import { problemOf } from "./api.js";
import { connection } from "./connection.js";
import { askForKey } from "./key.js";

const MIB = 2 ** 20;
const PART = 8 * MIB;
const AGAIN_MS = 1000;
const AWAY = new Set([502, 503, 504]);
const MOVED = 409; // another offset: where it goes on is asked

export const FROM = 50 * MIB; // what is smaller is sent whole

const wait = () => new Promise((done) => setTimeout(done, AGAIN_MS));
const encoded = (text) => btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));

/** The answer, once there is one; a service that is away is waited for. */
async function ask(method, path, { headers, body, signal } = {}) {
  for (;;) {
    let answer;
    try {
      const spoken = { "Tus-Resumable": "1.0.0", Accept: "application/json", ...headers };
      answer = await fetch(path, { method, headers: spoken, body, signal, cache: "no-store" });
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      await connection.restored();
      if (method === "PATCH") return null; // some of it may be there
      continue;
    }
    if (answer.status === 401) await askForKey();
    else if (AWAY.has(answer.status)) await wait();
    else if (answer.ok || answer.status === MOVED) return answer;
    else throw problemOf(answer.status, await answer.text());
  }
}

/** What `Upload-Metadata` says: a form's fields, of which one that is said several times has a line for each. */
function metadata(fields) {
  const lines = new Map();
  for (const [name, value] of fields) if (value) lines.set(name, [...(lines.get(name) ?? []), value]);
  return [...lines].map(([name, values]) => `${name} ${encoded(values.join("\n"))}`).join(",");
}

/** Sends a file of `kind`, adapters or datasets; as `sendForm`, and an AbortSignal breaks it off at any time. */
export async function sendParts(kind, file, fields, progress, signal) {
  const headers = { "Upload-Length": String(file.size), "Upload-Metadata": metadata(fields) };
  const begun = await ask("POST", `v1/uploads/${kind}`, { headers, signal });
  const where = `v1/uploads/${begun.headers.get("Location").split("/").pop()}`;
  try {
    for (;;) {
      const { offset, result } = await (await ask("GET", where, { signal })).json();
      progress(offset, file.size);
      if (result) {
        const location = `v1/${kind}/uploads/${result.split("/").pop()}`;
        return { body: await (await ask("GET", location)).json(), location };
      }
      if (offset === file.size) await wait(); // the service puts the parts together
      else {
        const part = file.slice(offset, offset + PART);
        const type = { "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" };
        await ask("PATCH", where, { headers: type, body: part, signal });
      }
    }
  } catch (error) {
    if (signal?.aborted) ask("DELETE", where).catch(() => {}); // it goes by itself otherwise, after a while
    throw error;
  }
}
