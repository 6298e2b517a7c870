/** Paints in this browser: runs the graphs of a model's bundle in TensorFlow.js. */

import * as tf from "@tensorflow/tfjs-core";
import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";

import { convolve } from "./backend";
import { atStrength, type Embedding } from "./embedding";
import {
  checkPhoto,
  checkStyle,
  fetchFile,
  fileAddress,
  readManifest,
  type Painter,
  type Report,
} from "./painter";
import { resizeShorterSide, toFloat, type Pixels } from "./pixels";
import {
  EngineError,
  type BackendName,
  type GraphName,
  type Look,
  type Manifest,
  type Memory,
  type Source,
  type Variant,
} from "./protocol";

/** A style is not seen larger than this, in pixels: a long strip would grow huge. */
const MOST_SEEN = 2 ** 22;

/** The photo being painted, with what does not depend on the style. */
interface Photo {
  readonly pixels: Pixels;
  /** The encoder's features, of the photo padded to the size multiple. */
  features?: tf.Tensor;
  ownEmbedding?: Embedding;
}

export class GraphPainter implements Painter {
  readonly manifest: Manifest;
  readonly variant: Variant;
  readonly #graphs: Readonly<Record<GraphName, GraphModel>>;
  #photo: Photo | undefined;

  private constructor(
    manifest: Manifest,
    variant: Variant,
    graphs: Record<GraphName, GraphModel>,
  ) {
    this.manifest = manifest;
    this.variant = variant;
    this.#graphs = graphs;
  }

  /**
   * Downloads a bundle. Where its files do not come, another variant may: without a
   * network those that were kept. EngineError "network" or "model"; an AbortError when
   * cancelled.
   */
  static async load(
    source: Source,
    report: Report,
    signal: AbortSignal,
  ): Promise<GraphPainter> {
    const manifest = await readManifest(source, signal);
    const variants = [manifest, ...(manifest.variants ?? [])];
    if (source.light) variants.sort((one, other) => one.download_bytes - other.download_bytes);
    for (;;) {
      const variant = variants.shift() ?? manifest;
      try {
        return await GraphPainter.#download(source.url, manifest, variant, report, signal);
      } catch (error) {
        const unreached = error instanceof EngineError && error.code === "network";
        if (!unreached || variants.length === 0) throw error;
      }
    }
  }

