// Which generations belong side by side: neighbours that differ in nothing but their adapters.

function recipe({ request }) {
  const { adapters, ...rest } = request;
  return JSON.stringify(rest);
}

function stack({ request }) {
  return JSON.stringify(request.adapters.map(({ ref, name, version, ...settings }) => JSON.stringify(settings)).sort());
}

/** Generations, newest first, as sheets, newest first; within a sheet the oldest comes first. */
export function sheetsOf(generations) {
  const sheets = [];
  for (const generation of generations) {
    const sheet = sheets.at(-1);
    const together =
      sheet &&
      recipe(sheet[0]) === recipe(generation) &&
      sheet.every((other) => stack(other) !== stack(generation));
    if (together) sheet.unshift(generation);
    else sheets.push([generation]);
  }
  return sheets;
}
