/** Pictures as the engine takes them: RGBA bytes, row by row. Alpha is ignored. */
export interface Pixels {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

/** RGB float32 in [0, 1], height x width x 3 numbers. */
export function toFloat({ width, height, data }: Pixels): Float32Array<ArrayBuffer> {
  const rgb = new Float32Array(width * height * 3);
  for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
    rgb[to] = (data[from] ?? 0) / 255;
    rgb[to + 1] = (data[from + 1] ?? 0) / 255;
    rgb[to + 2] = (data[from + 2] ?? 0) / 255;
  }
  return rgb;
}

/** RGB in [0, 1] to opaque RGBA bytes, rounded and clipped. */
export function toRgba8(rgb: Float32Array): Uint8ClampedArray<ArrayBuffer> {
  const data = new Uint8ClampedArray((rgb.length / 3) * 4);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    data[to] = (rgb[from] ?? 0) * 255;
    data[to + 1] = (rgb[from + 1] ?? 0) * 255;
    data[to + 2] = (rgb[from + 2] ?? 0) * 255;
    data[to + 3] = 255;
  }
  return data;
}

/**
 * The painting in the photo's colours: its brightness, the photo's hues.
 *
 * In Y'CbCr as JPEG defines it (BT.601, from gamma-encoded RGB) Y' is the painting's
 * and Cb, Cr are the photo's, which is to say that all three of a pixel's channels
 * change by the same amount. The pictures have the same size.
 */
export function keepColours(photo: Pixels, painted: Pixels): ImageData {
  return combine(photo, painted, (data, from, to, at) => {
    const change = luma(to, at) - luma(from, at);
    data[at] = (from[at] ?? 0) + change;
    data[at + 1] = (from[at + 1] ?? 0) + change;
    data[at + 2] = (from[at + 2] ?? 0) + change;
  });
}

/**
 * The photo laid over the painting: 0 gives the painting, 1 the photo. The pictures
 * have the same size.
 */
export function fade(photo: Pixels, painted: Pixels, amount: number): ImageData {
  return combine(photo, painted, (data, from, to, at) => {
    for (let channel = at; channel < at + 3; channel++) {
      const value = to[channel] ?? 0;
      data[channel] = value + amount * ((from[channel] ?? 0) - value);
    }
  });
}

type Bytes = Uint8ClampedArray;

/** An opaque picture whose pixel at byte `at` of `data` is set by `paint`. */
function combine(
  photo: Pixels,
  painted: Pixels,
  paint: (data: Bytes, photo: Bytes, painted: Bytes, at: number) => void,
): ImageData {
  const { width, height } = painted;
  if (photo.width !== width || photo.height !== height) {
    throw new RangeError(
      `The photo has ${photo.width} × ${photo.height} pixels and the painting ` +
        `${width} × ${height}: they must have the same size.`,
    );
  }
  const data = new Uint8ClampedArray(width * height * 4).fill(255);
  for (let at = 0; at < data.length; at += 4) paint(data, photo.data, painted.data, at);
  return new ImageData(data, width, height);
}

function luma(data: Bytes, at: number): number {
  return 0.299 * (data[at] ?? 0) + 0.587 * (data[at + 1] ?? 0) + 0.114 * (data[at + 2] ?? 0);
}

/**
 * The picture scaled so that its shorter side is `size` pixels.
 *
 * Lanczos with antialiasing, in two passes rounded to bytes, as Pillow does on the
 * server: the same painting then has the same embedding on both sides, which no
 * browser's own scaling would give.
 */
export function resizeShorterSide(picture: Pixels, size: number): Pixels {
  const { width, height } = picture;
  const scale = size / Math.min(width, height);
  const newWidth = Math.max(size, roundHalfToEven(width * scale));
  const newHeight = Math.max(size, roundHalfToEven(height * scale));
  if (newWidth === width && newHeight === height) return picture;
  const narrow = resample(picture.data, width, newWidth, height, 4, width * 4);
  const data = resample(narrow, height, newHeight, newWidth, newWidth * 4, 4);
  return { width: newWidth, height: newHeight, data };
}

/**
 * Scales one axis of an RGBA picture: `lines` lines of `from` pixels become `to`
 * pixels long. Neighbours along the axis lie `step` bytes apart, lines `stride`.
 */
function resample(
  source: Uint8ClampedArray,
  from: number,
  to: number,
  lines: number,
  step: number,
  stride: number,
): Uint8ClampedArray {
  const target = new Uint8ClampedArray(lines * to * 4);
  // Along x, a line of the target is `to` pixels long; along y it is as wide as before.
  const targetStride = step === 4 ? to * 4 : stride;
  const ratio = from / to;
  const spread = Math.max(ratio, 1);
  for (let index = 0; index < to; index++) {
    const centre = (index + 0.5) * ratio;
    const first = Math.max(0, Math.floor(centre - LOBES * spread + 0.5));
    const last = Math.min(from, Math.floor(centre + LOBES * spread + 0.5));
    const weights = Float64Array.from({ length: last - first }, (_, tap) =>
      lanczos((first + tap - centre + 0.5) / spread),
    );
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    for (let line = 0; line < lines; line++) {
      let red = 0;
      let green = 0;
      let blue = 0;
      let at = line * stride + first * step;
      for (const weight of weights) {
        red += weight * (source[at] ?? 0);
        green += weight * (source[at + 1] ?? 0);
        blue += weight * (source[at + 2] ?? 0);
        at += step;
      }
      const put = line * targetStride + index * step;
      target[put] = red / total;
      target[put + 1] = green / total;
      target[put + 2] = blue / total;
      target[put + 3] = 255;
    }
  }
  return target;
}

const LOBES = 3;

function lanczos(x: number): number {
  if (x === 0) return 1;
  if (Math.abs(x) >= LOBES) return 0;
  const angle = Math.PI * x;
  return (LOBES * Math.sin(angle) * Math.sin(angle / LOBES)) / (angle * angle);
}

/** Python's rounding: 256.5 becomes 256. */
function roundHalfToEven(x: number): number {
  const rounded = Math.round(x);
  return rounded - x === 0.5 && rounded % 2 === 1 ? rounded - 1 : rounded;
}
