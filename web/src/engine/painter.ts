/** A loaded model: looks at styles and paints a photo under their embeddings. */

import * as tf from "@tensorflow/tfjs-core";
import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";

import { fitConvolutions } from "./backend";
import { atStrength, type Embedding } from "./embedding";
import { resizeShorterSide, toFloat, type Pixels } from "./pixels";
import { EngineError, type GraphName, type Manifest, type Progress } from "./protocol";

/** The bundle format that this page reads. */
const FORMAT = 1;

type Report = (progress: Progress) => void;

/** The photo being painted, with what does not depend on the style. */
interface Photo {
  readonly pixels: Pixels;
  /** The encoder's features, of the photo padded to the size multiple. */
  features?: tf.Tensor;
  ownEmbedding?: Embedding;
}

export class Painter {
  readonly manifest: Manifest;
  readonly #graphs: Readonly<Record<GraphName, GraphModel>>;
  readonly #taps: number;
  #photo: Photo | undefined;

  private constructor(manifest: Manifest, graphs: Record<GraphName, GraphModel>) {
    this.manifest = manifest;
    this.#graphs = graphs;
    this.#taps = mostTaps(Object.values(graphs));
  }

  /**
   * Downloads the bundle in the folder `url`, which ends in "/". EngineError
   * "network" or "model"; an AbortError when cancelled.
   */
  static async load(url: string, report: Report, signal: AbortSignal): Promise<Painter> {
    let loaded = 0;
    let total = 0;
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

    const manifest = await readManifest(new URL("manifest.json", url), signal);
    total = manifest.download_bytes;
    const load = (name: GraphName) =>
      loadGraphModel(new URL(manifest.graphs[name].model, url).href, {
        fetchFunc: countedFetch,
      });
    const loading = [load("predictor"), load("encoder"), load("decoder")] as const;
    try {
      const [predictor, encoder, decoder] = await Promise.all(loading);
      return new Painter(manifest, { predictor, encoder, decoder });
    } catch (error) {
      for (const outcome of await Promise.allSettled(loading)) {
        if (outcome.status === "fulfilled") outcome.value.dispose();
      }
      signal.throwIfAborted();
      throw asModelError(error, manifest.name);
    }
  }

  /** A picture of any size to its style embedding. */
  async embed(image: Pixels): Promise<Embedding> {
    const resized = resizeShorterSide(image, this.manifest.style_size);
    this.#fitTextures(resized);
    return read(
      tf.tidy(() => execute(this.#graphs.predictor, { style: toTensor(resized) })),
    );
  }

  /** Chooses the photo that `stylize` paints. */
  setPhoto(pixels: Pixels): void {
    const { min_size } = this.manifest;
    if (Math.min(pixels.width, pixels.height) < min_size) {
      throw new EngineError(
        "input",
        `The photo has ${pixels.width} × ${pixels.height} pixels; ` +
          `each side needs at least ${min_size}.`,
      );
    }
    this.#photo?.features?.dispose();
    this.#photo = { pixels };
  }

  /**
   * The photo repainted: RGB in [0, 1], of exactly the photo's size. A strength of 0
   * paints under the photo's own embedding, 1 under the one given, more exaggerates.
   */
  async stylize(
    embedding: Float32Array,
    strength: number,
    report: Report,
    signal: AbortSignal,
  ): Promise<Float32Array<ArrayBuffer>> {
    const photo = this.#photo;
    if (!photo) throw new EngineError("input", "Choose a photo first.");
    this.#check(embedding, strength);
    if (!photo.features) {
      report({ stage: "photo" });
      await breathe(signal);
      photo.features = this.#encode(photo.pixels);
    }
    let used = embedding;
    if (strength !== 1) {
      photo.ownEmbedding ??= await this.embed(photo.pixels);
      used = atStrength(photo.ownEmbedding, embedding, strength);
    }
    report({ stage: "painting" });
    await breathe(signal);
    return this.#decode(photo.features, used, photo.pixels);
  }

  dispose(): void {
    this.#photo?.features?.dispose();
    this.#photo = undefined;
    for (const graph of Object.values(this.#graphs)) graph.dispose();
  }

  #check(embedding: Float32Array, strength: number): void {
    const { embedding_size } = this.manifest;
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

  #encode(pixels: Pixels): tf.Tensor {
    const { size_multiple } = this.manifest;
    const bottom = padding(pixels.height, size_multiple);
    const right = padding(pixels.width, size_multiple);
    this.#fitTextures(pixels);
    return tf.tidy(() => {
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
    this.#fitTextures(pixels);
    const picture = tf.tidy(() => {
      const row = tf.tensor2d(embedding, [1, embedding.length]);
      const padded = execute(this.#graphs.decoder, { features, embedding: row });
      return tf.slice(padded, [0, 0, 0, 0], [1, pixels.height, pixels.width, 3]);
    });
    return read(picture);
  }

  #fitTextures({ width, height }: Pixels): void {
    if (tf.getBackend() === "webgl") fitConvolutions(width * height, this.#taps);
  }
}

async function readManifest(url: URL, signal: AbortSignal): Promise<Manifest> {
  const response = await fetchFile(url, { signal });
  const manifest = (await response.json().catch(() => {
    throw new EngineError("model", `${url.pathname} is not a model's manifest.`);
  })) as Manifest;
  if (manifest.format !== FORMAT) {
    throw new EngineError(
      "model",
      `The model has the bundle format ${manifest.format}; ` +
        `this page reads format ${FORMAT}. Convert the model again.`,
    );
  }
  return manifest;
}

/** fetch that takes a status other than success for the failure it is. */
async function fetchFile(input: RequestInfo | URL, init: RequestInit): Promise<Response> {
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

function asModelError(error: unknown, name: string): EngineError {
  if (error instanceof EngineError) return error;
  return new EngineError("model", `The model ${name} cannot be used: ${String(error)}`);
}

/** The most inputs that one output of any convolution in these graphs reads. */
function mostTaps(graphs: readonly GraphModel[]): number {
  const kernels = graphs
    .flatMap((graph) => Object.values(graph.weights).flat())
    .filter((weight) => weight.rank === 4);
  return Math.max(...kernels.map(({ shape: [h = 1, w = 1, c = 1] }) => h * w * c));
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
