/**
 * A mix as text, for links and presets: the styles' embeddings, shares and names and
 * the settings, no picture.
 *
 * The text is a version, a dot and base64url of deflated bytes: the length of a JSON
 * header (uint16), the header, and for each style with an embedding its numbers as
 * int16, which the header scales. All little-endian. Deflate brings a checksum along.
 */

import type { Embedding } from "../engine/embedding";
import { InputProblem } from "./decode";
import type { ModelId, Point, StudioState, Style } from "./state";
import { PHOTO_KEY } from "./studio";

const VERSION = "1";
/** What the page itself can make is far shorter. */
const MOST_STYLES = 100;
const MOST_TITLE = 200;

/** What a link or a preset holds of the state. Its size is the device's own. */
export interface SharedMix {
  /** The model that the embeddings are of. */
  readonly model: ModelId;
  /** The sample photo that was painted, if it was one. */
  readonly photo: string | undefined;
  readonly styles: readonly SharedStyle[];
  readonly settings: Pick<
    StudioState,
    "puck" | "strength" | "fade" | "styleScale" | "keepColours" | "directions"
  >;
}

/** `key` is empty for a style that only its visitor has. */
export type SharedStyle = Pick<Style, "key" | "title" | "weight" | "locked" | "position"> & {
  /** Missing for the photo's own style, which is that of whatever photo is there. */
  readonly embedding: Embedding | undefined;
};

/** The header as it lies in the text: short names, since links should be short. */
interface Header {
  m: [name: string, version: string];
  p?: string;
  s: [key: string, title: string, weight: number, locked: 0 | 1, x: number, y: number, scale: number][];
  u: [x: number, y: number];
  t: number;
  f: number;
  z: number;
  c: 0 | 1;
  d: number[];
  /** How many numbers an embedding has. */
  n: number;
}

/** The mix as text of letters, digits, "-", "_" and one dot. */
export async function encodeMix(mix: SharedMix): Promise<string> {
  const { settings } = mix;
  const embeddings = mix.styles.flatMap(({ embedding }) => embedding ?? []);
  const header: Header = {
    m: [mix.model.name, mix.model.version],
    ...(mix.photo === undefined ? {} : { p: mix.photo }),
    s: mix.styles.map(({ key, title, weight, locked, position, embedding }) => [
      key,
      title.slice(0, MOST_TITLE),
      short(weight),
      locked ? 1 : 0,
      short(position.x),
      short(position.y),
      embedding ? largest(embedding) : 0,
    ]),
    u: [short(settings.puck.x), short(settings.puck.y)],
    t: short(settings.strength),
    f: short(settings.fade),
    z: short(settings.styleScale),
    c: settings.keepColours ? 1 : 0,
    d: settings.directions.map(short),
    n: embeddings[0]?.length ?? 0,
  };
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new DataView(new ArrayBuffer(2 + text.length + 2 * header.n * embeddings.length));
  bytes.setUint16(0, text.length, true);
  new Uint8Array(bytes.buffer).set(text, 2);
  let at = 2 + text.length;
  for (const embedding of embeddings) {
    const scale = largest(embedding);
    for (const value of embedding) {
      bytes.setInt16(at, Math.round((value / (scale || 1)) * 32767), true);
      at += 2;
    }
  }
  return `${VERSION}.${toBase64Url(await piped(bytes.buffer, new CompressionStream("deflate")))}`;
}

/** The mix that `text` holds; InputProblem if it is damaged or of another version. */
export async function decodeMix(text: string): Promise<SharedMix> {
  const dot = text.indexOf(".");
  if (dot > 0 && /^\d+$/.test(text.slice(0, dot)) && text.slice(0, dot) !== VERSION) {
    throw new InputProblem(
      "This mix was made by another version of this page. Reload the page, or ask for a new link.",
    );
  }
  try {
    if (dot < 0) throw new RangeError("no version");
    const bytes = fromBase64Url(text.slice(dot + 1));
    return read(await piped(bytes, new DecompressionStream("deflate")));
  } catch {
    throw new InputProblem(
      "This mix cannot be read: part of it is missing or damaged. Copy the whole link and try again.",
    );
  }
}

/** Throws for anything that encodeMix would not have written. */
function read(buffer: ArrayBuffer): SharedMix {
  const bytes = new DataView(buffer);
  const length = bytes.getUint16(0, true);
  const text = new TextDecoder("utf-8", { fatal: true }).decode(new Uint8Array(buffer, 2, length));
  const header = JSON.parse(text) as Header;
  const size = integer(header.n, 0, 10_000);
  let at = 2 + length;
  const numbers = (scale: number): Embedding =>
    Float32Array.from({ length: size }, () => {
      const value = (bytes.getInt16(at, true) / 32767) * scale;
      at += 2;
      return value;
    });
  if (header.s.length > MOST_STYLES) throw new RangeError("too many styles");
  const styles = header.s.map(([key, title, weight, locked, x, y, scale]): SharedStyle => ({
    key: string(key),
    title: string(title),
    weight: within(weight, 0, 1),
    locked: locked === 1,
    position: place(x, y),
    embedding: key === PHOTO_KEY ? undefined : numbers(within(scale, 0, 1e4)),
  }));
  if (at !== buffer.byteLength) throw new RangeError("of another length");
  return {
    model: { name: string(header.m[0]), version: string(header.m[1]) },
    photo: header.p === undefined ? undefined : string(header.p),
    styles,
    settings: {
      puck: place(...header.u),
      strength: within(header.t, 0, 1.5),
      fade: within(header.f, 0, 1),
      styleScale: within(header.z, 0.1, 10),
      keepColours: header.c === 1,
      directions: header.d.map((offset) => within(offset, -10, 10)),
    },
  };
}

function within(value: number, low: number, high: number): number {
  if (typeof value === "number" && value >= low && value <= high) return value;
  throw new RangeError(`${String(value)} is not between ${low} and ${high}`);
}

function integer(value: number, low: number, high: number): number {
  if (Number.isInteger(value)) return within(value, low, high);
  throw new RangeError(`${String(value)} is no whole number`);
}

function string(value: string): string {
  if (typeof value === "string" && value.length <= MOST_TITLE) return value;
  throw new RangeError("no name");
}

function place(x: number, y: number): Point {
  return { x: within(x, 0, 1), y: within(y, 0, 1) };
}

function short(value: number): number {
  return Number(value.toFixed(4));
}

function largest(embedding: Embedding): number {
  return Number(embedding.reduce((most, value) => Math.max(most, Math.abs(value)), 0).toPrecision(6));
}

async function piped(
  bytes: ArrayBuffer,
  through: ReadableWritablePair<Uint8Array, BufferSource>,
): Promise<ArrayBuffer> {
  const stream = new Blob([bytes]).stream().pipeThrough(through);
  return new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer();
}

function toBase64Url(bytes: ArrayBuffer): string {
  const text = Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join("");
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text: string): ArrayBuffer {
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(binary, (letter) => letter.charCodeAt(0)).buffer;
}
