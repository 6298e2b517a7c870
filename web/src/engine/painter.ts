/** What every painter does, whoever computes. */

import type { Embedding } from "./embedding";
import type { Pixels } from "./pixels";
import {
  EngineError,
  type Look,
  type Manifest,
  type Memory,
  type Progress,
  type Source,
  type Variant,
} from "./protocol";

/** The bundle format that this page reads. */
const FORMAT = 3;

export type Report = (progress: Progress) => void;

/** A loaded model: looks at styles and paints a photo under their embeddings. */
export interface Painter {
  readonly manifest: Manifest;
  /** What of the model was loaded. */
  readonly variant: Variant;

  /** A picture of any size to its style embedding. */
  embed(image: Pixels, look: Look, signal: AbortSignal): Promise<Embedding>;

  /** Chooses the photo that `stylize` paints. */
  setPhoto(pixels: Pixels): void;

  /**
   * The photo repainted: RGB in [0, 1], of exactly the photo's size. A strength of 0
   * paints under the photo's own embedding, 1 under the one given, more exaggerates.
   */
  stylize(
    embedding: Float32Array,
    strength: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Float32Array<ArrayBuffer>>;

  memory(): Memory;

  dispose(): void;
}

/** The manifest of a bundle. */
export async function readManifest(
  { url, version }: Source,
  signal: AbortSignal,
): Promise<Manifest> {
  const address = new URL("manifest.json", url);
  if (version !== undefined) address.search = `v=${version}`;
  const response = await fetchFile(address, { signal });
  const manifest = (await response.json().catch(() => {
    throw new EngineError("model", `${address.pathname} is not a model's manifest.`);
  })) as Manifest;
  if (manifest.format !== FORMAT) {
    throw new EngineError(
      "model",
      `The model has the bundle format ${manifest.format}; ` +
        `this page reads format ${FORMAT}. Reload the page, or use the version that wrote it.`,
    );
  }
  if (version !== undefined && manifest.version !== version) {
    throw new EngineError(
      "model",
      `The model ${manifest.name} was replaced by another version meanwhile. Load it again.`,
    );
  }
  return manifest;
}

/** The address of a bundle's file, for each version another: no cache mixes two. */
export function fileAddress(url: string, { version }: Manifest, path: string): string {
  const address = new URL(path, url);
  address.search = `v=${version}`;
  return address.href;
}

/** The addresses of all that a browser needs to paint with this variant. */
export function filesOf(url: string, manifest: Manifest, { graphs }: Variant): string[] {
  const folders = Object.values(graphs).map(({ model }) =>
    model.replace(/[^/]*$/, ""),
  );
  const paths = manifest.files
    .map(({ path }) => path)
    .filter((path) => folders.some((folder) => path.startsWith(folder)));
  return ["manifest.json", ...paths].map((path) => fileAddress(url, manifest, path));
}

/** fetch that takes a status other than success for the failure it is. */
export async function fetchFile(
  input: RequestInfo | URL,
  init: RequestInit,
): Promise<Response> {
  const address = input instanceof Request ? input.url : String(input);
  let response;
  try {
    response = await fetch(input, init);
  } catch (error) {
    init.signal?.throwIfAborted();
    throw new EngineError("network", `${address} could not be reached (${String(error)}).`);
  }
  if (!response.ok) {
    throw new EngineError(
      "network",
      `${address} could not be downloaded (status ${response.status}).`,
    );
  }
  return response;
}

/** EngineError "input" for a photo that is too small. */
export function checkPhoto({ min_size }: Manifest, { width, height }: Pixels): void {
  if (Math.min(width, height) < min_size) {
    throw new EngineError(
      "input",
      `The photo has ${width} × ${height} pixels; each side needs at least ${min_size}.`,
    );
  }
}

/** EngineError "input" for numbers that no picture can be painted under. */
export function checkStyle(
  { embedding_size }: Manifest,
  embedding: Float32Array,
  strength: number,
): void {
  if (embedding.length !== embedding_size) {
    throw new EngineError(
      "input",
      `An embedding has ${embedding_size} numbers; this one has ${embedding.length}.`,
    );
  }
  if (!(Number.isFinite(strength) && embedding.every(Number.isFinite))) {
    throw new EngineError(
      "input",
      "The strength and the embedding must be finite numbers.",
    );
  }
}
