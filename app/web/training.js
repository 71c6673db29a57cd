// One training: how far it is, its loss, its samples, and what can be done with it.

import { duration, moment, short } from "./amounts.js";
import { Problem, call } from "./api.js";
import { checkpointGrid } from "./checkpoints.js";
import { curve } from "./curve.js";
import { el } from "./dom.js";
import { TRAININGS, ended, follow, pathOf, recall } from "./follow.js";
import { announce, notify, problemView } from "./problems.js";
import { randomKey } from "./random.js";
import { inspected } from "./sending.js";

function stateText({ status, progress: { step, steps, loss, pictures_per_s: pace, remaining_s: rest }, adapter }) {
  if (status === "queued") return "Waiting for a worker that trains";
  const parts = [`Step ${step} of ${steps}`];
  if (loss !== null) parts.push(`loss ${short(loss)}`);
  if (status === "running") {
    if (!step) return "Getting ready: the pictures are encoded";
    if (pace !== null) parts.push(`${short(pace)} pictures a second`);
    if (rest !== null) parts.push(`${duration(rest)} left`);
  }
  if (adapter) parts.push(`kept as ${adapter.name}:${adapter.version}`);
  return parts.join(" · ");
}

/** A small button; `act(button)` is called with it when it is pressed. */
function action(text, label, act, more = {}) {
  return el("button", { type: "button", class: "small", "aria-label": label, onclick: ({ currentTarget }) => act(currentTarget), ...more }, text);
}

/**
 * A training's card: `element`, and `begin()`, which follows it.
 *
 * `use(adapter, model)` draws with what it made, `again(request)` fills the form in, `added(training)` is called with one that
 * goes on with it, `removed(id)` once it is gone, `known()` when the catalog has a new version.
 */
