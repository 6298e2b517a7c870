/** The camera, painted live. */

import type { Embedding } from "../engine/embedding";
import { LARGEST_SIZE } from "./decode";
import { make } from "./dom";
import { messageOf } from "./notice";
import type { Painting } from "./painting";
import { thumbnail } from "./pictures";
import type { Store, StudioState } from "./state";
import { setPhoto } from "./studio";
import { clamp } from "./weights";

/** Below this many frames a second the picture gets smaller, above the other larger. */
const SLOW = 8;
const FAST = 14;
/** Of the shorter side, in pixels. */
const FIRST_SIZE = 128;
const SMALLEST = 48;
/** A size is kept for this many frames, so that it is judged by more than one. */
const FRAMES_TO_JUDGE = 6;
const TOLD_EVERY_MS = 500;

/** Why there is no camera, by the name of the browser's error. */
const REFUSALS: Readonly<Record<string, string>> = {
  NotAllowedError:
    "The camera was not allowed. Allow it in the browser’s address bar or settings, then try again.",
  NotFoundError: "No camera was found. Connect one and try again.",
  NotReadableError: "The camera does not answer: another program may be using it. Close that and try again.",
};

export class Webcam {
  readonly #store: Store;
  readonly #painting: Painting;
  readonly #start = make("button", { type: "button" }, "Use the camera");
  readonly #status = make("p", { className: "hint", role: "status" });
  readonly #live = make("div", { className: "live", hidden: true });
  readonly #canvas = make("canvas", { role: "img", ariaLabel: "The camera, painted live" });
  readonly #rate = make("output", { className: "rate", ariaLive: "off" });
  readonly #snap = make("button", { type: "button" }, "Take the photo");
  readonly #stop = make("button", { type: "button", className: "primary" }, "Stop the camera");
  readonly #video = make("video", { muted: true, playsInline: true });
  /** Ends what is live. */
  #running: AbortController | undefined;
  #snapshots = 0;

