// The training view: a dataset, what is made of it, and the trainings there are.

import { call } from "./api.js";
import { createCost } from "./cost.js";
import { createDataset } from "./dataset.js";
import { fieldsOf } from "./documented.js";
import { byId } from "./dom.js";
import { notify, problemView } from "./problems.js";
import { randomKey } from "./random.js";
import { createTrainForm } from "./train_form.js";
import { createTrainings } from "./trainings.js";
import { keepInAddress, shownView } from "./view.js";

/** The view; `use(adapter, model)` draws with an adapter, `known()` is called when the catalog has a new one. */
export function createTrain({ use, known }) {
  let pictures = null; // the ref of the dataset
  const form = createTrainForm(() => tell());
  const tell = createCost(byId("training-cost"), () => pictures && form.ready() && { ...form.request(), dataset: pictures }, form.hold);
  const dataset = createDataset((found) => {
    pictures = found?.ref ?? null;
    form.setDataset(found);
    tell();
    byId("train").disabled = !found;
    byId("train").title = found ? "" : "Choose pictures first";
    if (shownView()[0] === "train") keepInAddress("train", found?.ref);
  });
  const trainings = createTrainings({ use, known, again: (request) => {
    form.reuse(request);
    load().catch(notify); // of its model
    dataset.choose(request.dataset).catch(notify);
    byId("training-form").scrollIntoView({ block: "nearest", behavior: "smooth" });
  } });

  async function train(event) {
    event.preventDefault();
    if (byId("train").disabled || !form.valid()) return;
    byId("train").disabled = true;
    byId("training-outcome").replaceChildren();
    try {
      const { ref } = await dataset.settled();
      trainings.add(await call("POST", "v1/trainings", { body: { ...form.request(), dataset: ref }, key: randomKey() }));
    } catch (error) {
      byId("training-outcome").replaceChildren(problemView(error));
      byId("training-outcome").scrollIntoView({ block: "nearest" });
    } finally {
      byId("train").disabled = false;
    }
  }

  byId("training-form").addEventListener("submit", train);
  byId("training-model").addEventListener("change", () => load().catch(notify));

  async function load() {
    const [fields, { models, default: usual }] = await Promise.all([fieldsOf("TrainingRequest"), call("GET", "v1/models")]);
    const model = byId("training-model").value || usual;
    const loaded = models.some(({ name }) => name === model); // one that no worker has loaded has no numbers yet
    const { algorithms } = await call("GET", `v1/trainings/algorithms${loaded ? `?model=${encodeURIComponent(model)}` : ""}`);
    if ((byId("training-model").value || usual) !== model) return; // another was chosen meanwhile, which is asked for itself
    form.setKnown(fields, algorithms, models, usual);
    tell();
  }

  return {
    /** Reads what there is; called whenever the view is shown, with the dataset that its address names. */
    async show(ref) {
      await load();
      await Promise.all([trainings.load(), dataset.load()]);
      if (ref && ref !== (await dataset.settled())?.ref) await dataset.choose(ref);
    },

    /** Takes files as a dataset. */
    take: dataset.take,
  };
}
