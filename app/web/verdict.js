// What inspection found in an adapter file, as people read it. All of it is text from a stranger's file.

import { counts, size } from "./amounts.js";
import { el, facts } from "./dom.js";

const LABELS = {
  lora: "LoRA", locon: "LoCon", loha: "LoHa", lokr: "LoKr", dora: "DoRA", full: "full", norm: "norms", ia3: "(IA)³",
  glora: "GLoRA", oft: "OFT", boft: "BOFT", hira: "HiRA", tlora: "T-LoRA", adalora: "AdaLoRA", hra: "HRA",
  vera: "VeRA", fourierft: "FourierFT", c3a: "C3A",
};
const SAID = ["ss_base_model_version", "modelspec.architecture", "ss_sd_model_name"];

// "dora-lokr" is DoRA over LoKr
function label(algorithm) {
  return algorithm.split("-").map((part) => LABELS[part] ?? part).join(" over ");
}

function range(numbers) {
  if (!numbers.length) return null;
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  return least === most ? String(least) : `${least} to ${most}`;
}

/** The algorithms of a file, most layers first: "LoKr + norms". */
export function algorithmsOf({ algorithms }) {
  return Object.entries(algorithms).sort(([, a], [, b]) => b - a).map(([name]) => label(name)).join(" + ");
}

// The layers cannot lie; where they tell nothing for sure, the file's own word is better than a guess from them
function baseOf({ base, metadata }) {
  if (base?.sure) return el("span", { title: base.evidence.join("\n") }, base.name);
  return SAID.map((key) => metadata[key]).find(Boolean) ?? (base && `${base.name} (a guess)`);
}

/** A record with its verdict as an element. */
export function verdictView({ verdict, ...record }) {
  const { metadata, warnings } = verdict;
  return el(
    "div",
    { class: "verdict" },
    record.description ? el("p", {}, record.description) : null,
    facts([
      ["Algorithm", counts(verdict.algorithms, label)],
      ["Rank", range(verdict.ranks)],
      ["Layers in", counts(verdict.components)],
      ["Base", baseOf(verdict)],
      ["Fits", record.fits.join(", ") || "no model here"],
      ["Trained with", verdict.triggers.join(", ")],
      ["Brings words", verdict.embeddings.join(", ")],
      ["Left out", verdict.ignored.join(", ")],
      ["Version", `${record.version} of ${record.versions.length}`],
      ["Size", size(record.size_bytes)],
      ["sha256", el("code", { class: "quiet" }, record.sha256)],
    ]),
    warnings.length
      ? el("div", { class: "warnings" }, el("strong", {}, "Worth knowing"), el("ul", {}, ...warnings.map((text) => el("li", {}, text))))
      : null,
    Object.keys(metadata).length
      ? el("details", {}, el("summary", {}, "What the file says of itself"), facts(Object.entries(metadata)))
      : null,
  );
}
