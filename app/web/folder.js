// The files of a folder, however it comes: dropped, or chosen with a button.

const HIDDEN = /(^|\/)(\.|__MACOSX\/|Thumbs\.db$)/;

/** Without what file managers leave in folders, in order of their paths. */
function tidied(files) {
  return files.filter(([path]) => !HIDDEN.test(path)).sort(([a], [b]) => (a < b ? -1 : 1));
}

async function entriesIn(folder) {
  const reader = folder.createReader();
  const some = () => new Promise((done, fail) => reader.readEntries(done, fail));
  const all = [];
  for (let found = await some(); found.length; found = await some()) all.push(...found); // a hundred at a time
  return all;
}

async function filesUnder(entry) {
  if (entry.isDirectory) return (await Promise.all((await entriesIn(entry)).map(filesUnder))).flat();
  const file = await new Promise((done, fail) => entry.file(done, fail));
  return [[entry.fullPath.replace(/^\//, ""), file]];
}

/** What was dropped, folders with all that is below them, as [path, File] pairs; called while the drop is told. */
export function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  const found = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return Promise.all(found.map((one) => (one instanceof File ? [[one.name, one]] : filesUnder(one)))).then((all) => tidied(all.flat()));
}

/** What was chosen in a file input, as [path, File] pairs. */
export function chosen({ files }) {
  return tidied([...files].map((file) => [file.webkitRelativePath || file.name, file]));
}
