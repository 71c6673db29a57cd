// The fields of requests, as the API's own documentation has them: read once, for it is the same as long as the service runs.

import { call } from "./api.js";

let asked = null;

/** The fields of a request, by name, as JSON Schema; `request` is what the documentation calls it. */
export async function fieldsOf(request) {
  asked ??= call("GET", "openapi.json").catch((error) => {
    asked = null; // whoever asks next tries again
    throw error;
  });
  return (await asked).components.schemas[request].properties;
}
