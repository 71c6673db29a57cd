// What was found in a dataset, as people read it.

import { counts } from "./amounts.js";
import { el, facts } from "./dom.js";

const MOST_NAMES = 8;
const SOURCES = { file: "from files", metadata: "from metadata", folder: "from folders’ names", default: "the default", edited: "written here", missing: "missing" };

function names(list = []) {
  const more = list.length > MOST_NAMES ? ` and ${list.length - MOST_NAMES} more` : "";
  return list.slice(0, MOST_NAMES).join(", ") + more;
}

/** Where captions of a dataset come from, counted anew: they may have been edited since it was read. */
function captions(pictures) {
  const found = {};
  for (const { source, caption } of pictures) {
    const from = caption === null ? "missing" : source;
    found[from] = (found[from] ?? 0) + 1;
  }
  return counts(found, (key) => SOURCES[key] ?? key);
}

/** In one line: how many pictures, and how many captions are missing. */
export function datasetText({ pictures }) {
  const missing = pictures.filter(({ caption }) => caption === null).length;
  const all = `${pictures.length} ${pictures.length === 1 ? "picture" : "pictures"}`;
  return missing ? `${all}, ${missing === pictures.length ? "no" : `${missing} without`} caption${missing === pictures.length ? "s" : ""}` : all;
}

/** The report as an element, with what is wrong first. */
export function reportView({ pictures, report }) {
  const unreadable = Object.entries(report.unreadable).map(([file, why]) => el("li", {}, `${file}: ${why}`));
  return el(
    "div",
    { class: "report" },
    unreadable.length ? el("div", { class: "warnings" }, el("strong", {}, "Left out, for they cannot be read"), el("ul", {}, ...unreadable)) : null,
    el("details", {}, el("summary", {}, "What was found in it"), facts([
      ["Captions", captions(pictures)],
      ["Empty ones", names(report.empty)],
      ["Sizes", counts(report.sizes)],
      ["Same pixels", names(report.duplicates.map((same) => same.join(" = ")))],
      ["Captions of no picture", names(report.orphaned)],
      ["Not used", names(report.ignored)],
    ])),
  );
}
