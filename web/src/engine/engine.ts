/** The page's end of the engine, and its JavaScript interface: `window.sfumato`. */

import { aborted, Channel, Lost, type CallOptions } from "./channel";
import { mix, type Embedding } from "./embedding";
import { toRgba8, type Pixels } from "./pixels";
import {
  EngineError,
  type BackendName,
  type CallName,
  type Calls,
  type Loaded,
  type Memory,
  type Source,
} from "./protocol";

export type { CallOptions } from "./channel";

/** `version`: the only one that will do; `light`: take the smallest download. */
export type LoadOptions = CallOptions & Omit<Source, "url">;

export interface EmbedOptions extends CallOptions {
  /**
   * The shorter side, in pixels, of what is to be painted: the larger, the larger are
   * its strokes. By default the size that the model was trained with.
   */
  size?: number | undefined;
  /**
   * How large the style is seen beside what suits that size, 0.5 to 2: beyond 1 its
   * details weigh more. Default 1.
   */
  scale?: number | undefined;
}

export interface StylizeOptions extends CallOptions {
  /** 0 paints under the photo's own embedding, 1 under the style's. Default 1. */
  strength?: number | undefined;
}

interface QueuedPainting {
  start(): void;
  fail(error: Error): void;
}

const SMALLEST_SCALE = 0.5;
const LARGEST_SCALE = 2;

/**
 * Paints in a worker of its own, or has the page's server paint. Calls fail with
 * EngineError, or with an AbortError when their signal fires. Pictures are taken as
 * immutable: pixels changed in place are not noticed.
 *
 * When the graphics card drops what lies on it, the worker is started again and the
 * call repeated, once.
 */
export class Engine {
  #backend: BackendName | undefined;
  #source: Source | undefined;
  #channel: Channel | undefined;
  #reloading: Promise<Channel> | undefined;
  #switching = new AbortController();
  #painting = false;
  #queued: QueuedPainting | undefined;

  /** Without `backend`, WebGL is tried and then WebAssembly. */
  constructor(options: { backend?: BackendName | undefined } = {}) {
    this.#backend = options.backend;
  }

