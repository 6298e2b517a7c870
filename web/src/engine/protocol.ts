/** The messages between the page and the worker that paints. */

import type { Pixels } from "./pixels";

/** What computes: the graphics card (two ways), the processor, or the page's server. */
export type BackendName = "webgl" | "wasm" | "webgpu" | "server";

/** What the engine reads of a bundle's manifest.json; the rest is a model card. */
export interface Manifest {
  readonly format: number;
  readonly name: string;
  readonly version: string;
  readonly embedding_size: number;
  readonly style_size: number;
  readonly size_multiple: number;
  readonly min_size: number;
  readonly precision: string;
  readonly download_bytes: number;
  readonly graphs: Readonly<Record<GraphName, { readonly model: string }>>;
  readonly files: readonly { readonly path: string }[];
}

export type GraphName = "predictor" | "encoder" | "decoder";

export interface Loaded {
  readonly manifest: Manifest;
  readonly backend: BackendName;
  /** Why this backend paints, as a sentence for people. */
  readonly reason: string;
}

export interface Memory {
  readonly tensors: number;
  readonly bytes: number;
  readonly backend: BackendName;
}

export type Progress =
  | { readonly stage: "engine" }
  | { readonly stage: "download"; readonly loaded: number; readonly total: number }
  | { readonly stage: "style" | "photo" | "painting" };

/** Each call's arguments and its result. */
export interface Calls {
  /** `api` is the address of the server's API; both addresses end in "/". */
  load: {
    args: { url: string; api: string; backend: BackendName | undefined };
    result: Loaded;
  };
  embed: { args: { image: Pixels; scale: number }; result: Float32Array<ArrayBuffer> };
  stylize: {
    /** Without a photo, the one of the last call is painted again. */
    args: { photo: Pixels | undefined; embedding: Float32Array; strength: number };
    /** RGB in [0, 1]. */
    result: Float32Array<ArrayBuffer>;
  };
  memory: { args: object; result: Memory };
}

export type CallName = keyof Calls;

export type Request =
  | { [Name in CallName]: { id: number; call: Name; args: Calls[Name]["args"] } }[CallName]
  | { id: number; call: "cancel" };

export type Reply =
  | { id: number; progress: Progress }
  | { id: number; result: Calls[CallName]["result"] }
  | { id: number; failure: { name: string; code: ErrorCode; message: string } }
  /** The worker can go no further; if it lost the graphics card, another may. */
  | { end: string; lost: boolean };

/**
 * network: a download failed or the server does not answer; model: the bundle is
 * unusable; input: the call's arguments; memory: too little of it for a picture of this
 * size; painting: the computation itself failed; crash: nothing can paint here, or not
 * any more: load again.
 */
export type ErrorCode = "network" | "model" | "input" | "memory" | "painting" | "crash";

export class EngineError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string) {
    super(message);
    this.name = "EngineError";
    this.code = code;
  }
}
