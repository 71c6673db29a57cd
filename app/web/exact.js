// JSON whose integers stay exact: seeds go up to 2^63 - 1, and JavaScript's numbers are exact only up to 2^53.

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** Like JSON.parse, with integers that a number cannot hold given as strings of digits. */
export function parse(text) {
  const exact = text.replace(STRING_OR_NUMBER, (token) =>
    /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token,
  );
  return JSON.parse(exact);
}

/** A request as JSON; its `seed` is null or a string of digits, and is written as the integer it says. */
export function stringify({ seed = null, ...request }) {
  const text = JSON.stringify(request);
  return seed === null ? text : `${text.slice(0, -1)},"seed":${BigInt(seed)}}`;
}

/** `seed + index` as a string of digits. */
export function seedAt(seed, index) {
  return String(BigInt(seed) + BigInt(index));
}

/** A fresh seed as a string of digits: 32 bits, short enough to read out. */
export function freshSeed() {
  return String(crypto.getRandomValues(new Uint32Array(1))[0]);
}

/** 128 random bits in hex; unlike crypto.randomUUID it also works over plain HTTP. */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
