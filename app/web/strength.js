// How much of an adapter is applied: a slider and the same number to type.

import { el } from "./dom.js";

// The slider covers what is useful; the number takes all that the wire does.
const SLIDER = { min: "-1", max: "2", step: "0.05" };
const NUMBER = { min: "-20", max: "20", step: "any" };

/** A strength as people read it: 0.8, 1, −0.25. */
export function strengthText(strength) {
  return String(Math.round(strength * 1000) / 1000).replace("-", "−");
}

/** An adapter and its strength: "ink × 0.8", kept on one line where it fits. */
export function nameAndStrength({ name, strength }) {
  return `${name}\u00a0×\u00a0${strengthText(strength)}`;
}

/** Slider and number for `use.strength`, which they change in place. */
export function strengthRow(name, use) {
  const value = String(use.strength);
  const slider = el("input", { type: "range", ...SLIDER, value, "aria-label": `Strength of ${name}` });
  const number = el("input", {
    type: "number", ...NUMBER, value, required: true, "aria-label": `Strength of ${name} as a number`,
  });
  slider.addEventListener("input", () => {
    use.strength = Number(slider.value);
    number.value = slider.value;
  });
  number.addEventListener("input", () => {
    if (!number.checkValidity()) return;
    use.strength = Number(number.value);
    slider.value = number.value;
  });
  const parts = Object.entries(use.strengths).map(([component, strength]) => `${component} ${strengthText(strength)}`);
  return el(
    "div",
    { class: "strength" },
    slider,
    number,
    parts.length ? el("p", { class: "hint quiet" }, `But ${parts.join(", ")}.`) : null,
  );
}
