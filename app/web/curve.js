// How a number goes over the steps of a training: its values, and their running mean, as a drawing.

import { short } from "./amounts.js";

const NS = "http://www.w3.org/2000/svg";
const WIDE = 640;
const HIGH = 170;
const EDGE = { left: 58, right: 10, top: 10, bottom: 24 };
const MOST_POINTS = 400; // more are not seen at this width
const FADES = 0.1; // of the points, that many make one of the running mean

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function thinned(points) {
  const every = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, at) => at % every === 0 || at === points.length - 1);
}

function smoothed(points) {
  const weight = 1 / Math.max(1, Math.min(points.length * FADES, 20));
  let mean = points[0]?.[1];
  return points.map(([step, value]) => [step, (mean += weight * (value - mean))]);
}

/** A drawing of [step, value] pairs in order of their steps; null of fewer than two. */
export function curve(points, called) {
  const shown = thinned(points.filter(([, value]) => Number.isFinite(value)));
  if (shown.length < 2) return null;
  const [first, last] = [shown[0][0], shown.at(-1)[0]];
  const values = shown.map(([, value]) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const span = most - least || Math.abs(most) || 1;
  const x = (step) => EDGE.left + ((step - first) / (last - first)) * (WIDE - EDGE.left - EDGE.right);
  const y = (value) => EDGE.top + (1 - (value - least) / span) * (HIGH - EDGE.top - EDGE.bottom);
  const line = (pairs, kind) => svg("polyline", { class: kind, points: pairs.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ") });
  const text = (at, [left, top], anchor) => svg("text", { x: left, y: top, "text-anchor": anchor }, at);
  const floor = HIGH - EDGE.bottom;
  const said = `${called}: ${short(values[0])} at step ${first}, ${short(values.at(-1))} at step ${last}, between ${short(least)} and ${short(most)}`;
  return svg(
    "svg",
    { class: "curve", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": said },
    svg("title", {}, said),
    svg("path", { class: "axis", d: `M${EDGE.left} ${EDGE.top}V${floor}H${WIDE - EDGE.right}` }),
    text(short(most), [EDGE.left - 6, EDGE.top + 10], "end"),
    text(short(least), [EDGE.left - 6, floor], "end"),
    text(String(first), [EDGE.left, HIGH - 7], "start"),
    text(`step ${last}`, [WIDE - EDGE.right, HIGH - 7], "end"),
    text(called, [WIDE - EDGE.right, EDGE.top + 10], "end"), // there it is free: what is drawn mostly falls
    line(shown, "values"),
    line(smoothed(shown), "mean"),
  );
}
