/** A path through the styles: drawn on the pad or the map, played, and saved. */

import { canWriteWebm, FRAME_MS, writeAnimation, type AnimationFormat } from "./animation";
import { make, SVG } from "./dom";
import { saveFile } from "./files";
import { messageOf } from "./notice";
import type { Pad } from "./pad";
import type { Painting } from "./painting";
import type { Point, Store, StudioState } from "./state";
import { clamp, mixedAt } from "./weights";

/** A plane of styles with a puck on it: the pad or the map. */
export interface Surface {
  readonly name: "pad" | "map";
  readonly element: HTMLElement;
  /** Over all of the plane, in its coordinates. */
  readonly overlay: SVGSVGElement;
  /** While false, the plane itself does not react to the pointer. */
  interactive: boolean;
  pointAt(event: { clientX: number; clientY: number }): Point;
  /** Makes the plane visible and ready. */
  prepare(): Promise<void>;
  /** Where the puck is. */
  point(state: StudioState): Point;
  /** What moving the puck there changes; `live` while it goes on moving. */
  at(state: StudioState, point: Point, live: boolean): Partial<StudioState>;
}

/** Seconds from one end of the path to the other at speed 1. */
const SECONDS = 6;
/** Points of a drawn line nearer than this to the last are dropped. */
const STEP = 0.01;
/** A shorter path is a slip of the pointer. */
const SHORTEST = 0.05;

/** The pad as a plane to draw on. */
export function padSurface(pad: Pad): Surface {
  return {
    name: "pad",
    element: pad.element,
    overlay: pad.overlay,
    get interactive() {
      return pad.interactive;
    },
    set interactive(interactive) {
      pad.interactive = interactive;
    },
    pointAt: (event) => {
      const { x, y } = pad.pointAt(event);
      return { x: clamp(x, 0, 1), y: clamp(y, 0, 1) };
    },
    prepare: () => Promise.resolve(),
    point: ({ puck }) => puck,
    at: ({ styles }, puck) => ({ puck, styles: mixedAt(puck, styles) }),
  };
}

/** What `Surface.overlay` is: a drawing whose coordinates go from 0 to 1. */
export function pathOverlay(): SVGSVGElement {
  const overlay = document.createElementNS(SVG, "svg");
  overlay.setAttribute("viewBox", "0 0 1 1");
  overlay.setAttribute("preserveAspectRatio", "none");
  overlay.setAttribute("class", "overlay");
  overlay.setAttribute("aria-hidden", "true");
  return overlay;
}

/**
 * Runs what may change the page above an element, and scrolls by as much as that moved
 * it: it stays under the pointer.
 */
export function inPlace(element: HTMLElement, act: () => void): void {
  const { top } = element.getBoundingClientRect();
  act();
  const moved = element.getBoundingClientRect().top - top;
  if (moved !== 0) scrollBy({ top: moved, behavior: "instant" });
}

/** The point this far along the line through `points`: 0 is its start, 1 its end. */
export function along(points: readonly Point[], fraction: number): Point {
  const [start, end] = [points[0], points.at(-1)];
  if (!start || !end) throw new RangeError("A path needs a point.");
  let left = fraction * lengthOf(points);
  for (const [index, to] of points.entries()) {
    const from = points[index - 1];
    if (!from) continue;
    const leg = distance(from, to);
    if (left <= leg && leg > 0) {
      const part = left / leg;
      return { x: from.x + part * (to.x - from.x), y: from.y + part * (to.y - from.y) };
    }
    left -= leg;
  }
  return end;
}

/** Of a line, in widths of the plane. */
export function lengthOf(points: readonly Point[]): number {
  return points.reduce((sum, point, index) => sum + distance(points[index - 1] ?? point, point), 0);
}

function distance(from: Point, to: Point): number {
  return Math.hypot(to.x - from.x, to.y - from.y);
}

export class Path {
  readonly #store: Store;
  readonly #painting: Painting;
  readonly #draw: readonly { surface: Surface; button: HTMLButtonElement }[];
  readonly #add = button("Add the puck’s place");
  readonly #clear = button("Clear");
  readonly #play = button("Play", "primary");
  readonly #loop = make("input", { type: "checkbox" });
  readonly #speed = make("input", { type: "range", id: "path-speed" });
  readonly #speedShown = make("output", { ariaLive: "off" });
  readonly #webm = button("Save as WebM");
  readonly #gif = button("Save as GIF");
  readonly #progress = make("progress", { ariaLabel: "Frames painted" });
  readonly #work = make("div", { className: "path-work", hidden: true });
  readonly #status = make("p", { className: "hint", role: "status" });
  readonly #line = document.createElementNS(SVG, "polyline");
  #surface: Surface;
  #points: Point[] = [];
  /** Ends the drawing that is going on. */
  #drawing: AbortController | undefined;
  /** Ends what is playing. */
  #playing: AbortController | undefined;
  #saving: AbortController | undefined;

