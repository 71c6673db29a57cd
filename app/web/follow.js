// Following generations and trainings until they end: server-sent events, or polling when a stream cannot be had.

import { Problem, call } from "./api.js";

// Browsers open six connections to one host over HTTP/1.1, tabs together: the others are for pictures and requests.
const MOST_STREAMS = 2;
const MOST_FAILURES = 3;
const POLL_MS = { least: 1000, most: 10000, perPlace: 500 };
const ENDS = new Set(["succeeded", "failed", "canceled"]);

const status = (state, data) => ({ ...state, queue_position: null, ...data });
const progress = (state, data) => ({ ...state, progress: data });

/** A job's events with one more of a list, which takes the place of what is the same. */
const added = (list, same, order) => (state, data) => ({
  ...state,
  [list]: [...state[list].filter((one) => !same(one, data)), data].sort(order),
});

// Streams are few: they go to what runs and to what is next.
const isNear = ({ status: now, queue_position: place }) => (place === undefined ? now === "running" : place === null || place <= 1);

/** What is followed: where it is, and what its events make of it. */
export const GENERATIONS = {
  path: "v1/generations",
  query: "?previews=1",
  apply: {
    status,
    progress,
    preview: (state, data) => ({ ...state, preview: data }),
    image: added("images", (a, b) => a.index === b.index, (a, b) => a.index - b.index),
  },
};
export const TRAININGS = {
  path: "v1/trainings",
  query: "",
  apply: {
    status,
    progress,
    image: added("pictures", (a, b) => a.step === b.step && a.sample === b.sample, (a, b) => a.step - b.step || a.sample - b.sample),
  },
};

let streams = 0;

function pollDelay({ queue_position: place }) {
  return Math.min(Math.max((place ?? 0) * POLL_MS.perPlace, POLL_MS.least), POLL_MS.most);
}

/** Whether nothing more can happen to a generation. */
export function ended(generation) {
  return ENDS.has(generation.status);
}

/** Where a job is. */
export function pathOf(id, { path } = GENERATIONS) {
  return `${path}/${encodeURIComponent(id)}`;
}

/** Calls `show` with every newer state of a job; resolves with its end. */
export async function follow(job, show, kind = GENERATIONS) {
  let state = job;
  let streamable = true;
  const update = (next) => {
    state = next;
    show(state);
  };
  while (!ended(state)) {
    if (streamable && streams < MOST_STREAMS && isNear(state)) {
      streamable = await stream(job.id, kind, (event, data) => update(kind.apply[event](state, data)), () => ended(state));
    } else {
      await new Promise((done) => setTimeout(done, pollDelay(state)));
    }
    // The stream told the story; the service's own record has the timings and is what a reload would show.
    try {
      update(await call("GET", pathOf(job.id, kind)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status < 500) update({ ...state, status: "failed", error: { code: error.code, message: error.message } });
    }
  }
  return state;
}

/** Calls `hear(event, data)` with all that is still known to have happened to a job that has ended. */
export async function recall(job, hear, kind) {
  while (streams >= MOST_STREAMS) await new Promise((done) => setTimeout(done, POLL_MS.least));
  let over = false;
  await stream(job.id, kind, (event, data) => {
    over ||= event === "status" && ended(data);
    hear(event, data);
  }, () => over);
}

/** Listens to a job's events until its end or until the stream breaks; whether anything was heard. */
function stream(id, kind, hear, over) {
  streams += 1;
  const told = new Promise((done) => {
    const source = new EventSource(`${pathOf(id, kind)}/events${kind.query}`);
    let heard = false;
    let failures = 0;
    const finish = (worked) => {
      source.close();
      done(worked);
    };
    for (const event of Object.keys(kind.apply)) {
      source.addEventListener(event, ({ data }) => {
        heard = true;
        failures = 0;
        hear(event, JSON.parse(data));
        if (over()) finish(true);
      });
    }
    source.onerror = () => {
      failures += 1;
      // The browser connects again by itself, with Last-Event-ID, unless it was closed.
      if (source.readyState === EventSource.CLOSED || failures >= (heard ? MOST_FAILURES : 1)) finish(heard);
    };
  });
  return told.finally(() => (streams -= 1));
}
