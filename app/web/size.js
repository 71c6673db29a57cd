// The size at which a model draws from a picture.

const LARGE = 4; // times the pixels that a model draws by itself: more of them are rarely meant

/** [width, height]: the picture's own where the model draws it, else the nearest to its shape. */
export function sizeFor({ width, height }, profile) {
  const { sizes = [], size_multiple: multiple = 8, max_edge: edge = Infinity, max_pixels: most } = profile;
  const pixels = profile.width * profile.height;
  const ratio = Math.log(width / height);
  if (sizes.length) {
    const far = ([wide, high]) => Math.abs(Math.log(wide / high) - ratio);
    return sizes.find(([wide, high]) => wide === width && high === height) ?? [...sizes].sort((a, b) => far(a) - far(b))[0];
  }
  const drawn = width * height <= Math.min(LARGE * pixels, most ?? Infinity) && Math.max(width, height) <= edge;
  if (drawn && width % multiple === 0 && height % multiple === 0) return [width, height];
  const times = Math.min(Math.sqrt(pixels / (width * height)), edge / Math.max(width, height));
  return [width, height].map((side) => Math.max(Math.round((side * times) / multiple), 1) * multiple);
}
