/** Animations as files, encoded in a worker of their own so that the page stays free. */

export type AnimationFormat = "webm" | "gif";

export type AnimationRequest =
  | { format: AnimationFormat; width: number; height: number }
  | { frame: ImageData }
  | "finish";

/** Of one frame. GIF counts in hundredths of a second. */
export const FRAME_MS = 80;
export const WEBM_CODEC = "vp8";

/** Can this browser write WebM? Only on a secure page, and not everywhere. */
export async function canWriteWebm(): Promise<boolean> {
  if (!("VideoEncoder" in window)) return false;
  const configuration = { codec: WEBM_CODEC, width: 256, height: 256 };
  const { supported } = await VideoEncoder.isConfigSupported(configuration);
  return supported === true;
}

/**
 * A file of `count` frames, each painted by `paint` in turn and no faster than the
 * last is encoded. All have the size of the first.
 */
export async function writeAnimation(
  format: AnimationFormat,
  count: number,
  paint: (index: number) => Promise<ImageData>,
  signal: AbortSignal,
): Promise<Blob> {
  const worker = new Worker(new URL("./animation-worker.ts", import.meta.url), {
    type: "module",
  });
  /** The worker answers every request once, in order. */
  const ask = (request: AnimationRequest, transfer: Transferable[] = []) =>
    new Promise<Blob | undefined>((resolve, reject) => {
      signal.throwIfAborted();
      worker.onmessage = ({ data }: MessageEvent<{ result?: Blob; failure?: string }>) => {
        if (data.failure === undefined) resolve(data.result);
        else reject(new Error(data.failure));
      };
      worker.onerror = ({ message }) => {
        reject(new Error(message || "The encoder could not be started."));
      };
      worker.postMessage(request, transfer);
    });
  try {
    for (let index = 0; index < count; index++) {
      const frame = await paint(index);
      if (index === 0) await ask({ format, width: frame.width, height: frame.height });
      await ask({ frame }, [frame.data.buffer]);
    }
    const blob = await ask("finish");
    if (!blob) throw new Error("The encoder gave no file.");
    return blob;
  } finally {
    worker.terminate();
  }
}
