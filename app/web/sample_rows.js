// Prompts that are drawn with each checkpoint of a training, each with its seed.

import { el } from "./dom.js";

const MOST = 8;

/** The rows in `place`; `changed()` is called when one comes or goes. */
export function createSamples(place, changed) {
  const rows = el("div", { class: "samples" });
  const more = el("button", { type: "button", class: "small", onclick: () => { add("").focus(); told(); } }, "Add a prompt");
  let touched = false; // then nothing is suggested any more

  function told() {
    touched = true;
    more.hidden = rows.children.length >= MOST;
    changed();
  }

  function add(text, number = 0) {
    const prompt = el("input", { type: "text", value: text, required: true, maxlength: "2000", "aria-label": "Prompt of a sample" });
    const seed = el("input", { type: "number", value: String(number), min: "0", step: "1", required: true, "aria-label": "Seed of this sample" });
    const out = el("button", { type: "button", class: "small", "aria-label": "Remove this sample", onclick: () => { row.remove(); told(); } }, "✕");
    const row = el("div", { class: "sample" }, prompt, seed, out);
    rows.append(row);
    return prompt;
  }

  rows.addEventListener("input", () => (touched = true));
  place.append(rows, more);

  return {
    /** Takes a prompt where nobody has said what to draw. */
    suggest(text) {
      if (touched || !text) return;
      rows.replaceChildren();
      add(text);
    },

    /** The samples as the wire has them. */
    values: () => [...rows.children].map((row) => {
      const [prompt, seed] = row.querySelectorAll("input");
      return { prompt: prompt.value, seed: Number(seed.value) };
    }),

    /** Puts samples back. */
    set(samples) {
      rows.replaceChildren();
      for (const { prompt, seed } of samples) add(prompt, seed);
      touched = true;
      more.hidden = samples.length >= MOST;
    },
  };
}