  static async #download(
    url: string,
    manifest: Manifest,
    variant: Variant,
    report: Report,
    signal: AbortSignal,
  ): Promise<GraphPainter> {
    let loaded = 0;
    const total = variant.download_bytes;
    const countedFetch: typeof fetch = async (input, init) => {
      const response = await fetchFile(input, { ...init, signal });
      const count = new TransformStream<Uint8Array, Uint8Array>({
        transform(chunk, controller) {
          loaded += chunk.byteLength;
          report({ stage: "download", loaded, total });
          controller.enqueue(chunk);
        },
      });
      return new Response(response.body?.pipeThrough(count), response);
    };

    const load = (name: GraphName) =>
      loadGraphModel(fileAddress(url, manifest, variant.graphs[name].model), {
        fetchFunc: countedFetch,
      });
    const loading = [load("predictor"), load("encoder"), load("decoder")] as const;
    try {
      const [predictor, encoder, decoder] = await Promise.all(loading);
      return new GraphPainter(manifest, variant, { predictor, encoder, decoder });
    } catch (error) {
      for (const outcome of await Promise.allSettled(loading)) {
        if (outcome.status === "fulfilled") outcome.value.dispose();
      }
      signal.throwIfAborted();
      throw asModelError(error, manifest.name);
    }
  }

  async embed(image: Pixels, look: Look): Promise<Embedding> {
    const resized = resizeShorterSide(image, this.#seenAt(image, look));
    return read(
      convolve(resized.width * resized.height, () =>
        execute(this.#graphs.predictor, { style: toTensor(resized) }),
      ),
    );
  }

  setPhoto(pixels: Pixels): void {
    checkPhoto(this.manifest, pixels);
    this.#photo?.features?.dispose();
    this.#photo = { pixels };
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
    if (!photo.features) {
      report({ stage: "photo" });
      await breathe(signal);
      photo.features = this.#encode(photo.pixels);
    }
    let used = embedding;
    if (strength !== 1) {
      const size = Math.min(photo.pixels.width, photo.pixels.height);
      photo.ownEmbedding ??= await this.embed(photo.pixels, { scale: 1, size });
      used = atStrength(photo.ownEmbedding, embedding, strength);
    }
    report({ stage: "painting" });
    await breathe(signal);
    return this.#decode(photo.features, used, photo.pixels);
  }

  memory(): Memory {
    const { numTensors, numBytes } = tf.memory();
    return {
      tensors: numTensors,
      bytes: numBytes,
      backend: tf.getBackend() as BackendName,
    };
  }

  dispose(): void {
    this.#photo?.features?.dispose();
    this.#photo = undefined;
    for (const graph of Object.values(this.#graphs)) graph.dispose();
  }

  /** The shorter side at which a style is seen, as sfumato/model.py has it. */
  #seenAt({ width, height }: Pixels, { scale, size }: Look): number {
    const { style_size } = this.manifest;
    const seen = scale * Math.sqrt(style_size * (size ?? style_size));
    const shape = Math.min(width / height, height / width);
    return Math.round(Math.min(seen, Math.sqrt(MOST_SEEN * shape)));
  }

  #encode(pixels: Pixels): tf.Tensor {
    const { size_multiple } = this.manifest;
    const bottom = padding(pixels.height, size_multiple);
    const right = padding(pixels.width, size_multiple);
    return convolve(pixels.width * pixels.height, () => {
      const content = tf.mirrorPad(
        toTensor(pixels),
        [
          [0, 0],
          [0, bottom],
          [0, right],
          [0, 0],
        ],
        "reflect",
      );
      return execute(this.#graphs.encoder, { content });
    });
  }

  #decode(
    features: tf.Tensor,
    embedding: Float32Array,
    pixels: Pixels,
  ): Promise<Float32Array<ArrayBuffer>> {
    // What is painted is larger than the photo by the model's own margin.
    const [, rows = 0, columns = 0] = features.shape;
    const { size_multiple } = this.manifest;
    const picture = convolve(rows * columns * size_multiple ** 2, () => {
      const row = tf.tensor2d(embedding, [1, embedding.length]);
      const padded = execute(this.#graphs.decoder, { features, embedding: row });
      return tf.slice(padded, [0, 0, 0, 0], [1, pixels.height, pixels.width, 3]);
    });
    return read(picture);
  }
}

function asModelError(error: unknown, name: string): EngineError {
  if (error instanceof EngineError) return error;
  return new EngineError("model", `The model ${name} cannot be used: ${String(error)}`);
}

function execute(graph: GraphModel, inputs: tf.NamedTensorMap): tf.Tensor {
  return graph.execute(inputs) as tf.Tensor;
}

function toTensor(pixels: Pixels): tf.Tensor4D {
  return tf.tensor4d(toFloat(pixels), [1, pixels.height, pixels.width, 3]);
}

/** The numbers of a tensor, which is disposed of. */
async function read(tensor: tf.Tensor): Promise<Float32Array<ArrayBuffer>> {
  try {
    // A copy: on WebAssembly the numbers lie in the heap of the backend.
    return Float32Array.from(await tensor.data<"float32">());
  } finally {
    tensor.dispose();
  }
}

function padding(side: number, multiple: number): number {
  return (multiple - (side % multiple)) % multiple;
}

/** Lets messages in, such as a cancellation; throws if there was one. */
async function breathe(signal: AbortSignal): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve));
  signal.throwIfAborted();
}