  constructor(deps: {
    container: HTMLElement;
    store: Store;
    painting: Painting;
    surfaces: readonly [Surface, ...Surface[]];
  }) {
    this.#store = deps.store;
    this.#painting = deps.painting;
    this.#surface = deps.surfaces[0];
    this.#draw = deps.surfaces.map((surface) => ({
      surface,
      button: button(`Draw on the ${surface.name}`),
    }));
    this.#line.setAttribute("class", "path-line");
    const cancel = button("Cancel");
    cancel.addEventListener("click", () => this.#saving?.abort());
    this.#work.append(this.#progress, cancel);
    Object.assign(this.#speed, { min: "-2", max: "2", step: "0.5", value: "0" });
    deps.container.append(
      make(
        "p",
        { className: "hint" },
        "Draw a line on the pad or the map: the style travels along it. Or move the " +
          "puck and add its places one by one.",
      ),
      make("div", { className: "buttons" }, ...this.#draw.map((draw) => draw.button), this.#add, this.#clear),
      make(
        "div",
        { className: "buttons" },
        this.#play,
        make("label", { className: "check" }, this.#loop, "There and back, again and again"),
      ),
      make(
        "div",
        { className: "setting" },
        make("label", { htmlFor: "path-speed" }, "Speed"),
        this.#speedShown,
        this.#speed,
      ),
      make("div", { className: "buttons" }, this.#webm, this.#gif),
      this.#work,
      this.#status,
    );
    this.#listen();
    this.#update();
    void canWriteWebm().then((can) => {
      this.#webm.hidden = !can;
    });
  }

  #listen(): void {
    for (const { surface, button } of this.#draw) {
      button.ariaPressed = "false";
      button.addEventListener("click", () => {
        if (this.#drawing) this.#drawing.abort();
        else void this.#startDrawing(surface);
      });
    }
    this.#add.addEventListener("click", () => {
      this.#points.push(this.#surface.point(this.#store.state));
      const count = this.#points.length;
      this.#say(count === 1 ? "The path starts here. Move the puck and add another place." : `${count} places.`);
      this.#update();
    });
    this.#clear.addEventListener("click", () => {
      this.#points = [];
      this.#say("");
      this.#update();
      this.#add.focus();
    });
    this.#play.addEventListener("click", () => {
      if (this.#playing) this.#playing.abort();
      else void this.#run();
    });
    this.#speed.addEventListener("input", () => {
      this.#update();
    });
    this.#loop.addEventListener("change", () => {
      this.#update();
    });
    this.#webm.addEventListener("click", () => void this.#save("webm"));
    this.#gif.addEventListener("click", () => void this.#save("gif"));
  }

  /** Takes the next line drawn on this plane as the path. */
  async #startDrawing(surface: Surface): Promise<void> {
    const drawing = new AbortController();
    this.#drawing = drawing;
    this.#update();
    try {
      await surface.prepare();
    } catch {
      // The map says what is wrong with it.
      drawing.abort();
    }
    if (drawing.signal.aborted) {
      this.#drawing = undefined;
      this.#update();
      return;
    }
    this.#surface = surface;
    this.#points = [];
    surface.interactive = false;
    // Not at an edge: on a phone the picture stays at the top, over what scrolls.
    surface.element.scrollIntoView({ block: "center" });
    const { overlay } = surface;
    overlay.classList.add("drawing");
    this.#say(`Now draw a line on the ${surface.name}. Escape ends it.`);
    this.#update();
    const { signal } = drawing;
    const move = (event: PointerEvent, live: boolean) => {
      const point = surface.pointAt(event);
      const last = this.#points.at(-1);
      if (!last || distance(last, point) >= STEP) this.#points.push(point);
      inPlace(surface.element, () => {
        this.#store.change(surface.at(this.#store.state, point, live), { live });
      });
      this.#drawLine();
    };
    overlay.addEventListener(
      "pointerdown",
      (event) => {
        event.preventDefault();
        overlay.setPointerCapture(event.pointerId);
        this.#points = [];
        move(event, true);
      },
      { signal },
    );
    overlay.addEventListener(
      "pointermove",
      (event) => {
        if (overlay.hasPointerCapture(event.pointerId)) move(event, true);
      },
      { signal },
    );
    overlay.addEventListener(
      "pointerup",
      (event) => {
        move(event, false);
        if (lengthOf(this.#points) < SHORTEST) {
          this.#points = [];
          this.#say("That was too short. Press, and draw before you let go.");
          this.#update();
          return;
        }
        this.#say("The path is drawn.");
        drawing.abort();
      },
      { signal },
    );
    document.addEventListener(
      "keydown",
      (event) => {
        if (event.key === "Escape") drawing.abort();
      },
      { signal },
    );
    signal.addEventListener("abort", () => {
      this.#drawing = undefined;
      surface.interactive = true;
      overlay.classList.remove("drawing");
      if (this.#points.length === 0) this.#say("");
      this.#update();
    });
  }

  /** Plays the path until it ends or is stopped; what is then chosen stays chosen. */
  async #run(): Promise<void> {
    const surface = this.#surface;
    surface.interactive = false;
    const playing = new AbortController();
    this.#playing = playing;
    this.#update();
    let fraction = 0;
    let last = performance.now();
    while (!playing.signal.aborted) {
      const now = await nextFrame();
      fraction += (now - last) / (this.#seconds * 1000);
      last = now;
      if (!this.#loop.checked && fraction >= 1) break;
      this.#moveTo(thereAndBack(fraction), true);
    }
    this.#moveTo(this.#loop.checked || fraction < 1 ? thereAndBack(fraction) : 1, false);
    this.#playing = undefined;
    surface.interactive = true;
    this.#update();
  }

  #moveTo(fraction: number, live: boolean): void {
    const point = along(this.#points, fraction);
    this.#store.change(this.#surface.at(this.#store.state, point, live), { live });
  }

  /** Paints the path frame by frame at full size and saves it as a file. */
  async #save(format: AnimationFormat): Promise<void> {
    const saving = new AbortController();
    this.#saving = saving;
    const { signal } = saving;
    const { state } = this.#store;
    const surface = this.#surface;
    const points = [...this.#points];
    const photo = state.photo?.image;
    const [seconds, loop] = [this.#seconds, this.#loop.checked];
    const frames = Math.max(2, Math.round((seconds * 1000) / FRAME_MS) * (loop ? 2 : 1));
    this.#progress.max = frames;
    this.#progress.value = 0;
    this.#update();
    const goOn = this.#painting.suspend();
    const started = performance.now();
    const paint = async (index: number) => {
      // A loop ends one frame short of its start.
      const fraction = loop ? thereAndBack((2 * index) / frames) : index / (frames - 1);
      const changes = surface.at(state, along(points, fraction), true);
      const embedding = await this.#painting.mixed({ ...state, ...changes }, { signal });
      const picture = await this.#painting.paint(embedding, {
        size: state.size,
        signal,
        ...(photo ? { photo } : {}),
      });
      this.#progress.value = index + 1;
      const left = ((performance.now() - started) / (index + 1)) * (frames - index - 1);
      this.#status.textContent = `Painting frame ${index + 1} of ${frames}, ${duration(left)} left`;
      return picture;
    };
    // Said once; the count is for the eyes.
    this.#status.ariaLive = "off";
    try {
      const blob = await writeAnimation(format, frames, paint, signal);
      saveFile(blob, `sfumato-path.${format}`);
      this.#say(`Saved ${frames} frames, ${fileSize(blob.size)}.`);
    } catch (error) {
      const cancelled = signal.aborted;
      this.#say(cancelled ? "Cancelled." : `The animation was not saved: ${messageOf(error)}`);
    } finally {
      this.#saving = undefined;
      goOn();
      this.#update();
    }
  }

  get #seconds(): number {
    return SECONDS / 2 ** this.#speed.valueAsNumber;
  }

  #say(text: string): void {
    this.#status.ariaLive = "polite";
    this.#status.textContent = text;
  }

  #update(): void {
    const busy = (this.#saving ?? this.#playing) !== undefined;
    const drawing = this.#drawing !== undefined;
    const drawn = lengthOf(this.#points) > 0;
    for (const { surface, button } of this.#draw) {
      button.disabled = busy || (drawing && surface !== this.#surface);
      button.ariaPressed = String(drawing && surface === this.#surface);
    }
    this.#add.disabled = busy || drawing;
    this.#clear.disabled = busy || drawing || this.#points.length === 0;
    this.#play.disabled = !drawn || drawing || this.#saving !== undefined;
    this.#play.textContent = this.#playing ? "Stop" : "Play";
    this.#webm.disabled = this.#gif.disabled = !drawn || drawing || busy;
    this.#work.hidden = this.#saving === undefined;
    const seconds = this.#seconds * (this.#loop.checked ? 2 : 1);
    this.#speedShown.value = `${Number((SECONDS / this.#seconds).toFixed(2))} ×, ${Number(seconds.toFixed(1))} s`;
    this.#speed.ariaValueText = this.#speedShown.value;
    this.#drawLine();
  }

  #drawLine(): void {
    this.#surface.overlay.append(this.#line);
    this.#line.setAttribute("points", this.#points.map(({ x, y }) => `${x},${y}`).join(" "));
  }
}

/** Up from 0 to 1 and down again, over and over. */
function thereAndBack(fraction: number): number {
  const turn = fraction % 2;
  return turn <= 1 ? turn : 2 - turn;
}

function duration(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  return seconds < 100 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

function fileSize(bytes: number): string {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} KB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function nextFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

function button(label: string, className = ""): HTMLButtonElement {
  return make("button", { type: "button", className }, label);
}
