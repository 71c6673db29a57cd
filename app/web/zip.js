// A zip of files as they are, so that a folder is sent as one file. (ZIP appnote 6.3.10, method 0, names in UTF-8.)

const MOST_FILES = 0xffff;
const MOST_BYTES = 0xffffffff;
const VERSION = 20; // 2.0
const UTF8 = 0x0800;
const SAME_DAY = 0x0021; // 1 January 1980: the same files are the same bytes

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  return rest;
});

function crc(bytes) {
  let rest = 0xffffffff;
  for (const byte of bytes) rest = TABLE[(rest ^ byte) & 0xff] ^ (rest >>> 8);
  return (rest ^ 0xffffffff) >>> 0;
}

/** Numbers as [value, bytes] pairs, least byte first. */
function packed(...numbers) {
  const bytes = numbers.flatMap(([value, size]) => Array.from({ length: size }, (_, at) => (value / 256 ** at) & 0xff));
  return new Uint8Array(bytes);
}

/** What both headers of a file say alike. */
function facts({ sum, size, name }) {
  return [[VERSION, 2], [UTF8, 2], [0, 2], [0, 2], [SAME_DAY, 2], [sum, 4], [size, 4], [size, 4], [name.length, 2], [0, 2]];
}

/** A zip of [path, File] pairs, as a Blob; throws Error for what a zip of this kind cannot hold. */
export async function zipOf(files) {
  const total = files.reduce((sum, [, file]) => sum + file.size, 0);
  if (files.length > MOST_FILES || total > MOST_BYTES) throw new Error("This is too much for one dataset.");
  const parts = [];
  const directory = [];
  let place = 0;
  for (const [path, file] of files) {
    const entry = { name: new TextEncoder().encode(path), size: file.size, sum: crc(new Uint8Array(await file.arrayBuffer())) };
    const head = packed([0x04034b50, 4], ...facts(entry));
    directory.push(packed([0x02014b50, 4], [VERSION, 2], ...facts(entry), [0, 2], [0, 2], [0, 2], [0, 4], [place, 4]), entry.name);
    parts.push(head, entry.name, file);
    place += head.length + entry.name.length + file.size;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = packed([0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [length, 4], [place, 4], [0, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
