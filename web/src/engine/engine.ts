/** The page's end of the engine, and its JavaScript interface: `window.sfumato`. */

import { mix, type Embedding } from "./embedding";
import { toRgba8, type Pixels } from "./pixels";
import {
  EngineError,
  type BackendName,
  type CallName,
  type Calls,
  type Loaded,
  type Memory,
  type Progress,
  type Reply,
  type Request,
} from "./protocol";

export interface CallOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

export interface StylizeOptions extends CallOptions {
  /** 0 paints under the photo's own embedding, 1 under the style's. Default 1. */
  strength?: number | undefined;
}

interface OpenCall {
  succeed(result: unknown): void;
  fail(error: Error): void;
  progress: CallOptions["onProgress"];
}

interface QueuedPainting {
  start(): void;
  fail(error: Error): void;
}

/**
 * Paints in a worker of its own. Calls fail with EngineError, or with an AbortError
 * when their signal fires. Pictures are taken as immutable: pixels changed in place
 * are not noticed.
 */
export class Engine {
  readonly #backend: BackendName | undefined;
  #worker: Worker | undefined;
  /** Why there is no worker any more, until the next `load`. */
  #crashed: EngineError | undefined;
  readonly #open = new Map<number, OpenCall>();
  #lastId = 0;
  /** The photo that the worker holds. */
  #photo: Pixels | undefined;
  #painting = false;
  #queued: QueuedPainting | undefined;

  /** Without `backend`, WebGL is tried and then WebAssembly. */
  constructor(options: { backend?: BackendName | undefined } = {}) {
    this.#backend = options.backend;
  }

  /** Loads the bundle in the folder `url`, in place of the one loaded before. */
  async load(url: string | URL, options: CallOptions = {}): Promise<Loaded> {
    const folder = new URL(url, document.baseURI).href.replace(/\/?$/, "/");
    const loaded = await this.#call(
      "load",
      { url: folder, backend: this.#backend },
      options,
    );
    this.#photo = undefined;
    return loaded;
  }

  /** A picture of any size to its style embedding. */
  embed(image: Pixels, options: CallOptions = {}): Promise<Embedding> {
    return this.#call("embed", { image: plain(image) }, options);
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
    await this.#turn(options.signal);
    let rgb;
    try {
      const known = this.#photo === photo;
      this.#photo = photo;
      rgb = await this.#call(
        "stylize",
        {
          photo: known ? undefined : plain(photo),
          embedding,
          strength: options.strength ?? 1,
        },
        options,
      );
    } catch (error) {
      // Whether the worker took the photo is not known: send it again next time.
      this.#photo = undefined;
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
    return this.#call("memory", {}, {});
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

  #call<Name extends CallName>(
    call: Name,
    args: Calls[Name]["args"],
    { signal, onProgress }: CallOptions,
  ): Promise<Calls[Name]["result"]> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (call === "load") this.#crashed = undefined;
      if (this.#crashed) throw this.#crashed;
      const worker = this.#startedWorker();
      const id = ++this.#lastId;
      const cancel = () => {
        worker.postMessage({ id, call: "cancel" } satisfies Request);
        this.#open.get(id)?.fail(aborted("Cancelled."));
      };
      const close = () => {
        this.#open.delete(id);
        signal?.removeEventListener("abort", cancel);
      };
      this.#open.set(id, {
        succeed: (result) => {
          close();
          resolve(result as Calls[Name]["result"]);
        },
        fail: (error) => {
          close();
          reject(error);
        },
        progress: onProgress,
      });
      signal?.addEventListener("abort", cancel);
      worker.postMessage({ id, call, args });
    });
  }

  #startedWorker(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      this.#receive(data);
    });
    worker.addEventListener("error", (event) => {
      this.#crash(event.message || "The painter could not be started.");
    });
    this.#worker = worker;
    return worker;
  }

  #receive(reply: Reply): void {
    if ("crash" in reply) {
      this.#crash(reply.crash);
      return;
    }
    const call = this.#open.get(reply.id);
    if ("progress" in reply) {
      call?.progress?.(reply.progress);
    } else if ("result" in reply) {
      call?.succeed(reply.result);
    } else {
      const { name, code, message } = reply.failure;
      call?.fail(name === "AbortError" ? aborted(message) : new EngineError(code, message));
    }
  }

  /** Ends the worker; calls fail until the next `load` starts another. */
  #crash(message: string): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#photo = undefined;
    this.#crashed = new EngineError("crash", message);
    for (const call of [...this.#open.values()]) call.fail(this.#crashed);
  }
}

function aborted(message: string): DOMException {
  return new DOMException(message, "AbortError");
}

/** What a message can carry: an ImageData would, its subclasses and likes need not. */
function plain({ width, height, data }: Pixels): Pixels {
  return { width, height, data };
}
