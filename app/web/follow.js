// Following generations until they end: server-sent events, or polling when a stream cannot be had.

import { Problem, call } from "./api.js";

// Browsers open six connections to one host over HTTP/1.1, tabs together: the others are for pictures and requests.
const MOST_STREAMS = 2;
const MOST_FAILURES = 3;
const POLL_MS = { least: 1000, most: 10000, perPlace: 500 };
const ENDS = new Set(["succeeded", "failed", "canceled"]);

const APPLY = {
  status: (state, data) => ({ ...state, queue_position: null, ...data }),
  progress: (state, data) => ({ ...state, progress: data }),
  image: (state, data) => ({
    ...state,
    images: [...state.images.filter(({ index }) => index !== data.index), data].sort((a, b) => a.index - b.index),
  }),
};

let streams = 0;

function pollDelay({ queue_position: place }) {
  return Math.min(Math.max((place ?? 0) * POLL_MS.perPlace, POLL_MS.least), POLL_MS.most);
}

// Streams are few: they go to what runs and to what is next.
function isNear({ queue_position: place }) {
  return place === null || place <= 1;
}

/** Whether nothing more can happen to a generation. */
export function ended(generation) {
  return ENDS.has(generation.status);
}

/** Where a generation is. */
export function pathOf(id) {
  return `v1/generations/${encodeURIComponent(id)}`;
}

/** Calls `show` with every newer state of a generation; resolves with its end. */
export async function follow(generation, show) {
  let state = generation;
  let streamable = true;
  const update = (next) => {
    state = next;
    show(state);
  };
  while (!ended(state)) {
    if (streamable && streams < MOST_STREAMS && isNear(state)) {
      streams += 1;
      try {
        streamable = await stream(generation.id, (kind, data) => update(APPLY[kind](state, data)), () => ended(state));
      } finally {
        streams -= 1;
      }
    } else {
      await new Promise((done) => setTimeout(done, pollDelay(state)));
    }
    // The stream told the story; the service's own record has the timings and is what a reload would show.
    try {
      update(await call("GET", pathOf(generation.id)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.status < 500) update({ ...state, status: "failed", error: { code: error.code, message: error.message } });
    }
  }
  return state;
}

/** Listens to a generation's events until its end or until the stream breaks; whether anything was heard. */
function stream(id, hear, over) {
  return new Promise((done) => {
    const source = new EventSource(`${pathOf(id)}/events`);
    let heard = false;
    let failures = 0;
    const finish = (worked) => {
      source.close();
      done(worked);
    };
    for (const kind of Object.keys(APPLY)) {
      source.addEventListener(kind, (event) => {
        heard = true;
        failures = 0;
        hear(kind, JSON.parse(event.data));
        if (over()) finish(true);
      });
    }
    source.onerror = () => {
      failures += 1;
      // The browser connects again by itself, with Last-Event-ID, unless it was closed.
      if (source.readyState === EventSource.CLOSED || failures >= (heard ? MOST_FAILURES : 1)) finish(heard);
    };
  });
}
