import { byId, make, SVG } from "./dom";
import type { Point, Store, StudioState, Style } from "./state";
import { clamp, describeMix, influence, mixedAt, percentages } from "./weights";

/** A pointer that moved less than this, in CSS pixels, has tapped. */
const TAP = 5;
/** Thumbnails stay this far inside the pad, in widths of it. */
const MARGIN = 0.09;
/** One press of an arrow key, in widths of the pad. */
const STEP = 0.02;
/** The wash of colours behind the styles is this many pixels square. */
const WASH = 72;

interface Thumb {
  readonly button: HTMLButtonElement;
  readonly image: HTMLImageElement;
  readonly share: HTMLSpanElement;
  readonly line: SVGLineElement;
}

/**
 * The plane on which the styles lie. The puck mixes them by its distance to each;
 * both it and the styles can be dragged, by pointer or by arrow keys, and a tap on a
 * style takes that style alone.
 */
export class Pad {
  readonly element = byId("pad", HTMLDivElement);
  /** For a drawing over the pad: its view box is the pad, from 0 to 1. */
  readonly overlay = svg("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" });
  /** Whether puck and styles react. */
  interactive = true;

  readonly #store: Store;
  readonly #wash = make("canvas", { className: "wash", width: WASH, height: WASH });
  readonly #lines = svg("svg", { viewBox: "0 0 1 1", "aria-hidden": "true" });
  readonly #hint = byId("pad-empty", HTMLParagraphElement);
  readonly #puck = make("div", { className: "puck" });
  readonly #ranges = { x: range("from left to right"), y: range("from top to bottom") };
  readonly #thumbs = new Map<string, Thumb>();
  /** The thumbnails' pixels, WASH × WASH, by address. */
  readonly #pixels = new Map<string, Uint8ClampedArray>();
  #washed: readonly Style[] = [];
  #washing = false;

  constructor(store: Store) {
    this.#store = store;
    this.#lines.classList.add("lines");
    this.overlay.classList.add("overlay");
    this.#puck.append(this.#ranges.x, this.#ranges.y);
    this.element.prepend(this.#wash, this.#lines);
    this.element.append(this.#puck, this.overlay);
    this.#listenToPointers();
    this.#listenToRanges();
    store.subscribe((state) => {
      this.#render(state);
    });
    this.#render(store.state);
  }

  /** Where on the pad a pointer is; it may lie outside of 0 to 1. */
  pointAt({ clientX, clientY }: { clientX: number; clientY: number }): Point {
    const box = this.element.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  #movePuck(point: Point, live: boolean): void {
    const puck = { x: clamp(point.x, 0, 1), y: clamp(point.y, 0, 1) };
    this.#store.change({ puck, styles: mixedAt(puck, this.#store.state.styles) }, { live });
  }

  #moveStyle(key: string, point: Point, live: boolean): void {
    const position = {
      x: clamp(point.x, MARGIN, 1 - MARGIN),
      y: clamp(point.y, MARGIN, 1 - MARGIN),
    };
    const { styles, puck } = this.#store.state;
    const moved = styles.map((style) => (style.key === key ? { ...style, position } : style));
    this.#store.change({ styles: mixedAt(puck, moved) }, { live });
  }

  #listenToPointers(): void {
    const { element } = this;
    element.addEventListener("pointerdown", (event) => {
      if (!this.interactive || this.#puck.hidden) return;
      if (event.button !== 0 || element.classList.contains("dragging")) return;
      const start = this.pointAt(event);
      const grabbed = event.target instanceof Element ? event.target : element;
      const thumb = grabbed.closest<HTMLElement>(".thumb");
      const key = thumb?.dataset.key;
      const style = this.#store.state.styles.find((one) => one.key === key);
      const onPuck = grabbed.closest(".puck") !== null;
      // What is grabbed at its edge is not pulled to the pointer by its middle.
      const origin = style?.position ?? (onPuck ? this.#store.state.puck : start);
      const offset = { x: origin.x - start.x, y: origin.y - start.y };
      const move = (to: PointerEvent, live: boolean) => {
        const at = this.pointAt(to);
        const point = { x: at.x + offset.x, y: at.y + offset.y };
        if (style) this.#moveStyle(style.key, point, live);
        else this.#movePuck(point, live);
      };
      const hasMoved = (to: PointerEvent) =>
        Math.hypot(to.clientX - event.clientX, to.clientY - event.clientY) >= TAP;
      let moving = !style && !onPuck;
      element.setPointerCapture(event.pointerId);
      element.classList.add("dragging");
      thumb?.classList.add("grabbed");
      if (moving) move(event, true);

      const ended = new AbortController();
      const { signal } = ended;
      const follow = (to: PointerEvent) => {
        if (to.pointerId !== event.pointerId) return;
        moving ||= hasMoved(to);
        if (moving) move(to, true);
      };
      const end = (to: PointerEvent) => {
        if (to.pointerId !== event.pointerId) return;
        ended.abort();
        element.classList.remove("dragging");
        thumb?.classList.remove("grabbed");
        if (moving) move(to, false);
        else if (style) this.#movePuck(style.position, false);
      };
      element.addEventListener("pointermove", follow, { signal });
      element.addEventListener("pointerup", end, { signal });
      element.addEventListener(
        "pointercancel",
        (to) => {
          if (to.pointerId !== event.pointerId) return;
          ended.abort();
          element.classList.remove("dragging");
          thumb?.classList.remove("grabbed");
          // Where it was last: a cancelled pointer has no place of its own.
          if (moving) this.#store.change({});
        },
        { signal },
      );
    });
  }

  /** Two native ranges are the puck for keyboards and screen readers. */
  #listenToRanges(): void {
    const { x, y } = this.#ranges;
    for (const input of [x, y]) {
      const take = (live: boolean) => () => {
        this.#movePuck({ x: x.valueAsNumber / 100, y: y.valueAsNumber / 100 }, live);
      };
      input.addEventListener("input", take(true));
      input.addEventListener("change", take(false));
      // Each arrow moves the puck its own way, whichever of the two has the focus.
      input.addEventListener("keydown", (event) => {
        const step = arrow(event.key);
        if (!step) return;
        event.preventDefault();
        const { puck } = this.#store.state;
        this.#movePuck({ x: puck.x + step.x, y: puck.y + step.y }, false);
      });
    }
  }

  #render({ styles, puck }: StudioState): void {
    this.#hint.hidden = styles.length > 0;
    this.#puck.hidden = styles.length === 0;
    const keys = new Set(styles.map(({ key }) => key));
    for (const [key, { button, line }] of this.#thumbs) {
      if (keys.has(key)) continue;
      button.remove();
      line.remove();
      this.#thumbs.delete(key);
    }
    const shares = percentages(styles);
    styles.forEach((style, index) => {
      this.#renderThumb(style, `${shares[index]} %`, puck);
    });
    place(this.#puck, puck);
    const mix = describeMix(styles);
    for (const axis of ["x", "y"] as const) {
      this.#ranges[axis].value = String(Math.round(puck[axis] * 100));
      this.#ranges[axis].ariaValueText = mix || "No style yet";
    }
    this.#washSoon(styles);
  }

  #renderThumb(style: Style, percent: string, puck: Point): void {
    const { key, title, thumbnail, position, weight, locked } = style;
    let thumb = this.#thumbs.get(key);
    if (!thumb) {
      thumb = this.#makeThumb(key);
      this.#thumbs.set(key, thumb);
    }
    const { button, image, share, line } = thumb;
    if (image.getAttribute("src") !== thumbnail) image.src = thumbnail;
    place(button, position);
    button.style.setProperty("--weight", weight.toFixed(3));
    button.classList.toggle("idle", weight === 0);
    button.classList.toggle("locked", locked);
    button.ariaLabel = `${title}, ${percent}`;
    button.title = title;
    share.textContent = percent;
    const ends = { x1: puck.x, y1: puck.y, x2: position.x, y2: position.y };
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, String(value));
    line.style.opacity = String(weight && 0.25 + 0.75 * weight);
  }

  #makeThumb(key: string): Thumb {
    const image = make("img", { alt: "", draggable: false });
    const share = make("span", { className: "share", ariaHidden: "true" });
    const button = make("button", { type: "button", className: "thumb" }, image, share);
    button.dataset.key = key;
    button.setAttribute("aria-describedby", "pad-hint");
    button.addEventListener("keydown", (event) => {
      const style = this.#store.state.styles.find((one) => one.key === key);
      const step = arrow(event.key);
      if (!style) return;
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        this.#movePuck(style.position, false);
      } else if (step) {
        event.preventDefault();
        const { x, y } = style.position;
        this.#moveStyle(key, { x: x + step.x, y: y + step.y }, false);
      }
    });
    // What a screen reader sends in place of a key or a pointer.
    button.addEventListener("click", ({ detail }) => {
      const style = this.#store.state.styles.find((one) => one.key === key);
      if (detail === 0 && style) this.#movePuck(style.position, false);
    });
    image.addEventListener("load", () => {
      const pixels = sampled(image);
      if (pixels) this.#pixels.set(image.getAttribute("src") ?? "", pixels);
      this.#washed = [];
      this.#washSoon(this.#store.state.styles);
    });
    const line = svg("line", {});
    this.#lines.append(line);
    this.element.insertBefore(button, this.#puck);
    return { button, image, share, line };
  }

  /** Draws the wash at the next frame, if the styles lie differently from before. */
  #washSoon(styles: readonly Style[]): void {
    const same =
      styles.length === this.#washed.length &&
      styles.every(({ key, thumbnail, position }, index) => {
        const before = this.#washed[index];
        return (
          before?.key === key && before.thumbnail === thumbnail && before.position === position
        );
      });
    if (same || this.#washing) return;
    this.#washing = true;
    requestAnimationFrame(() => {
      this.#washing = false;
      this.#washed = this.#store.state.styles;
      this.#drawWash();
    });
  }

  /** Every style's picture over the whole pad, each as strong as it would be there. */
  #drawWash(): void {
    const context = this.#wash.getContext("2d");
    if (!context) return;
    const layers = this.#store.state.styles.flatMap((style) => {
      const pixels = this.#pixels.get(style.thumbnail);
      return pixels ? [{ position: style.position, pixels }] : [];
    });
    const wash = context.createImageData(WASH, WASH);
    if (layers.length > 0) {
      for (let row = 0, at = 0; row < WASH; row++) {
        for (let column = 0; column < WASH; column++, at += 4) {
          const point = { x: (column + 0.5) / WASH, y: (row + 0.5) / WASH };
          const weights = influence(point, layers);
          for (let channel = at; channel < at + 3; channel++) {
            let value = 0;
            for (const [index, weight] of weights.entries()) {
              value += weight * (layers[index]?.pixels[channel] ?? 0);
            }
            wash.data[channel] = value;
          }
          wash.data[at + 3] = 255;
        }
      }
    }
    context.putImageData(wash, 0, 0);
  }
}

