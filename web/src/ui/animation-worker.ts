/** Encodes the frames of an animation: WebM by the browser's encoder, or GIF. */

import { applyPalette, GIFEncoder, quantize } from "gifenc";
import { ArrayBufferTarget, Muxer } from "webm-muxer";

import { FRAME_MS, WEBM_CODEC, type AnimationRequest } from "./animation";

interface Encoder {
  add(frame: ImageData): Promise<void> | void;
  finish(): Promise<Blob> | Blob;
}

/** So much is worth spending on painted texture, which compresses badly. */
const BITS_PER_PIXEL = 0.8;
const KEYFRAME_EVERY = 25;
/** Frames that may wait in the encoder. */
const MOST_WAITING = 4;

let encoder: Encoder | undefined;

addEventListener("message", ({ data }: MessageEvent<AnimationRequest>) => {
  perform(data).then(
    (result) => {
      postMessage({ result });
    },
    (error: unknown) => {
      postMessage({ failure: error instanceof Error ? error.message : String(error) });
    },
  );
});

async function perform(request: AnimationRequest): Promise<Blob | undefined> {
  if (request === "finish") return encoder?.finish();
  if ("frame" in request) await encoder?.add(request.frame);
  else encoder = (request.format === "webm" ? webm : gif)(request.width, request.height);
  return undefined;
}

function gif(width: number, height: number): Encoder {
  const writer = GIFEncoder();
  return {
    add({ data }) {
      const palette = quantize(data, 256);
      writer.writeFrame(applyPalette(data, palette), width, height, {
        palette,
        delay: FRAME_MS,
      });
    },
    finish() {
      writer.finish();
      return new Blob([writer.bytes()], { type: "image/gif" });
    },
  };
}

function webm(width: number, height: number): Encoder {
  const target = new ArrayBufferTarget();
  const frameRate = 1000 / FRAME_MS;
  const muxer = new Muxer({
    target,
    video: { codec: "V_VP8", width, height, frameRate },
  });
  let failure: Error | undefined;
  const video = new VideoEncoder({
    output: (chunk, metadata) => {
      muxer.addVideoChunk(chunk, metadata);
    },
    error: (error) => {
      failure = error;
    },
  });
  const bitrate = width * height * frameRate * BITS_PER_PIXEL;
  video.configure({ codec: WEBM_CODEC, width, height, bitrate, framerate: frameRate });
  let count = 0;
  return {
    async add({ data }) {
      const frame = new VideoFrame(data, {
        format: "RGBX",
        codedWidth: width,
        codedHeight: height,
        timestamp: count * FRAME_MS * 1000,
        duration: FRAME_MS * 1000,
      });
      video.encode(frame, { keyFrame: count % KEYFRAME_EVERY === 0 });
      frame.close();
      count++;
      while (video.encodeQueueSize > MOST_WAITING) {
        await new Promise((resolve) => setTimeout(resolve));
      }
      if (failure) throw failure;
    },
    async finish() {
      await video.flush();
      muxer.finalize();
      return new Blob([target.buffer], { type: "video/webm" });
    },
  };
}
