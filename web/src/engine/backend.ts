/** Chooses what computes in this browser, and watches over it. */

import * as tf from "@tensorflow/tfjs-core";
import type { MathBackendWebGL } from "@tensorflow/tfjs-backend-webgl";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import plainWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url";
import simdWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";

import { EngineError, type BackendName } from "./protocol";

/** The backends of TensorFlow.js. */
export type GraphBackend = Exclude<BackendName, "server">;

const LABELS: Readonly<Record<GraphBackend, string>> = {
  webgl: "WebGL",
  wasm: "WebAssembly",
  webgpu: "WebGPU",
};

/** What the types of the WebAssembly module leave out. */
interface Heap {
  /** The address of this many free bytes, 0 if there are none. */
  _malloc(bytes: number): number;
}

/** Each is downloaded only where it is used. */
const IMPORTS: Readonly<Record<GraphBackend, () => Promise<unknown>>> = {
  webgl: () => import("@tensorflow/tfjs-backend-webgl"),
  wasm: importWasm,
  webgpu: () => import("@tensorflow/tfjs-backend-webgpu"),
};

/**
 * Makes the first of WebGL and WebAssembly that computes correctly the current
 * backend, or the requested one. EngineError "crash" if none does.
 */
export async function chooseBackend(
  requested: GraphBackend | undefined,
): Promise<{ backend: GraphBackend; reason: string }> {
  const refusals: string[] = [];
  for (const backend of requested ? [requested] : (["webgl", "wasm"] as const)) {
    const refusal = await refuse(backend, requested !== undefined);
    if (refusal !== undefined) {
      refusals.push(`${LABELS[backend]} ${refusal}.`);
      continue;
    }
    if (requested) return { backend, reason: "You chose it." };
    return {
      backend,
      reason: refusals.join(" ") || "It was tested on start and computes correctly.",
    };
  }
  throw new EngineError("crash", `Nothing here can paint. ${refusals.join(" ")}`);
}

/** Starts a backend; what is wrong with it, or undefined if it can be used. */
async function refuse(
  backend: GraphBackend,
  acceptSlow: boolean,
): Promise<string | undefined> {
  if (backend === "webgl" && !acceptSlow) {
    const refusal = refuseCard();
    if (refusal !== undefined) return refusal;
  }
  if (backend === "webgpu" && !(await hasWebGPU())) return "is missing in this browser";
  try {
    await IMPORTS[backend]();
    if (!(await tf.setBackend(backend))) return "does not start here";
    await tf.ready();
  } catch (error) {
    return `does not start here (${String(error)})`;
  }
  const error = await probeError();
  if (error <= 1e-4) return undefined;
  tf.removeBackend(backend);
  return "computes wrong numbers here";
}

/** What speaks against WebGL before its code is downloaded. */
function refuseCard(): string | undefined {
  const canvas = new OffscreenCanvas(1, 1);
  const gl = canvas.getContext("webgl2") ?? canvas.getContext("webgl");
  if (!gl) return "is missing in this browser";
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const renderer = String(
    gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER),
  );
  if (/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer)) {
    return "has no graphics card to run on and would be slow";
  }
  return undefined;
}

async function hasWebGPU(): Promise<boolean> {
  // Older browsers lack what the types promise.
  const gpu = navigator.gpu as GPU | undefined;
  return Boolean(await gpu?.requestAdapter());
}

async function importWasm(): Promise<void> {
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  // Threads need cross-origin isolation, and their worker does not survive minifying.
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  setWasmPaths({
    "tfjs-backend-wasm.wasm": plainWasm,
    "tfjs-backend-wasm-simd.wasm": simdWasm,
    // Never fetched, but the backend wants an address for it.
    "tfjs-backend-wasm-threaded-simd.wasm": simdWasm,
  });
}

/**
 * The largest error in a computation of known result: the operations of the networks
 * on nine numbers, large enough that half-precision textures overflow.
 */
async function probeError(): Promise<number> {
  const expected = [
    0.42004414, 0.22709381, -0.58043907, 1.59918506, 1.27760118, 0.51294615,
    -1.15214376, -1.15214376, -1.15214376,
  ];
  const result = tf.tidy(() => {
    const input = tf.tensor4d(
      [0, 1, 4, 9, 16, 25, 36, 49, 64].map((value) => value * 32),
      [1, 3, 3, 1],
    );
    const kernel = tf.tensor4d([1, -2, 3, -4, 5, -6, 7, -8, 9], [3, 3, 1, 1]);
    const border: [number, number] = [1, 1];
    const padded = tf.mirrorPad(input, [[0, 0], border, border, [0, 0]], "reflect");
    const painted = tf.relu(tf.conv2d(padded, kernel, 1, "valid"));
    const centred = tf.sub(painted, tf.mean(painted, [1, 2], true));
    const variance = tf.mean(tf.square(centred), [1, 2], true);
    return tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-5)));
  });
  const values = await result.data();
  result.dispose();
  // A NaN must not pass for a small error, as it would in Math.max.
  return expected.reduce((worst, value, index) => {
    const error = Math.abs((values[index] ?? NaN) - value);
    return error <= worst ? worst : error;
  }, 0);
}

/**
 * Watches the current backend: calls back when the graphics card drops everything that
 * lies on it, and has WebAssembly fail, as it should, when its memory is full.
 */
export function watchBackend(onLost: () => void): void {
  switch (tf.getBackend() as GraphBackend) {
    case "webgl":
      webglContext().canvas.addEventListener("webglcontextlost", onLost);
      break;
    case "webgpu":
      void (tf.backend() as unknown as Pick<WebGPUBackend, "device">).device.lost.then(onLost);
      break;
    case "wasm": {
      const wasm = (tf.backend() as unknown as { readonly wasm: Heap }).wasm;
      const allocate = wasm._malloc.bind(wasm);
      wasm._malloc = (bytes) => {
        const address = allocate(bytes);
        // Address 0 would be written to, over what lies there.
        if (address === 0 && bytes > 0) throw new RangeError("out of memory");
        return address;
      };
    }
  }
}

/** Whether the card is gone, though the event that says so may still be on its way. */
export function isLost(): boolean {
  return tf.getBackend() === "webgl" && webglContext().isContextLost();
}

/** Whether an error of a backend says that the memory is too small. */
export function isMemoryError(error: unknown): boolean {
  return /memory|allocation|texture size|typed array length|framebuffer|buffer size/i.test(
    String(error),
  );
}

/** WebGL convolves pictures of so many pixels and more without unrolling them. */
let tooManyPixels = Infinity;

/**
 * Runs a graph, whose convolutions are over a picture of `pixels` pixels, and keeps
 * nothing but its result.
 *
 * WebGL by default first unrolls a convolution's input into one texture, which for a
 * large picture is wider than some cards allow; without that it is slower but has no
 * such limit.
 */
export function convolve(pixels: number, graph: () => tf.Tensor): tf.Tensor {
  if (tf.getBackend() !== "webgl") return tf.tidy(graph);
  const unroll = pixels < tooManyPixels;
  tf.env().set("WEBGL_CONV_IM2COL", unroll);
  try {
    return tf.tidy(graph);
  } catch (error) {
    if (!unroll || !/texture size/i.test(String(error))) throw error;
    tooManyPixels = pixels;
    return convolve(pixels, graph);
  }
}

function webglContext(): WebGLRenderingContext {
  return (
    tf.backend() as unknown as Pick<MathBackendWebGL, "getGPGPUContext">
  ).getGPGPUContext().gl;
}