function place(element: HTMLElement, { x, y }: Point): void {
  element.style.left = `${x * 100}%`;
  element.style.top = `${y * 100}%`;
}

function arrow(key: string): Point | undefined {
  const steps: Record<string, Point> = {
    ArrowLeft: { x: -STEP, y: 0 },
    ArrowRight: { x: STEP, y: 0 },
    ArrowUp: { x: 0, y: -STEP },
    ArrowDown: { x: 0, y: STEP },
  };
  return steps[key];
}

function range(way: string): HTMLInputElement {
  const input = make("input", { type: "range", max: "100", className: "visually-hidden" });
  input.ariaLabel = `Mix, ${way}`;
  return input;
}

function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Record<string, string>,
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** The middle square of a picture, WASH × WASH pixels. */
function sampled(image: HTMLImageElement): Uint8ClampedArray | undefined {
  const { naturalWidth: width, naturalHeight: height } = image;
  const side = Math.min(width, height);
  const context = new OffscreenCanvas(WASH, WASH).getContext("2d", { willReadFrequently: true });
  if (!context) return undefined;
  const [left, top] = [(width - side) / 2, (height - side) / 2];
  context.imageSmoothingQuality = "high";
  context.drawImage(image, left, top, side, side, 0, 0, WASH, WASH);
  return context.getImageData(0, 0, WASH, WASH).data;
}
