// Random numbers: seeds and idempotency keys.

/** A fresh seed of 32 bits, short enough to read out. */
export function freshSeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0];
}

/** 128 random bits in hex; unlike crypto.randomUUID it also works over plain HTTP. */
export function randomKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
