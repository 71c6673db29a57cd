// Amounts and times as people read them.

/** A number with three digits that matter. */
export function short(value) {
  return Number(value.toPrecision(3)).toString();
}

/** How many there are of each, by name: "attention (12), norms (3)"; `called(key)` is what stands for a name. */
export function counts(numbers, called = (key) => key) {
  return Object.entries(numbers).map(([key, count]) => `${called(key)} (${count})`).join(", ");
}

/** Bytes as people read them. */
export function size(bytes) {
  if (bytes < 1e3) return `${bytes} bytes`;
  if (bytes < 1e6) return `${Math.round(bytes / 1e3)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}

/** Seconds as people say them. */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h ${Math.round((seconds % 3600) / 60)} min`;
}

/** A day and a time of day. */
export function moment(at) {
  return new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}
