// The trainings that the service has, newest first: those that are not over are followed.

import { call } from "./api.js";
import { arrange, byId } from "./dom.js";
import { notify } from "./problems.js";
import { createTraining } from "./training.js";

const PAGE = 20;

/** The list; `actions` are those of a training's card. */
export function createTrainings(actions) {
  const cards = new Map(); // by id
  let next = null;

  function take(training) {
    if (cards.has(training.id)) return;
    const card = createTraining(training, { ...actions, added: add, removed });
    cards.set(training.id, { ...card, moment: training.created_at });
    card.begin().catch(notify);
  }

  function render() {
    const newestFirst = [...cards.values()].sort((a, b) => (a.moment < b.moment) - (a.moment > b.moment));
    arrange(byId("trainings"), newestFirst.map(({ element }) => element));
    byId("trainings-none").hidden = cards.size > 0;
    byId("trainings-older").hidden = next === null;
  }

  function removed(id) {
    cards.delete(id);
    render();
  }

  /** Shows a training that was just accepted. */
  function add(training) {
    take(training);
    render();
    cards.get(training.id).element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  async function page(cursor) {
    const found = await call("GET", `v1/trainings?limit=${PAGE}${cursor ? `&before=${cursor}` : ""}`);
    if (cursor || cards.size === 0) next = found.next;
    found.trainings.forEach(take);
    render();
  }

  byId("trainings-older").addEventListener("click", () => page(next).catch(notify));

  return {
    /** Reads the newest; what is shown already stays. */
    load: () => page(null),
    add,
  };
}
