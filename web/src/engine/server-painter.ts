/** Paints on the page's server, which is sent the pictures: its HTTP API as a painter. */

import type { Embedding } from "./embedding";
import {
  checkPhoto,
  checkStyle,
  readManifest,
  type Painter,
  type Report,
} from "./painter";
import { toFloat, type Pixels } from "./pixels";
import {
  EngineError,
  type Look,
  type Manifest,
  type Memory,
  type Source,
  type Variant,
} from "./protocol";

export class ServerPainter implements Painter {
  readonly manifest: Manifest;
  /** The server has the weights as they were trained: nothing is downloaded. */
  readonly variant: Variant;
  readonly #api: string;
  /** The photo as a file, and its size. */
  #photo: { file: Promise<Blob>; width: number; height: number } | undefined;

  private constructor(manifest: Manifest, api: string) {
    this.manifest = this.variant = manifest;
    this.#api = api;
  }

  /**
   * Has the server at the address `api`, which ends in "/", paint with a model of its
   * own. EngineError if the server does not answer, does not have the model in
   * this very version, or does not paint a small picture as it should.
   */
  static async load(
    source: Source,
    api: string,
    report: Report,
    signal: AbortSignal,
  ): Promise<ServerPainter> {
    const manifest = await readManifest(source, signal);
    const painter = new ServerPainter(manifest, api);
    const response = await painter.#ask("models", { signal });
    const { models } = (await response.json()) as {
      models: readonly Pick<Manifest, "name" | "version">[];
    };
    const { name, version } = manifest;
    if (!models.some((model) => model.name === name && model.version === version)) {
      throw new EngineError(
        "model",
        `The server does not have the model ${name} in the version ${version}. ` +
          "Reload the page.",
      );
    }
    await painter.#probe(report, signal);
    return painter;
  }

  async embed(
    image: Pixels,
    { scale, size }: Look,
    signal: AbortSignal,
  ): Promise<Embedding> {
    const body = new FormData();
    body.set("image", await encode(image));
    body.set("scale", String(scale));
    if (size !== undefined) body.set("size", String(size));
    body.set("model", this.manifest.name);
    const response = await this.#ask("embed", { method: "POST", body, signal });
    const { embedding } = (await response.json()) as { embedding: number[] };
    return Float32Array.from(embedding);
  }

  setPhoto(pixels: Pixels): void {
    checkPhoto(this.manifest, pixels);
    const { width, height } = pixels;
    this.#photo = { file: encode(pixels), width, height };
  }

  async stylize(
    embedding: Float32Array,
    strength: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Float32Array<ArrayBuffer>> {
    const photo = this.#photo;
    if (!photo) throw new EngineError("input", "Choose a photo first.");
    checkStyle(this.manifest, embedding, strength);
    report({ stage: "painting" });
    const body = new FormData();
    body.set("photo", await photo.file);
    body.set("embedding", JSON.stringify(Array.from(embedding)));
    body.set("strength", String(strength));
    body.set("model", this.manifest.name);
    const response = await this.#ask("stylize", { method: "POST", body, signal });
    const picture = await decode(await response.blob());
    if (picture.width !== photo.width || picture.height !== photo.height) {
      throw new EngineError(
        "painting",
        `The server painted ${picture.width} × ${picture.height} pixels ` +
          `instead of ${photo.width} × ${photo.height}.`,
      );
    }
    return toFloat(picture);
  }

  memory(): Memory {
    return { tensors: 0, bytes: 0, backend: "server" };
  }

  dispose(): void {
    this.#photo = undefined;
  }

  /** Has a grey picture looked at and painted: embedding and size must be right. */
  async #probe(report: Report, signal: AbortSignal): Promise<void> {
    const side = this.manifest.min_size;
    const grey = new ImageData(new Uint8ClampedArray(side * side * 4).fill(128), side);
    const embedding = await this.embed(grey, { scale: 1 }, signal);
    this.setPhoto(grey);
    await this.stylize(embedding, 1, report, signal);
    this.dispose();
  }

  /** An answer of the API; its problem details become an EngineError. */
  async #ask(path: string, init: RequestInit): Promise<Response> {
    let response;
    try {
      response = await fetch(new URL(path, this.#api), init);
    } catch (error) {
      init.signal?.throwIfAborted();
      throw new EngineError("network", `The server cannot be reached (${String(error)}).`);
    }
    if (response.ok) return response;
    const problem = (await response.json().catch(() => ({}))) as { detail?: string };
    const { status } = response;
    const missing = status === 404;
    throw new EngineError(
      missing || status >= 500 ? "network" : "input",
      missing
        ? `This page's server does not paint (status ${status}).`
        : problem.detail
          ? `The server says: ${problem.detail}`
          : `The server did not say why it failed (status ${status}). Try again later.`,
    );
  }
}

/** A PNG file of an opaque picture. */
function encode({ width, height, data }: Pixels): Promise<Blob> {
  const opaque = Uint8ClampedArray.from(data);
  for (let alpha = 3; alpha < opaque.length; alpha += 4) opaque[alpha] = 255;
  const context = canvas(width, height);
  context.putImageData(new ImageData(opaque, width, height), 0, 0);
  return context.canvas.convertToBlob({ type: "image/png" });
}

async function decode(file: Blob): Promise<ImageData> {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = canvas(width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

function canvas(width: number, height: number): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(width, height).getContext("2d");
  if (!context) throw new RangeError(`out of memory for ${width} × ${height} pixels`);
  return context;
}
