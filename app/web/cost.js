// What a training would be and cost, told before anybody presses a button: asked for a moment after each change.

import { duration, short, size } from "./amounts.js";
import { Problem, call } from "./api.js";
import { el, facts } from "./dom.js";
import { notify, problemView } from "./problems.js";

const REST_MS = 500;

/** A count as people read it: 812, 13.4 thousand, 2.1 million. */
function count(number) {
  const [over, called] = [[1e9, " billion"], [1e6, " million"], [1e3, " thousand"]].find(([least]) => number >= least) ?? [1, ""];
  return short(number / over) + called;
}

function view({ parameters, layers, memory_bytes: memory, seconds, epochs, buckets, notes, request }) {
  const shown = facts([
    ["Trains", `${count(parameters)} numbers in ${Object.entries(layers).map(([part, many]) => `${many} layers of ${part}`).join(", ")}`],
    ["Takes", seconds === null ? "not known: nothing was trained or drawn with this model yet" : `about ${duration(seconds)}`],
    ["Memory", `about ${size(memory)}`],
    ["Steps", `${request.steps}, or ${short(epochs)} ${epochs === 1 ? "epoch" : "epochs"}`],
    ["At", buckets.map(({ width, height, pictures }) => `${width} × ${height} (${pictures})`).join(", ")],
  ]);
  return [shown, ...notes.map((note) => el("p", { class: "hint quiet" }, note))];
}

/**
 * The place where it is told; `request()` is the body that would be posted, false where there is none yet, and
 * `held(resolved)` is called with everything filled in.
 *
 * Returns what is to be called after each change.
 */
export function createCost(place, request, held) {
  let resting = null;
  let asked = 0;

  async function ask() {
    const mine = (asked += 1);
    const body = request();
    if (!body) return place.replaceChildren();
    try {
      const told = await call("POST", "v1/trainings?dry_run=true", { body });
      if (mine !== asked) return;
      place.replaceChildren(...view(told));
      held(told.request);
    } catch (error) {
      if (mine !== asked) return;
      if (error instanceof Problem) place.replaceChildren(problemView(error));
      else notify(error);
    }
  }

  return () => {
    clearTimeout(resting);
    resting = setTimeout(ask, REST_MS);
  };
}
