/** The worker's end of the protocol: calls run one at a time, in order. */

import * as tf from "@tensorflow/tfjs-core";

import { chooseBackend, onContextLost } from "./backend";
import { Painter } from "./painter";
import {
  EngineError,
  type BackendName,
  type CallName,
  type Calls,
  type Progress,
  type Reply,
  type Request,
} from "./protocol";

let backend: Promise<{ backend: BackendName; reason: string }> | undefined;
let painter: Painter | undefined;
let last: Promise<unknown> = Promise.resolve();
const open = new Map<number, AbortController>();

addEventListener("message", ({ data: request }: MessageEvent<Request>) => {
  const { id } = request;
  if (request.call === "cancel") {
    open.get(id)?.abort();
    return;
  }
  const controller = new AbortController();
  open.set(id, controller);
  const report = (progress: Progress) => {
    reply({ id, progress });
  };
  last = last
    .then(() => {
      controller.signal.throwIfAborted();
      return perform(request, report, controller.signal);
    })
    .then(
      (result) => {
        reply({ id, result }, result instanceof Float32Array ? [result.buffer] : []);
      },
      (error: unknown) => {
        reply({ id, failure: describe(error, request.call) });
      },
    )
    .finally(() => open.delete(id));
});

async function perform(
  request: Exclude<Request, { call: "cancel" }>,
  report: (progress: Progress) => void,
  signal: AbortSignal,
): Promise<Calls[CallName]["result"]> {
  switch (request.call) {
    case "load": {
      report({ stage: "engine" });
      const chosen = await (backend ??= start(request.args.backend));
      const next = await Painter.load(request.args.url, report, signal);
      painter?.dispose();
      painter = next;
      return { manifest: next.manifest, ...chosen };
    }
    case "embed":
      report({ stage: "style" });
      return loaded().embed(request.args.image);
    case "stylize": {
      const { photo, embedding, strength } = request.args;
      if (photo) loaded().setPhoto(photo);
      return loaded().stylize(embedding, strength, report, signal);
    }
    case "memory": {
      loaded();
      const { numTensors, numBytes } = tf.memory();
      return {
        tensors: numTensors,
        bytes: numBytes,
        backend: tf.getBackend() as BackendName,
      };
    }
  }
}

async function start(requested: BackendName | undefined) {
  try {
    const chosen = await chooseBackend(requested);
    if (chosen.backend === "webgl") {
      onContextLost(() => {
        reply({ crash: "The graphics card stopped answering." });
      });
    }
    return chosen;
  } catch (error) {
    // TensorFlow.js does not start a backend twice: another worker may.
    reply({ crash: (error as Error).message });
    throw error;
  }
}

function loaded(): Painter {
  if (!painter) throw new EngineError("input", "Load a model first.");
  return painter;
}

function describe(error: unknown, call: CallName) {
  if (error instanceof EngineError || (error as Error).name === "AbortError") {
    const { name, message, code } = error as EngineError;
    return { name, message, code };
  }
  const code = call === "load" ? ("model" as const) : ("painting" as const);
  return { name: "EngineError", message: String(error), code };
}

function reply(message: Reply, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}
