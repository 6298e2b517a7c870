/** Chooses what computes: WebGL on the graphics card, else WebAssembly. */

import * as tf from "@tensorflow/tfjs-core";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import type { MathBackendWebGL } from "@tensorflow/tfjs-backend-webgl";
import "@tensorflow/tfjs-backend-webgl";
import plainWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url";
import simdWasm from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";

import { EngineError, type BackendName } from "./protocol";

const LABELS: Readonly<Record<BackendName, string>> = {
  webgl: "WebGL",
  wasm: "WebAssembly",
};

/**
 * Makes the first backend that computes correctly the current one, or the requested
 * one. EngineError "crash" if none does.
 */
export async function chooseBackend(
  requested: BackendName | undefined,
): Promise<{ backend: BackendName; reason: string }> {
  // Threads need cross-origin isolation, and their worker does not survive minifying.
  tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
  setWasmPaths({
    "tfjs-backend-wasm.wasm": plainWasm,
    "tfjs-backend-wasm-simd.wasm": simdWasm,
    // Never fetched, but the backend wants an address for it.
    "tfjs-backend-wasm-threaded-simd.wasm": simdWasm,
  });
  const refusals: string[] = [];
  for (const backend of requested ? [requested] : (["webgl", "wasm"] as const)) {
    const refusal = await refuse(backend, requested !== undefined);
    if (refusal !== undefined) {
      refusals.push(`${LABELS[backend]} ${refusal}.`);
      continue;
    }
    if (requested) return { backend, reason: "It was asked for in the address." };
    return {
      backend,
      reason: refusals.join(" ") || "It was tested on start and computes correctly.",
    };
  }
  throw new EngineError("crash", `Nothing here can paint. ${refusals.join(" ")}`);
}

/** Starts a backend; what is wrong with it, or undefined if it can be used. */
async function refuse(
  backend: BackendName,
  acceptSlow: boolean,
): Promise<string | undefined> {
  try {
    if (!(await tf.setBackend(backend))) return "does not start here";
    await tf.ready();
  } catch (error) {
    return `does not start here (${String(error)})`;
  }
  if (backend === "webgl" && !acceptSlow) {
    const renderer = rendererName();
    if (/swiftshader|llvmpipe|softpipe|software|basic render/i.test(renderer)) {
      tf.removeBackend(backend);
      return "has no graphics card to run on and would be slow";
    }
  }
  const error = await probeError();
  if (error <= 1e-4) return undefined;
  tf.removeBackend(backend);
  return "computes wrong numbers here";
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
 * Calls back when the graphics card drops this page's context: everything on it is
 * then lost.
 */
export function onContextLost(callback: () => void): void {
  webglContext().canvas.addEventListener("webglcontextlost", callback);
}

/**
 * Prepares WebGL for convolutions over a picture of `pixels` pixels.
 *
 * By default a convolution first unrolls its input into one texture, four numbers to
 * a texel, which for a large picture is wider than the card allows; without that it
 * is slower but has no such limit. `taps` is the most inputs that any output of a
 * convolution reads (kernel height x width x channels).
 */
export function fitConvolutions(pixels: number, taps: number): void {
  const limit = tf.env().getNumber("WEBGL_MAX_TEXTURE_SIZE");
  tf.env().set("WEBGL_CONV_IM2COL", Math.sqrt((pixels * taps) / 4) <= limit);
}

function rendererName(): string {
  const gl = webglContext();
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  return String(gl.getParameter(info ? info.UNMASKED_RENDERER_WEBGL : gl.RENDERER));
}

function webglContext(): WebGLRenderingContext {
  return (tf.backend() as unknown as Pick<MathBackendWebGL, "getGPGPUContext">)
    .getGPGPUContext().gl;
}
