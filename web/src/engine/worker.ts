/** The worker's end of the protocol: calls run one at a time, in order. */

import type { GraphBackend } from "./backend";
import type { Painter, Report } from "./painter";
import {
  EngineError,
  type BackendName,
  type CallName,
  type Calls,
  type Reply,
  type Request,
  type Source,
} from "./protocol";

/** What runs graphs here: downloaded only where it is used. */
let graphs: ReturnType<typeof startGraphs> | undefined;
let backends: typeof import("./backend") | undefined;
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
  const report: Report = (progress) => {
    reply({ id, progress });
  };
  last = last
    .then(() => {
      controller.signal.throwIfAborted();
      return perform(request, report, controller.signal);
    })
    .then(
      (result) => {
        // A lost card still gives numbers, but none that it computed.
        if (backends?.isLost()) replyLost();
        else reply({ id, result }, result instanceof Float32Array ? [result.buffer] : []);
      },
      (error: unknown) => {
        if (backends?.isLost()) replyLost();
        else reply({ id, failure: describe(error, request.call) });
      },
    )
    .finally(() => open.delete(id));
});

async function perform(
  request: Exclude<Request, { call: "cancel" }>,
  report: Report,
  signal: AbortSignal,
): Promise<Calls[CallName]["result"]> {
  switch (request.call) {
    case "load": {
      const { source, api, backend } = request.args;
      report({ stage: "engine" });
      const { next, ...chosen } = await (backend === "server"
        ? loadServer(source, api, report, signal)
        : loadGraphs(source, backend, report, signal));
      painter?.dispose();
      painter = next;
      return { manifest: next.manifest, variant: next.variant, ...chosen };
    }
    case "embed": {
      const { image, look } = request.args;
      report({ stage: "style" });
      return loaded().embed(image, look, signal);
    }
    case "stylize": {
      const { photo, embedding, strength } = request.args;
      if (photo) loaded().setPhoto(photo);
      return loaded().stylize(embedding, strength, report, signal);
    }
    case "memory":
      return loaded().memory();
  }
}

async function loadServer(source: Source, api: string, report: Report, signal: AbortSignal) {
  const { ServerPainter } = await import("./server-painter");
  return {
    next: await ServerPainter.load(source, api, report, signal),
    backend: "server" satisfies BackendName,
    reason: "You chose it: photo and styles are sent to this page's server.",
  } as const;
}

async function loadGraphs(
  source: Source,
  requested: GraphBackend | undefined,
  report: Report,
  signal: AbortSignal,
) {
  const { GraphPainter, backend, reason } = await (graphs ??= startGraphs(requested));
  return { next: await GraphPainter.load(source, report, signal), backend, reason };
}

async function startGraphs(requested: GraphBackend | undefined) {
  try {
    const [{ GraphPainter }, module] = await Promise.all([
      import("./graph-painter"),
      import("./backend"),
    ]);
    backends = module;
    const chosen = await module.chooseBackend(requested);
    module.watchBackend(replyLost);
    return { ...chosen, GraphPainter };
  } catch (error) {
    // TensorFlow.js does not start a backend twice: another worker may.
    reply({ end: (error as Error).message, lost: false });
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
  const name = "EngineError";
  if (backends?.isMemoryError(error)) {
    const message = "There is not enough memory for a picture of this size.";
    return { name, message, code: "memory" as const };
  }
  const code = call === "load" ? ("model" as const) : ("painting" as const);
  return { name, message: String(error), code };
}

function replyLost(): void {
  reply({ end: "The graphics card stopped answering.", lost: true });
}

function reply(message: Reply, transfer: Transferable[] = []): void {
  postMessage(message, { transfer });
}
