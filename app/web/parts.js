// How an adapter is applied, where and when, as people type it: "down=0.5 up.1=0 0:0.2 0.6:1 rank=8", as in the command line.

import { el } from "./dom.js";
import { strengthText } from "./strength.js";

/** What a text means: factors by block, strengths from a fraction of the denoising on, and how many ranks. Throws Error. */
export function partsOf(text) {
  const parts = { blocks: {}, schedule: [], rank: null };
  const named = new Set();
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const found = /^([a-z][\w.]*)=([^=:]+)$/.exec(word) ?? /^([^=:]+):([^=:]+)$/.exec(word);
    const value = Number(found?.[2]);
    if (!found || !Number.isFinite(value)) throw new Error(`“${word}” is neither a block and a factor (down=0.5) nor a step (0.6:1)`);
    if (word.includes("=") && named.has(found[1])) throw new Error(`${found[1]} is given twice`);
    named.add(found[1]);
    if (word.includes(":")) parts.schedule.push([Number(found[1]), value]);
    else if (found[1] === "rank") parts.rank = value;
    else parts.blocks[found[1]] = value;
  }
  if (parts.schedule.flat().some((number) => !Number.isFinite(number))) throw new Error("a step is two numbers, as in 0.6:1");
  return parts;
}

/** The text that means what a resolved adapter has; empty where it has nothing. */
export function partsText({ blocks = {}, schedule = [], rank = null }) {
  return [
    ...Object.entries(blocks).map(([block, factor]) => `${block}=${factor}`),
    ...schedule.map(([fraction, strength]) => `${fraction}:${strength}`),
    ...(rank === null ? [] : [`rank=${rank}`]),
  ].join(" ");
}

/** The same for people: what a picture was drawn with. */
export function partsShown({ blocks = {}, schedule = [], rank = null }) {
  return [
    ...Object.entries(blocks).map(([block, factor]) => `, ${block} × ${strengthText(factor)}`),
    ...schedule.map(([fraction, strength]) => `, ${strengthText(strength)} from ${Math.round(fraction * 100)} %`),
    ...(rank === null ? [] : [`, rank ${rank}`]),
  ].join("");
}

/** A closed field for `use.blocks`, `use.schedule` and `use.rank`, which it changes in place. */
export function partsField(name, use) {
  const text = el("input", {
    type: "text", value: partsText(use), placeholder: "down=0.5 up.1=0 0:0.2 0.6:1", spellcheck: "false",
    "aria-label": `Blocks and schedule of ${name}`,
  });
  const hint = "Factors by block of the model (down, mid, up.1), strengths from a fraction of the denoising on (0.6:1), rank=8 for the first 8 ranks of a DyLoRA.";
  text.addEventListener("input", () => {
    try {
      Object.assign(use, partsOf(text.value));
      text.setCustomValidity("");
    } catch (error) {
      text.setCustomValidity(error.message);
    }
  });
  const details = el("details", {}, el("summary", {}, "Blocks and schedule"), text, el("p", { class: "hint quiet" }, hint));
  details.open = text.value !== "";
  // What is wrong in a closed one could not be pointed at
  text.addEventListener("invalid", () => (details.open = true));
  return details;
}
