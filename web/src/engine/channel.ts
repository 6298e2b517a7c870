/** One worker that paints, and the calls that it has not answered yet. */

import type { Pixels } from "./pixels";
import {
  EngineError,
  type CallName,
  type Calls,
  type Progress,
  type Reply,
  type Request,
} from "./protocol";

export interface CallOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: Progress) => void) | undefined;
}

interface OpenCall {
  succeed(result: unknown): void;
  fail(error: Error): void;
  progress: CallOptions["onProgress"];
}

/** The worker went, not by its own fault: the same call may succeed in another. */
export class Lost extends EngineError {
  constructor(message: string) {
    super("crash", message);
  }
}

export class Channel {
  /** The photo that the worker holds. */
  photo: Pixels | undefined;
  readonly #worker: Worker;
  /** Why the worker went. */
  #end: Error | undefined;
  readonly #open = new Map<number, OpenCall>();
  #lastId = 0;

  constructor() {
    this.#worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }: MessageEvent<Reply>) => {
      this.#receive(data);
    });
    this.#worker.addEventListener("error", (event) => {
      this.end(
        new EngineError("crash", event.message || "The painter could not be started."),
      );
    });
  }

  get ended(): boolean {
    return this.#end !== undefined;
  }

  /** Has the worker do something. EngineError, or an AbortError when cancelled. */
  call<Name extends CallName>(
    call: Name,
    args: Calls[Name]["args"],
    { signal, onProgress }: CallOptions,
  ): Promise<Calls[Name]["result"]> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#end) throw this.#end;
      const id = ++this.#lastId;
      const cancel = () => {
        this.#worker.postMessage({ id, call: "cancel" } satisfies Request);
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
      this.#worker.postMessage({ id, call, args });
    });
  }

  /** Ends the worker: its calls fail with `error`, and so do later ones. */
  end(error: Error): void {
    this.#worker.terminate();
    this.#end ??= error;
    for (const call of [...this.#open.values()]) call.fail(error);
  }

  #receive(reply: Reply): void {
    if ("end" in reply) {
      this.end(reply.lost ? new Lost(reply.end) : new EngineError("crash", reply.end));
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
      // What it held is only given back with the worker itself.
      if (code === "memory") this.end(new Lost(message));
    }
  }
}

export function aborted(message: string): DOMException {
  return new DOMException(message, "AbortError");
}
