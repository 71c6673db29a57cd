// Puts the page together: form, adapters, gallery, dialogs.

import { showAdapter } from "./about.js";
import { createAdapters, refOf } from "./adapters.js";
import { call, problemOf } from "./api.js";
import { connection } from "./connection.js";
import { showPicture } from "./detail.js";
import { fieldsOf } from "./documented.js";
import { byId, onEdit } from "./dom.js";
import { acceptFiles } from "./drop.js";
import { freshSeed, randomKey } from "./random.js";
import { createForm } from "./form.js";
import { createGallery } from "./gallery.js";
import { createSearch } from "./search.js";
import { createPictures } from "./pictures_in.js";
import { notify } from "./problems.js";
import { isPicture } from "./send_picture.js";
import { createTrain } from "./train.js";
import { showUpload } from "./upload.js";
import { followAddress, goTo, shownView } from "./view.js";

const NO_MODEL_YET_MS = 2000;

let maps = []; // kinds of maps that are made here

const adapters = createAdapters({
  given: (stored) => pictures.bring(stored),
  drawing: () => ({ size: form.size(), fit: pictures.fit() }),
  about: (record) => showAdapter(refOf(record), reloadAdapters).catch(notify),
  changed: () => {
    pictures.show();
    const some = adapters.stack().length > 0;
    byId("compare").disabled = byId("draw").disabled || !some;
    byId("compare").title = some
      ? "Draws the same prompt and seed with no adapter and with each ticked adapter alone"
      : "Tick an adapter first";
  },
});
const form = createForm((profile, known) => {
  adapters.setModel(profile.name, maps);
  pictures.offer(known, profile);
});
const pictures = createPictures({
  drawn: form.size,
  ask: (picture) => form.ask(picture),
  controls: adapters.readsPictures,
  others: adapters.pictureUses,
});
const train = createTrain({ use, known: reloadAdapters });
const gallery = createGallery((generation, index, acts) => showPicture(generation, index, { reuse, from, ...acts }));
createSearch(gallery.search);

function reuse(request, seed) {
  form.reuse(request, seed, 1);
  adapters.setStack(request.adapters);
  pictures.set(request).catch(notify);
}

/** Draws from a picture that was drawn. */
async function from(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  await pictures.take(await answer.blob());
}

/** Draws with an adapter that was trained here, on its model. */
async function use(adapter, model) {
  await reloadAdapters();
  form.choose(model);
  adapters.add(adapter);
  goTo("draw");
}

function reloadAdapters() {
  return adapters.load().catch(notify);
}

async function loadModels() {
  const fields = await fieldsOf("GenerationRequest");
  const { models, default: name, maps: made } = await call("GET", "v1/models");
  maps = made;
  form.setModels(models, name, fields);
  if (models.length) return;
  byId("facts").textContent = "The model is being loaded…";
  setTimeout(() => loadModels().catch(notify), NO_MODEL_YET_MS);
}

async function post(request) {
  gallery.add(await call("POST", "v1/generations", { body: request, key: randomKey() }));
}

function request() {
  return { ...form.request(), ...pictures.values() };
}

async function draw() {
  await post({ ...request(), adapters: adapters.stack() });
}

/** The same prompt and seed, bare and then with each adapter of the stack alone; the gallery shows them side by side. */
async function compare() {
  const asked = { ...request(), count: 1 };
  asked.seed ??= freshSeed();
  for (const stack of [[], ...adapters.stack().map((use) => [use])]) await post({ ...asked, adapters: stack });
}

/** Runs an action of the form's buttons, once at a time. */
async function act(action) {
  if (byId("draw").disabled || !form.valid() || !pictures.valid()) return;
  byId("draw").disabled = byId("compare").disabled = true;
  try {
    await action();
    window.matchMedia("(max-width: 760px)").matches && byId("gallery").scrollIntoView({ behavior: "smooth" });
  } catch (error) {
    notify(error);
  } finally {
    byId("draw").disabled = false;
    byId("compare").disabled = adapters.stack().length === 0;
  }
}

function load() {
  for (const part of [loadModels, adapters.load, gallery.load]) part().catch(notify);
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  act(draw);
});
byId("compare").addEventListener("click", () => act(compare));
byId("reset").addEventListener("click", () => pictures.set({}).catch(notify));
onEdit(byId("form"), () => {
  pictures.show();
  adapters.look();
});
acceptFiles(
  (file) => isPicture(file) ? pictures.take(file).catch(notify) : showUpload(file, { added: reloadAdapters, use: adapters.add }),
  (files) => files.then(train.take).catch(notify),
);
document.addEventListener("visibilitychange", () => document.hidden || load());
connection.onBack(load);
connection.watch();
load();

/** Whether whoever looks at the page may train; the view is hidden from all others. */
const mayTrain = call("GET", "v1/session").then(({ scopes }) => {
  const may = scopes.includes("train");
  byId("train-link").hidden = !may;
  if (!may && shownView()[0] === "train") goTo("draw");
  return may;
});
followAddress((view, said) => view === "train" && mayTrain.then((may) => may && train.show(said)).catch(notify));
