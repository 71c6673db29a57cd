// Painting a mask: what is painted is drawn anew. The strokes are the state; undo leaves the last one out.

import { byId, dialogTop, el, openDialog } from "./dom.js";
import { brushByKeys } from "./mask_keys.js";
import { problemView } from "./problems.js";
import { PICTURE_TYPES, pictureUrl, sendPicture } from "./send_picture.js";

const PAINTED = "#e01f3f"; // seen on any picture, half transparent
const HALF = 128;
const BRUSH = { least: 0.5, most: 40, first: 8 }; // hundredths of the picture's longer edge

/** Paints what strokes say on a canvas: opaque where the picture is drawn anew. */
function paint(canvas, strokes) {
  const brush = canvas.getContext("2d", { willReadFrequently: true }); // what is painted is read in the end
  const all = [0, 0, canvas.width, canvas.height];
  const fill = (how, area) => {
    brush.globalCompositeOperation = how;
    brush.fillStyle = PAINTED;
    brush.fillRect(...area);
  };
  brush.clearRect(...all);
  for (const { kind, points = [], size, image } of strokes) {
    if (kind === "clear") fill("destination-out", all);
    else if (kind === "invert") fill("xor", all);
    else if (kind === "image") {
      brush.globalCompositeOperation = "copy";
      brush.drawImage(image, ...all);
    } else {
      brush.globalCompositeOperation = kind === "erase" ? "destination-out" : "source-over";
      Object.assign(brush, { strokeStyle: PAINTED, lineWidth: size, lineCap: "round", lineJoin: "round" });
      brush.beginPath();
      brush.moveTo(...points[0]);
      for (const point of points.length > 1 ? points.slice(1) : points) brush.lineTo(...point);
      brush.stroke();
    }
  }
}

/** A mask file as a canvas that is opaque where it is light. */
async function painted(url, width, height) {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = el("canvas", { width, height });
  const brush = canvas.getContext("2d");
  brush.drawImage(image, 0, 0, width, height);
  const pixels = brush.getImageData(0, 0, width, height);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(PAINTED.slice(at, at + 2), 16));
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set([red, green, blue, pixels.data[at]], at);
  brush.putImageData(pixels, 0, 0);
  return canvas;
}

/** The mask as a black and white PNG: white where more than half is painted; null where nothing is. */
async function asFile(canvas) {
  const { width, height } = canvas;
  const pixels = canvas.getContext("2d").getImageData(0, 0, width, height);
  let some = false;
  for (let at = 0; at < pixels.data.length; at += 4) {
    const value = pixels.data[at + 3] >= HALF ? 255 : 0;
    some ||= value > 0;
    pixels.data.set([value, value, value, 255], at);
  }
  if (!some) return null;
  const made = el("canvas", { width, height });
  made.getContext("2d").putImageData(pixels, 0, 0);
  return new Promise((done) => made.toBlob(done, "image/png"));
}

/** Opens the editor on a picture {ref, width, height}; `done(ref or null)` is called with the mask that was painted. */
export async function editMask(picture, mask, done) {
  const { width, height } = picture;
  const dialog = byId("mask");
  const canvas = el("canvas", { width, height, id: "mask-canvas", role: "application", "aria-label": "The mask: arrow keys move the brush, Space puts it down and takes it up" });
  const size = el("input", { type: "range", id: "mask-size", min: String(BRUSH.least), max: String(BRUSH.most), step: "0.5", value: String(BRUSH.first) });
  const outcome = el("div", { role: "alert" });
  const strokes = mask ? [{ kind: "image", image: await painted(pictureUrl(mask), width, height) }] : [];
  let tool = "paint";
  let stroke = null;

  const undo = button("Undo", () => strokes.pop());
  const render = () => {
    paint(canvas, strokes);
    undo.disabled = strokes.length === 0;
  };

  function button(text, act) {
    return el("button", { type: "button", class: "small", onclick: () => { act(); render(); } }, text);
  }

  function placeOf(event) {
    const { left, top, width: wide, height: high } = canvas.getBoundingClientRect();
    return [((event.clientX - left) / wide) * width, ((event.clientY - top) / high) * height];
  }

  const brushSize = () => (Number(size.value) / 100) * Math.max(width, height);

  function begin(point, erases = tool === "erase") {
    stroke = { kind: erases ? "erase" : "paint", points: [point], size: brushSize() };
    strokes.push(stroke);
    render();
  }

  function move(...points) {
    stroke.points.push(...points);
    render();
  }

  const end = () => (stroke = null);

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || stroke) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    begin(placeOf(event), tool === "erase" || event.shiftKey);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (stroke) move(...(event.getCoalescedEvents?.() ?? [event]).map(placeOf));
  });
  for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) canvas.addEventListener(kind, end);
  const ring = brushByKeys(canvas, { begin, move, end, size: brushSize });

  const tools = ["paint", "erase"].map((name) =>
    el("label", { class: "tick" },
      el("input", { type: "radio", name: "mask-tool", value: name, checked: name === tool, onchange: () => (tool = name) }),
      name === "paint" ? "Paint" : "Erase"));
  const file = el("input", { type: "file", accept: PICTURE_TYPES, hidden: true, "aria-label": "A mask file" });
  file.addEventListener("change", () => shown(async () => {
    const { ref } = await sendPicture(file.files[0]);
    strokes.push({ kind: "image", image: await painted(pictureUrl(ref), width, height) });
    render();
  }));

  async function shown(act) {
    outcome.replaceChildren();
    try {
      await act();
    } catch (error) {
      outcome.replaceChildren(problemView(error));
    }
  }

  const finish = () => shown(async () => {
    const made = await asFile(canvas);
    done(made && (await sendPicture(made)).ref);
    dialog.close();
  });

  dialog.onkeydown = (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && strokes.length) undo.click();
    const step = { "[": -1, "]": 1 }[event.key];
    if (step) size.value = String(Number(size.value) + step);
  };
  const board = el("div", { class: "board" }, el("img", { src: pictureUrl(picture.ref), alt: "The picture to draw from", draggable: "false" }), canvas, ring);
  board.style.aspectRatio = `${width} / ${height}`;
  board.style.maxWidth = `calc((100dvh - 15rem) * ${width / height})`;
  openDialog(
    dialog,
    dialogTop("mask-title", "What is painted is drawn anew"),
    board,
    el("div", { class: "tools" }, ...tools, el("label", { class: "tick" }, "Size", size), undo,
      button("Invert", () => strokes.push({ kind: "invert" })), button("Clear", () => strokes.push({ kind: "clear" })),
      el("button", { type: "button", class: "small", onclick: () => file.click() }, "From a file…"), file),
    outcome,
    el("div", { class: "actions" },
      el("button", { type: "button", class: "primary", onclick: finish }, "Use this mask"),
      el("button", { type: "button", "data-close": "" }, "Cancel")),
  );
  render();
}