export function createTraining(training, { use, again, added, removed, known }) {
  let state = training;
  let drawing = false; // a frame is asked for
  let asked = 0; // the step up to which checkpoints were asked for
  let checkpoints = []; // no event tells of them
  const losses = new Map(); // by step
  const published = new Map(); // the version that a checkpoint was given here, by step
  const { name, algorithm, model } = training.request;
  const status = el("span", { class: "status" });
  const text = el("p", { class: "state" });
  const bar = el("progress", { max: String(training.progress.steps), "aria-label": `Progress of ${name}` });
  const line = el("div", { class: "line" });
  const grid = el("div", {});
  const notes = el("ul", { class: "hint quiet" });
  const outcome = el("div", { role: "alert" });
  const buttons = el("div", { class: "buttons" });
  const card = el("details", { class: "training", "data-id": training.id },
    el("summary", {}, el("span", { class: "name" }, name), status, el("span", { class: "quiet" }, `${algorithm}, ${moment(training.created_at)}`)),
    bar, text, notes, line, grid, outcome, buttons);
  let made = ""; // what the grid and the buttons were made of

  /** Posts what a button stands for; null where that was refused, which is shown. */
  async function ask(button, path, options) {
    button.disabled = true;
    outcome.replaceChildren();
    try {
      return await call("POST", `${pathOf(state.id, TRAININGS)}${path}`, options);
    } catch (error) {
      if (error instanceof Problem && error.code === "already_ended") show(await call("GET", pathOf(state.id, TRAININGS)));
      else outcome.replaceChildren(problemView(error));
      return null;
    } finally {
      button.disabled = false;
    }
  }

  async function stop(button, path) {
    const answer = await ask(button, path);
    if (answer) show(answer);
  }

  async function goOn(button, path, body) {
    const next = await ask(button, path, { body, key: randomKey() });
    if (next) added(next);
  }

  async function publish(button, step) {
    const answer = await ask(button, "/publish", { body: { step }, key: randomKey() });
    if (!answer) return;
    try {
      const record = answer.version ? answer : await inspected(`v1/adapters/uploads/${answer.id}`);
      published.set(step, record);
      announce(`Step ${step} of ${name} is ${record.name} version ${record.version}`);
      known();
      show(state);
    } catch (error) {
      outcome.replaceChildren(problemView(error));
    }
  }

  const drawn = ({ name: called, version }) => `Draw with ${called}:${version}`;

  /** What stands over a checkpoint: a button that publishes it, or one that draws with what it was published as. */
  function overCheckpoint(step) {
    const adapter = state.adapter?.step === step ? state.adapter : published.get(step);
    if (adapter) return action(`Use ${adapter.name}:${adapter.version}`, drawn(adapter), () => use(adapter, model));
    return action("Publish", `Publish step ${step} of ${name}`, (button) => publish(button, step));
  }

  /** Asks whether an ended training is to go, and has it go. */
  function remove() {
    const keep = action("Keep it", `Keep ${name}`, () => buttons.replaceChildren(...actions()));
    const gone = action("Remove", `Remove ${name} for good`, async (button) => {
      button.disabled = true;
      try {
        await call("DELETE", pathOf(state.id, TRAININGS));
        removed(state.id);
      } catch (error) {
        outcome.replaceChildren(problemView(error));
        buttons.replaceChildren(...actions());
      }
    });
    buttons.replaceChildren(el("span", {}, "Remove it with its checkpoints and samples? Versions that were published stay."), gone, keep);
    keep.focus();
  }

  /** A number of steps and the button that trains so much longer. */
  function longer() {
    const steps = el("input", { type: "number", min: "1", step: "1", value: String(state.request.steps), "aria-label": `Further steps of ${name}` });
    const button = action("Train longer", `Train ${name} longer`, () => steps.reportValidity() && goOn(button, "/extend", { steps: Number(steps.value) }));
    return el("span", { class: "joined" }, steps, button);
  }

  function actions() {
    const { adapter, status: now } = state;
    const cancel = () => action("Cancel", `Cancel ${name}`, (button) => stop(button, "/cancel"));
    const keep = () => action("Stop and keep", `Stop ${name} and keep what it has learned`, (button) => stop(button, "/cancel?keep=true"));
    const resume = () => action("Resume", `Resume ${name}`, (button) => goOn(button, "/resume"));
    const found = {
      queued: () => [cancel()],
      running: () => [keep(), cancel()],
      succeeded: () => [state.request.lr_scheduler === "constant" ? longer() : null],
      failed: () => [resume()],
      canceled: () => [resume()],
    }[now]();
    const over = ended(state) ? [action("Same settings", `Fill the form in as for ${name}`, () => again(state.request)), action("Remove…", `Remove ${name}`, remove)] : [];
    const first = adapter ? action(drawn(adapter), null, () => use(adapter, model), { class: "small primary" }) : null;
    return [first, ...found, ...over].filter(Boolean);
  }

  function render() {
    drawing = false;
    const { status: now, progress: { step }, error } = state;
    status.textContent = now;
    status.className = `status ${now}`;
    text.textContent = stateText(state);
    bar.hidden = ended(state);
    if (now === "running" && step) bar.value = step;
    else bar.removeAttribute("value");
    for (const one of checkpoints) if (Number.isFinite(one.loss) && !losses.has(one.step)) losses.set(one.step, one.loss);
    const course = curve([...losses].sort(([a], [b]) => a - b), "loss");
    line.replaceChildren(...(course ? [course] : []));
    const of = JSON.stringify([now, state.adapter, state.pictures, checkpoints, [...published.keys()]]);
    if (of === made) return;
    made = of;
    notes.replaceChildren(...(state.notes ?? []).map((one) => el("li", {}, one)));
    const checked = checkpointGrid({ ...state, checkpoints }, overCheckpoint);
    const [old, place] = [grid.firstElementChild, grid.firstElementChild?.scrollLeft ?? 0];
    const atEnd = !old || place + old.clientWidth >= old.scrollWidth - 2;
    grid.replaceChildren(...(checked ? [checked] : []));
    if (checked) checked.scrollLeft = atEnd ? checked.scrollWidth : place;
    buttons.replaceChildren(...actions());
    if (error) outcome.replaceChildren(problemView(new Problem({ title: error.message, code: error.code })));
  }

  /** Asks for the checkpoints once there is one more. */
  async function newer({ step }) {
    const { checkpoint_every: every } = state.request;
    const due = Math.floor((step - 1) / every) * every; // it is there when the next step is told
    if (due <= (checkpoints.at(-1)?.step ?? 0) || due <= asked) return;
    asked = due;
    const found = await call("GET", pathOf(state.id, TRAININGS));
    show({ ...state, checkpoints: found.checkpoints });
  }

  function show(next) {
    state = next;
    const { step, loss } = next.progress;
    if (step && loss !== null) losses.set(step, loss);
    if ((next.checkpoints.at(-1)?.step ?? 0) > (checkpoints.at(-1)?.step ?? 0)) checkpoints = next.checkpoints;
    if (next.status === "running") newer(next.progress).catch(notify);
    if (drawing) return;
    drawing = true;
    requestAnimationFrame(render);
  }

  let told = false; // what happened to one that has ended is asked for when it is looked at
  card.addEventListener("toggle", () => {
    if (!card.open || told || !ended(training)) return;
    told = true;
    recall(training, (event, data) => {
      if (event === "progress" && data.step && data.loss !== null) losses.set(data.step, data.loss);
      if (losses.size) show(state);
    }, TRAININGS).catch(notify);
  });
  show(state);

  return {
    element: card,

    /** Follows it to its end. */
    async begin() {
      if (ended(state)) return;
      card.open = true;
      const last = await follow(training, show, TRAININGS);
      announce(`${name}: ${last.status}`);
      if (last.adapter) known();
    },
  };
}
