import type { Pixels } from "../engine/pixels";
import { byId } from "./dom";
import { clamp } from "./weights";

/** How far in one can zoom; 1 shows the whole picture. */
const CLOSEST = 8;
/** What one press of a zoom button or key does. */
const STEP = 1.5;

interface Place {
  readonly x: number;
  readonly y: number;
}

/**
 * The photo and the painted picture on top of it, with a handle between them.
 *
 * Keys, wherever the page listens: 1 photo, 2 both, 3 painted, + and − zoom, 0 all of
 * it. Drag moves the handle, or the picture once it is zoomed; two fingers, Ctrl and
 * the wheel, or a double click zoom.
 */
export class Viewer {
  readonly #frame = byId("frame", HTMLDivElement);
  readonly #photo = byId("photo", HTMLCanvasElement);
  readonly #painted = byId("painted", HTMLCanvasElement);
  readonly #label = byId("painted-label", HTMLSpanElement);
  readonly #compare = byId("compare", HTMLInputElement);
  readonly #views = {
    "1": byId("view-photo", HTMLButtonElement),
    "2": byId("view-both", HTMLButtonElement),
    "3": byId("view-painted", HTMLButtonElement),
  };
  readonly #zoomIn = byId("zoom-in", HTMLButtonElement);
  readonly #zoomOut = byId("zoom-out", HTMLButtonElement);
  readonly #zoomFit = byId("zoom-fit", HTMLButtonElement);
  readonly #pointers = new Map<number, Place>();
  #shownPhoto: Pixels | undefined;
  #zoom = 1;
  /** Where the picture's top left is, in frames: 0 at fit, negative when zoomed. */
  #corner: Place = { x: 0, y: 0 };
  /** Where the handle was when last both pictures were seen, 0 to 100. */
  #split = 30;

  constructor() {
    this.#compare.addEventListener("input", () => {
      this.#splitAt(this.#compare.valueAsNumber);
    });
    for (const [key, button] of Object.entries(this.#views)) {
      button.addEventListener("click", () => {
        this.#view(key);
      });
    }
    this.#zoomIn.addEventListener("click", () => {
      this.#zoomBy(STEP);
    });
    this.#zoomOut.addEventListener("click", () => {
      this.#zoomBy(1 / STEP);
    });
    this.#zoomFit.addEventListener("click", () => {
      this.#zoomBy(0);
    });
    this.#listenToPointers();
    document.addEventListener("keydown", (event) => {
      this.#key(event);
    });
    this.#splitAt(this.#split);
    this.#zoomBy(0);
  }

  get hasPicture(): boolean {
    return this.#frame.classList.contains("has-picture");
  }

  /** Shows a photo that has not been painted yet; `ratio` is its width by its height. */
  showPhoto(photo: Pixels, title: string, ratio: number): void {
    this.#frame.style.setProperty("--ratio", String(ratio));
    this.#drawPhoto(photo, title);
    this.#frame.classList.remove("has-picture", "is-draft");
    this.#compare.disabled = true;
    this.#zoomBy(0);
  }

  /** Shows a painted picture over its photo. `mix` names the styles. */
  showPainted(
    shown: { photo: Pixels; picture: ImageData; draft: boolean },
    title: string,
    mix: string,
  ): void {
    const { photo, picture, draft } = shown;
    this.#drawPhoto(photo, title);
    draw(this.#painted, picture);
    this.#painted.ariaLabel = `${title}, painted: ${mix}`;
    this.#label.textContent = draft
      ? `Draft, ${Math.min(picture.width, picture.height)} px`
      : "Painted";
    this.#frame.classList.toggle("is-draft", draft);
    this.#frame.classList.add("has-picture");
    this.#compare.disabled = false;
  }

  #drawPhoto(photo: Pixels, title: string): void {
    this.#photo.ariaLabel = title;
    if (photo === this.#shownPhoto) return;
    this.#shownPhoto = photo;
    draw(this.#photo, photo);
  }

  #view(key: string): void {
    this.#splitAt({ "1": 100, "2": this.#split, "3": 0 }[key] ?? this.#split);
  }

  /** Puts the handle at this percentage of the width. */
  #splitAt(percentage: number): void {
    const { value } = Object.assign(this.#compare, { value: String(percentage) });
    const split = Number(value);
    if (split > 0 && split < 100) this.#split = split;
    this.#frame.style.setProperty("--split", `${split}%`);
    this.#compare.ariaValueText = `${value} % photo`;
    const seen = split === 100 ? "1" : split === 0 ? "3" : "2";
    for (const [key, button] of Object.entries(this.#views)) {
      button.ariaPressed = String(key === seen);
    }
  }

  /** Zooms around a point of the frame (0 to 1); a factor of 0 shows all of it. */
  #zoomBy(factor: number, at: Place = { x: 0.5, y: 0.5 }): void {
    const next = clamp(this.#zoom * factor, 1, CLOSEST);
    const ratio = next / this.#zoom;
    this.#zoom = next;
    this.#moveTo({
      x: at.x - (at.x - this.#corner.x) * ratio,
      y: at.y - (at.y - this.#corner.y) * ratio,
    });
    const zoomed = next > 1;
    this.#frame.classList.toggle("is-zoomed", zoomed);
    // A keyboard moves the zoomed picture by its arrows.
    if (zoomed) this.#frame.tabIndex = 0;
    else this.#frame.removeAttribute("tabindex");
    this.#zoomIn.disabled = next === CLOSEST;
    this.#zoomOut.disabled = this.#zoomFit.disabled = !zoomed;
    this.#zoomFit.textContent = zoomed ? `${Math.round(next * 100)} %` : "Fit";
  }

  #moveTo({ x, y }: Place): void {
    this.#corner = { x: clamp(x, 1 - this.#zoom, 0), y: clamp(y, 1 - this.#zoom, 0) };
    const { style } = this.#frame;
    style.setProperty("--zoom", String(this.#zoom));
    style.setProperty("--left", `${this.#corner.x * 100}%`);
    style.setProperty("--top", `${this.#corner.y * 100}%`);
  }

  #listenToPointers(): void {
    const frame = this.#frame;
    const place = ({ clientX, clientY }: MouseEvent): Place => {
      const box = frame.getBoundingClientRect();
      return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
    };
    frame.addEventListener("pointerdown", (event) => {
      // The handle's own dragging, and whatever is not the main button.
      if (!this.hasPicture || event.button !== 0) return;
      if (!(event.target instanceof HTMLElement) || event.target.closest("input, .work")) return;
      this.#pointers.set(event.pointerId, place(event));
      frame.setPointerCapture(event.pointerId);
    });
    frame.addEventListener("pointermove", (event) => {
      const before = this.#pointers.get(event.pointerId);
      if (!before) return;
      const now = place(event);
      const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
      this.#pointers.set(event.pointerId, now);
      if (other) {
        const spread = distance(now, other) / Math.max(distance(before, other), 0.01);
        this.#zoomBy(spread, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
        this.#move((now.x - before.x) / 2, (now.y - before.y) / 2);
      } else if (this.#zoom > 1) {
        this.#move(now.x - before.x, now.y - before.y);
      } else {
        this.#splitAt(clamp(Math.round(now.x * 100), 0, 100));
      }
    });
    const release = (event: PointerEvent) => this.#pointers.delete(event.pointerId);
    frame.addEventListener("pointerup", release);
    frame.addEventListener("pointercancel", release);
    frame.addEventListener("dblclick", (event) => {
      this.#zoomBy(this.#zoom > 1 ? 0 : 3, place(event));
    });
    frame.addEventListener(
      "wheel",
      (event) => {
        // What a trackpad's pinch sends, too.
        if (!event.ctrlKey || !this.hasPicture) return;
        event.preventDefault();
        this.#zoomBy(Math.exp(-clamp(event.deltaY, -60, 60) / 100), place(event));
      },
      { passive: false },
    );
  }

  #move(x: number, y: number): void {
    this.#moveTo({ x: this.#corner.x + x, y: this.#corner.y + y });
  }

  #key(event: KeyboardEvent): void {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(target)) return;
    if (key in this.#views) this.#view(key);
    else if (key === "+" || key === "=") this.#zoomBy(STEP);
    else if (key === "-") this.#zoomBy(1 / STEP);
    else if (key === "0") this.#zoomBy(0);
    else if (target === this.#frame) {
      const step = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[
        key
      ];
      if (!step) return;
      event.preventDefault();
      this.#move(0.1 * (step[0] ?? 0), 0.1 * (step[1] ?? 0));
    }
  }
}

/** Whether keys pressed there are text for it. */
export function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return /^(text|number|search|url)$/.test(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}

function distance(one: Place, other: Place): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}

function draw(canvas: HTMLCanvasElement, { width, height, data }: Pixels): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pixels = new ImageData(new Uint8ClampedArray(data), width, height);
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
}