  /**
   * Loads the bundle in the folder `url`, in place of the one loaded before: that stays
   * until then, and if this fails. Calls at work meanwhile fail with an AbortError, for
   * an embedding is of one model. A later call of this or of `use` cancels an earlier.
   */
  load(url: string | URL, options: LoadOptions = {}): Promise<Loaded> {
    const { version, light } = options;
    const folder = new URL(url, document.baseURI).href.replace(/\/?$/, "/");
    return this.#replace(
      { url: folder, version, light },
      this.#backend,
      aborted("Another model took over."),
      options,
    );
  }

  /**
   * Has another backend paint from now on, with the same model; without `backend`, the
   * best one here. If it cannot, the one before stays. "server" sends every picture to
   * the page's server. A later call of this or of `load` cancels an earlier one.
   */
  async use(backend: BackendName | undefined, options: CallOptions = {}): Promise<Loaded> {
    if (!this.#source) throw new EngineError("input", "Load a model first.");
    return this.#replace(this.#source, backend, new Lost("Another engine took over."), options);
  }

  /** Puts another worker in the place of the one before, whose calls fail with `end`. */
  async #replace(
    source: Source,
    backend: BackendName | undefined,
    end: Error,
    options: CallOptions,
  ): Promise<Loaded> {
    this.#switching.abort();
    this.#switching = new AbortController();
    const { signal } = this.#switching;
    const channel = new Channel();
    try {
      const loaded = await open(channel, source, backend, {
        ...options,
        signal: options.signal ? AbortSignal.any([signal, options.signal]) : signal,
      });
      this.#channel?.end(end);
      this.#channel = channel;
      this.#source = source;
      this.#backend = backend;
      return loaded;
    } catch (error) {
      channel.end(new EngineError("crash", "The engine did not start."));
      throw error;
    }
  }

  /** A picture of any size to its style embedding. */
  async embed(image: Pixels, options: EmbedOptions = {}): Promise<Embedding> {
    const { scale = 1, size } = options;
    if (!(scale >= SMALLEST_SCALE && scale <= LARGEST_SCALE)) {
      throw new EngineError(
        "input",
        `The style scale must be from ${SMALLEST_SCALE} to ${LARGEST_SCALE}; ` +
          `received ${scale}.`,
      );
    }
    if (size !== undefined && !(size >= 1)) {
      throw new EngineError("input", `The size must be at least 1 pixel; received ${size}.`);
    }
    return this.#perform("embed", () => ({ image: plain(image), look: { scale, size } }), options);
  }

  /** The weighted mean of (embedding, weight) pairs; RangeError for bad weights. */
  mix(styles: readonly (readonly [Float32Array, number])[]): Embedding {
    return mix(styles);
  }

  /**
   * The photo repainted, of exactly its size: an ImageData, or as "float32" RGB in
   * [0, 1], height x width x 3 numbers. One painting is at work at a time; of those
   * that wait only the newest is painted, the others fail with an AbortError.
   */
  stylize(
    photo: Pixels,
    embedding: Float32Array,
    options: StylizeOptions & { as: "float32" },
  ): Promise<Float32Array<ArrayBuffer>>;
  stylize(
    photo: Pixels,
    embedding: Float32Array,
    options?: StylizeOptions & { as?: "rgba8" },
  ): Promise<ImageData>;
  async stylize(
    photo: Pixels,
    embedding: Float32Array,
    options: StylizeOptions & { as?: "rgba8" | "float32" } = {},
  ): Promise<ImageData | Float32Array<ArrayBuffer>> {
    const { strength = 1 } = options;
    await this.#turn(options.signal);
    let rgb;
    try {
      rgb = await this.#perform(
        "stylize",
        (channel) => {
          const known = channel.photo === photo;
          channel.photo = photo;
          return { photo: known ? undefined : plain(photo), embedding, strength };
        },
        options,
      );
    } catch (error) {
      // Whether the worker took the photo is not known: send it again next time.
      if (this.#channel) this.#channel.photo = undefined;
      // A card that goes twice over the same picture has too little memory for it.
      if (error instanceof Lost) throw new EngineError("memory", error.message);
      throw error;
    } finally {
      this.#painting = false;
      const next = this.#queued;
      this.#queued = undefined;
      next?.start();
    }
    if (options.as === "float32") return rgb;
    return new ImageData(toRgba8(rgb), photo.width, photo.height);
  }

  /** What the engine holds at the moment, to find leaks with. */
  memory(): Promise<Memory> {
    return this.#perform("memory", () => ({}), {});
  }

  get #alive(): Channel | undefined {
    return this.#channel?.ended ? undefined : this.#channel;
  }

  /** Waits until no other painting is at work, unless a newer one comes meanwhile. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    this.#queued?.fail(aborted("A newer painting took its place."));
    this.#queued = undefined;
    if (!this.#painting) {
      this.#painting = true;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const waiting: QueuedPainting = {
        start: () => {
          this.#painting = true;
          resolve();
        },
        fail: reject,
      };
      this.#queued = waiting;
      signal?.addEventListener("abort", () => {
        if (this.#queued !== waiting) return;
        this.#queued = undefined;
        reject(aborted("Cancelled."));
      });
    });
  }

  /** A call to the worker, repeated in another one if the worker is lost over it. */
  async #perform<Name extends CallName>(
    call: Name,
    args: (channel: Channel) => Calls[Name]["args"],
    options: CallOptions,
  ): Promise<Calls[Name]["result"]> {
    try {
      const channel = await this.#ready(options);
      return await channel.call(call, args(channel), options);
    } catch (error) {
      if (!(error instanceof Lost)) throw error;
      const channel = await this.#ready(options);
      return channel.call(call, args(channel), options);
    }
  }

  /** The worker with the model loaded: another one if the last has gone. */
  async #ready(options: CallOptions): Promise<Channel> {
    return this.#reloading ?? this.#alive ?? this.#reload(options);
  }

  #reload({ onProgress }: CallOptions): Promise<Channel> {
    const reload = async () => {
      if (!this.#source) throw new EngineError("input", "Load a model first.");
      const channel = new Channel();
      try {
        await open(channel, this.#source, this.#backend, { onProgress });
      } catch (error) {
        channel.end(new EngineError("crash", "The engine did not start."));
        throw error;
      }
      return (this.#channel = channel);
    };
    this.#reloading = reload().finally(() => {
      this.#reloading = undefined;
    });
    return this.#reloading;
  }
}

/** Has the worker load a model. */
function open(
  channel: Channel,
  source: Source,
  backend: BackendName | undefined,
  options: CallOptions,
): Promise<Loaded> {
  channel.photo = undefined;
  const api = new URL("./api/", document.baseURI).href;
  return channel.call("load", { source, api, backend }, options);
}

/** What a message can carry: an ImageData would, its subclasses and likes need not. */
function plain({ width, height, data }: Pixels): Pixels {
  return { width, height, data };
}
