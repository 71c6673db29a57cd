// Pictures to draw from: sent once, named by the hash of their pixels from then on.

import { call } from "./api.js";
import { inspected } from "./sending.js";

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/avif"];

/** What a file dialog offers. */
export const PICTURE_TYPES = TYPES.join(",");

/** Whether a file says that it is a picture; the service looks whether it is. */
export function isPicture(file) {
  return file.type.startsWith("image/") && file.type !== "image/svg+xml";
}

/** Where the PNG of a picture is. */
export function pictureUrl(ref) {
  return `v1/images/${ref}`;
}

/** The picture of an answer that has it, or says by its id where it will be told. */
export function madeOf(answer) {
  return answer.ref ? answer : inspected(`v1/images/uploads/${answer.id}`);
}

/** What the service knows of a picture once it is decoded: {ref, width, height, alpha, notes}. Throws Problem. */
export async function sendPicture(file) {
  const form = new FormData();
  form.append("file", file, file.name ?? "picture.png");
  return madeOf(await call("POST", "v1/images", { form }));
}

/** A picture on white, where it has transparent places: what is drawn from has none. */
export async function opaque(stored) {
  if (!stored.alpha) return stored;
  const image = new Image();
  image.src = pictureUrl(stored.ref);
  await image.decode();
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: stored.width, height: stored.height });
  const brush = canvas.getContext("2d");
  brush.fillStyle = "white";
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(image, 0, 0);
  return sendPicture(await new Promise((done) => canvas.toBlob(done, "image/png")));
}

/** The size of a picture that is stored, as the service has it. */
export async function sizeOf(ref) {
  const image = new Image();
  image.src = pictureUrl(ref);
  await image.decode();
  return { ref, width: image.naturalWidth, height: image.naturalHeight };
}