  constructor(deps: {
    container: HTMLElement;
    /** What the live picture is laid over. */
    frame: HTMLElement;
    store: Store;
    painting: Painting;
  }) {
    this.#store = deps.store;
    this.#painting = deps.painting;
    deps.container.append(this.#start, this.#status);
    this.#live.append(
      this.#canvas,
      make("div", { className: "live-bar" }, this.#rate, this.#snap, this.#stop),
    );
    deps.frame.append(this.#live);
    // The frame below zooms and compares by pointer; here nothing does.
    for (const type of ["pointerdown", "dblclick", "wheel"]) {
      this.#live.addEventListener(type, (event) => {
        event.stopPropagation();
      });
    }
    this.#start.addEventListener("click", () => void this.#run());
    this.#stop.addEventListener("click", () => {
      this.#end("");
    });
    this.#snap.addEventListener("click", () => {
      this.#takePhoto();
    });
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    const running = new AbortController();
    const { signal } = running;
    this.#running = running;
    this.#start.disabled = true;
    this.#status.textContent = "Starting the camera. Your browser may ask you to allow it.";
    let stream: MediaStream | undefined;
    let goOn: (() => void) | undefined;
    try {
      stream = await camera();
      for (const track of stream.getTracks()) {
        track.addEventListener("ended", () => {
          this.#end("The camera was switched off.");
        });
      }
      this.#video.srcObject = stream;
      await this.#video.play();
      goOn = this.#painting.suspend();
      this.#status.textContent = "The camera is on. Nothing of it leaves this device.";
      await this.#paintFrames(signal);
    } catch (error) {
      if (!signal.aborted) this.#status.textContent = refusalOf(error);
    } finally {
      this.#running = undefined;
      for (const track of stream?.getTracks() ?? []) track.stop();
      this.#video.srcObject = null;
      const focused = this.#live.contains(document.activeElement);
      this.#live.hidden = true;
      this.#start.disabled = false;
      if (focused) this.#start.focus();
      goOn?.();
    }
  }

  #end(reason: string): void {
    this.#running?.abort();
    this.#status.textContent = reason;
  }

  /** Paints frame after frame, as large as keeps a usable rate, until it is ended. */
  async #paintFrames(signal: AbortSignal): Promise<void> {
    let embedding: Embedding | undefined;
    let mixed: { state: StudioState; size: number } | undefined;
    let size = Math.min(FIRST_SIZE, this.#store.state.size);
    let average = 0;
    let judged = 0;
    let told = 0;
    let last = performance.now();
    while (!signal.aborted) {
      const { state } = this.#store;
      // The mix stays as it is until the visitor changes it, or the size does.
      if (state !== mixed?.state || size !== mixed.size) {
        mixed = { state, size };
        embedding = await this.#painting.mixed(state, { size, signal });
      }
      await nextFrame();
      if (!embedding) continue;
      const photo = this.#capture(size);
      const picture = await this.#painting.paint(embedding, { size, photo, signal });
      this.#show(picture);
      const now = performance.now();
      // The first frame of a size includes preparing for it.
      if (judged > 0) average = judged === 1 ? now - last : 0.7 * average + 0.3 * (now - last);
      last = now;
      judged++;
      if (average === 0) continue;
      const rate = 1000 / average;
      if (now - told > TOLD_EVERY_MS) {
        told = now;
        this.#rate.value = `${rate.toFixed(rate < 10 ? 1 : 0)} frames a second, ${size} px`;
      }
      if (judged < FRAMES_TO_JUDGE) continue;
      const wanted = rate < SLOW ? size * 0.8 : rate > FAST ? size * 1.2 : size;
      const fitting = clamp(8 * Math.round(wanted / 8), SMALLEST, Math.max(state.size, SMALLEST));
      if (fitting === size) continue;
      size = fitting;
      judged = 0;
    }
  }

  #show({ data, width, height }: ImageData): void {
    if (this.#canvas.width !== width) this.#canvas.width = width;
    if (this.#canvas.height !== height) this.#canvas.height = height;
    this.#canvas.getContext("2d")?.putImageData(new ImageData(data, width, height), 0, 0);
    if (!this.#live.hidden) return;
    this.#live.hidden = false;
    this.#stop.focus({ preventScroll: true });
    this.#live.scrollIntoView({ block: "nearest" });
  }

  /** What the camera sees, mirrored as in a mirror; `size` is of the shorter side. */
  #capture(size: number): ImageData {
    const { videoWidth, videoHeight } = this.#video;
    const scale = size / Math.min(videoWidth, videoHeight);
    const [width, height] = [Math.round(videoWidth * scale), Math.round(videoHeight * scale)];
    const context = (this.#captured ??= new OffscreenCanvas(width, height).getContext("2d", {
      willReadFrequently: true,
    }));
    if (!context) throw new Error("There is no memory left for the camera’s picture.");
    if (context.canvas.width !== width) context.canvas.width = width;
    if (context.canvas.height !== height) context.canvas.height = height;
    context.setTransform(-1, 0, 0, 1, width, 0);
    context.drawImage(this.#video, 0, 0, width, height);
    return context.getImageData(0, 0, width, height);
  }
  #captured: OffscreenCanvasRenderingContext2D | null | undefined;

  /** Chooses what the camera sees now as the photo, and ends. */
  #takePhoto(): void {
    const { videoWidth, videoHeight } = this.#video;
    const image = this.#capture(Math.min(videoWidth, videoHeight, LARGEST_SIZE));
    this.#snapshots++;
    const title = this.#snapshots === 1 ? "Snapshot" : `Snapshot ${this.#snapshots}`;
    setPhoto(this.#store, { key: `camera ${this.#snapshots}`, title, image }, thumbnail(image));
    this.#end("The photo is taken.");
  }
}

function camera(): Promise<MediaStream> {
  // Missing on a page that did not come by a secure connection, whatever its type says.
  const devices = navigator.mediaDevices as MediaDevices | undefined;
  if (!devices) {
    throw new Error("The camera works only on a secure page: open this one by https or on localhost.");
  }
  return devices.getUserMedia({ video: { facingMode: "user", width: 1280, height: 720 } });
}

function refusalOf(error: unknown): string {
  const known = error instanceof DOMException ? REFUSALS[error.name] : undefined;
  return known ?? `The camera stopped: ${messageOf(error)}`;
}

function nextFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
