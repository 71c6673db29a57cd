// Whether the service answers: a banner while it does not, gone by itself when it does.

import { byId } from "./dom.js";

const AGAIN_MS = 2000;
const LOOK_MS = 15000;

const listeners = new Set();
let coming = null;

async function answers() {
  try {
    return (await fetch("healthz", { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false;
  }
}

async function wait() {
  const banner = byId("connection");
  banner.textContent = "The service does not answer. Trying again; nothing you typed is lost.";
  banner.hidden = false;
  while (!(await answers())) await new Promise((done) => setTimeout(done, AGAIN_MS));
  banner.hidden = true;
  coming = null;
  for (const listener of listeners) listener();
}

export const connection = {
  /** Shows the banner and resolves when the service answers again. */
  restored() {
    coming ??= wait();
    return coming;
  },

  /** Calls `listener` each time that the service is back after it was gone. */
  onBack(listener) {
    listeners.add(listener);
  },

  /** Looks now and then, so that the banner shows before the next click fails. */
  watch() {
    setInterval(async () => {
      if (!document.hidden && !coming && !(await answers())) this.restored();
    }, LOOK_MS);
  },
};
