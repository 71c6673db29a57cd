// Sending pictures with captions: packed where they are several files, read by the service, named by their content.

import { Problem } from "./api.js";
import { inspected, sendFile } from "./sending.js";
import { zipOf } from "./zip.js";

/**
 * The dataset of these [path, File] pairs; throws Problem.
 *
 * `said(text, part)` is told how far it is, as a part of 1, null where that is not known; `leaveOut`: pictures that
 * cannot be read are left out, where the dataset is refused otherwise.
 */
export async function sendDataset(files, { leaveOut = false, said }) {
  if (!files.length) throw new Error("There are no files in it.");
  const alone = files.length === 1 && /\.zip$/i.test(files[0][0]);
  said("Packing", null);
  const file = alone ? files[0][1] : new File([await zipOf(files)], "pictures.zip");
  const fields = [["file", file], ...(leaveOut ? [["unreadable", "leave_out"]] : [])];
  const { body } = await sendFile("datasets", fields, (loaded, total) =>
    loaded < total ? said("Sending", loaded / total) : said("Reading the pictures", null));
  return body.pictures ? body : inspected(`v1/datasets/uploads/${body.id}`);
}

/** Whether a dataset was refused for pictures alone that cannot be read. */
export function forUnreadable(error) {
  return error instanceof Problem && error.code === "dataset_picture_unreadable";
}
