/** The messages between the page and the worker that paints. */

import type { Pixels } from "./pixels";

/** What computes: the graphics card (two ways), the processor, or the page's server. */
export type BackendName = "webgl" | "wasm" | "webgpu" | "server";

/** A model's graphs, their weights in one precision. */
export interface Variant {
  readonly precision: string;
  readonly download_bytes: number;
  readonly graphs: Readonly<Record<GraphName, { readonly model: string }>>;
}

/** What the engine reads of a bundle's manifest.json; the rest is a model card. */
export interface Manifest extends Variant {
  readonly format: number;
  readonly name: string;
  readonly version: string;
  readonly embedding_size: number;
  readonly style_size: number;
  readonly size_multiple: number;
  readonly min_size: number;
  /** The same graphs in other precisions; a bundle may have none. */
  readonly variants?: readonly Variant[];
  readonly files: readonly { readonly path: string }[];
}

/** Where a model lies, and what to take of it. */
export interface Source {
  /** The address of the bundle's folder; it ends in "/". */
  readonly url: string;
  /** The only version that will do. */
  readonly version?: string | undefined;
  /** Whether to download the smallest of its variants. */
  readonly light?: boolean | undefined;
}

export type GraphName = "predictor" | "encoder" | "decoder";

export interface Loaded {
  readonly manifest: Manifest;
  readonly variant: Variant;
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

/** How a style is looked at. */
export interface Look {
  /**
   * The shorter side, in pixels, of what is to be painted; by default the size that the
   * model was trained with.
   */
  readonly size?: number | undefined;
  /** How large the style is seen beside what suits that size. */
  readonly scale: number;
}

/** Each call's arguments and its result. */
export interface Calls {
  /** `api` is the address of the server's API, which ends in "/". */
  load: {
    args: { source: Source; api: string; backend: BackendName | undefined };
    result: Loaded;
  };
  embed: { args: { image: Pixels; look: Look }; result: Float32Array<ArrayBuffer> };
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
