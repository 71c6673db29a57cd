// Building and arranging elements. Text from anywhere only ever becomes a text node: nothing here parses markup.

/** An element with attributes (functions are listeners, booleans are properties) and children (strings are text). */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The element with an id; every id asked for is in index.html. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`index.html has no #${id}`);
  return element;
}

/** Has `act` follow a field while it is typed in, and once it is chosen: of a menu not every browser tells both. */
export function onEdit(field, act) {
  for (const kind of ["input", "change"]) field.addEventListener(kind, act);
}

/** Makes `nodes` the children of `parent`, moving only those out of place, so that focus and loaded images stay. */
export function arrange(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, place) => {
    if (parent.children[place] !== node) parent.insertBefore(node, parent.children[place] ?? null);
  });
}

/** A definition list from [term, text or node] pairs; pairs without a value are left out. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, ...shown.map(([term, value]) => el("div", {}, el("dt", {}, term), el("dd", {}, value))));
}

/** Opens a dialog that a click beside it, Escape or any [data-close] button closes. */
export function openDialog(dialog, ...children) {
  dialog.replaceChildren(...children);
  dialog.onclick = (event) => {
    if (event.target === dialog || event.target.closest?.("[data-close]")) dialog.close();
  };
  if (!dialog.open) dialog.showModal();
}

/** The heading of a dialog with its close button. */
export function dialogTop(id, title) {
  return el(
    "header",
    { class: "row" },
    el("h2", { id }, title),
    el("button", { type: "button", class: "small", "data-close": "", "aria-label": "Close" }, "✕"),
  );
}
