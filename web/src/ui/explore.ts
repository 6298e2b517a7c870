/** The map of the style space, and its directions of largest variance. */

import { mix, type Embedding } from "../engine/embedding";
import type { Engine } from "../engine/engine";
import type { StyleSpace } from "../engine/projection";
import { make } from "./dom";
import { sampleUrl, type Sample } from "./gallery";
import { messageOf } from "./notice";
import { paintedSize, type Painting } from "./painting";
import { inPlace, pathOverlay, type Surface } from "./path";
import { sampleStyle } from "./pictures";
import type { Ready } from "./sharing";
import type { ModelId, Point, Store, StudioState, Style } from "./state";
import { PHOTO_KEY } from "./studio";
import { blend } from "./thumbnail";
import { clamp, freePlace, percent, weightsAt, withWeight } from "./weights";

/** Key of the style that the map's puck stands for. */
export const MAP_KEY = "map";
/** How many directions get a slider, and how far it goes, in standard deviations. */
const DIRECTIONS = 3;
const FARTHEST = 2.5;
/** Between the outermost styles and the edge of the map. */
const MARGIN = 0.1;
/** The map's width over its height. */
const ASPECT = 4 / 3;
/** Styles are moved until they are this far apart, if there is room, in its widths. */
const APART = 0.15;
const ROUNDS = 60;
/** How many neighbours are named. */
const NAMED = 3;

/** A style whose place on the map is known. */
interface Known {
  readonly key: string;
  readonly title: string;
  readonly embedding: Embedding;
  /** In standard deviations along the directions. */
  readonly coordinates: readonly number[];
  readonly image: HTMLImageElement;
  position: Point;
}

type Axis = (coordinate: number | undefined) => number;

export class Explore {
  /** The map, to draw a path on. */
  readonly surface: Surface;
  readonly #store: Store;
  readonly #engine: Engine;
  readonly #painting: Painting;
  readonly #ready: Promise<Ready>;
  readonly #map = make("div", { className: "map", role: "group", ariaLabel: "Map of styles" });
  readonly #puck = make("span", { className: "map-puck", ariaHidden: "true" });
  readonly #across = range("Left to right", 0, 100, 1);
  readonly #down = range("Top to bottom", 0, 100, 1);
  readonly #nearest = make("p", { className: "nearest" });
  readonly #status = make("p", { className: "hint", role: "status" });
  readonly #sliders = make("div", { className: "directions" });
  readonly #again = make("button", { type: "button", hidden: true }, "Try again");
  readonly #reset = make("button", { type: "button", disabled: true }, "Back to the middle");
  readonly #directions: { input: HTMLInputElement; output: HTMLOutputElement }[] = [];
  #space: Promise<StyleSpace> | undefined;
  /** Fires when another model takes over. */
  #outdated = new AbortController();
  /** An embedding's coordinates along the directions, once they are known. */
  #project: ((embedding: Embedding) => number[]) | undefined;
  /** The model whose map it is. */
  #model: ModelId | undefined;
  #known: Known[] = [];
  /** Own styles that are being looked at or are on the map. */
  readonly #own = new Map<string, Known | "coming">();
  #point: Point = { x: 0.5, y: 0.5 };
  /** Coordinates along the first two directions to places on the map. */
  #axes: readonly [Axis, Axis] = [centred, centred];
  /** Where on the map an embedding was mixed: undo brings the puck back there. */
  readonly #places = new WeakMap<Embedding, Point>();

  constructor(deps: {
    container: HTMLElement;
    store: Store;
    engine: Engine;
    painting: Painting;
    ready: Promise<Ready>;
  }) {
    this.#store = deps.store;
    this.#engine = deps.engine;
    this.#painting = deps.painting;
    this.#ready = deps.ready;
    const overlay = pathOverlay();
    this.surface = {
      name: "map",
      element: this.#map,
      overlay,
      interactive: true,
      pointAt: (event) => this.#pointAt(event),
      prepare: async () => {
        const section = this.#map.closest("details");
        if (section) section.open = true;
        await this.#opened();
      },
      point: () => this.#point,
      at: (state, point, live) => this.#at(state, point, live),
    };
    this.#map.append(this.#puck, overlay, this.#across, this.#down);
    this.#map.hidden = true;
    this.#sliders.hidden = true;
    this.#sliders.append(
      make("p", { className: "hint" }, "The ways in which the gallery’s styles differ most:"),
    );
    deps.container.append(
      make(
        "p",
        { className: "hint" },
        "Styles that look alike lie near each other. Press or drag anywhere: between " +
          "styles you get one that nobody has painted yet.",
      ),
      this.#status,
      this.#again,
      this.#map,
      this.#nearest,
      this.#sliders,
    );
    this.#listen(deps.container.closest("details"));
  }

  /**
   * The vectors that `state.directions` counts in, one standard deviation long. They
   * come from the gallery alone, so that a shared mix means the same everywhere.
   */
  readonly directions = async (): Promise<readonly Float32Array[]> => {
    const { directions, deviations } = await this.#opened();
    return directions.map((direction, index) =>
      direction.map((value) => value * (deviations[index] ?? 0)),
    );
  };

  /** Another model is there, to which styles look alike in other ways. */
  forget(): void {
    this.#outdated.abort();
    this.#outdated = new AbortController();
    this.#space = undefined;
    for (const { image } of this.#known) image.remove();
    this.#known = [];
    this.#own.clear();
    for (const { input } of this.#directions.splice(0)) input.parentElement?.remove();
    this.#map.hidden = this.#sliders.hidden = true;
    this.#openIfShown();
  }

  #openIfShown(): void {
    if (this.#map.closest("details")?.open) void this.#opened().catch(() => undefined);
  }

  #listen(section: HTMLDetailsElement | null): void {
    const open = () => void this.#opened().catch(() => undefined);
    section?.addEventListener("toggle", () => {
      this.#openIfShown();
    });
    this.#openIfShown();
    this.#again.addEventListener("click", open);
    const move = (point: Point, live: boolean) => {
      inPlace(this.#map, () => {
        this.#store.change(this.#at(this.#store.state, point, live), { live });
      });
    };
    const drag = (event: PointerEvent) => {
      if (this.#map.hasPointerCapture(event.pointerId)) move(this.#pointAt(event), true);
    };
    this.#map.addEventListener("pointerdown", (event) => {
      if (!this.surface.interactive || event.button !== 0 || this.#known.length === 0) return;
      // The keyboard goes on where the pointer leaves off.
      this.#across.focus({ preventScroll: true });
      event.preventDefault();
      this.#map.setPointerCapture(event.pointerId);
      drag(event);
    });
    this.#map.addEventListener("pointermove", drag);
    this.#map.addEventListener("lostpointercapture", () => {
      move(this.#point, false);
    });
    for (const input of [this.#across, this.#down]) {
      const moved = () => ({
        x: this.#across.valueAsNumber / 100,
        y: this.#down.valueAsNumber / 100,
      });
      input.addEventListener("input", () => {
        move(moved(), true);
      });
      input.addEventListener("change", () => {
        move(moved(), false);
      });
    }
    this.#reset.addEventListener("click", () => {
      this.#store.change({ directions: [] });
      this.#directions[0]?.input.focus();
    });
    this.#store.subscribe((state) => {
      this.#show(state);
    });
  }

  /** The style space, made at the first call. */
  #opened(): Promise<StyleSpace> {
    this.#again.hidden = true;
    const { signal } = this.#outdated;
    return (this.#space ??= this.#look(signal).catch((error: unknown) => {
      if (signal.aborted) throw error;
      this.#space = undefined;
      this.#again.hidden = false;
      this.#status.textContent = `The map could not be made: ${messageOf(error)}`;
      throw error;
    }));
  }

  /** Looks at every style of the gallery and lays out the map. */
  async #look(signal: AbortSignal): Promise<StyleSpace> {
    this.#status.textContent = "The map appears once the model is loaded.";
    const { manifest, samples: all } = await this.#ready;
    const samples = all.filter(({ kind }) => kind === "style");
    const seen: { sample: Sample; embedding: Embedding }[] = [];
    const size = paintedSize(this.#store.state);
    for (const sample of samples) {
      this.#status.textContent = `Looking at the gallery’s styles: ${seen.length + 1} of ${samples.length}`;
      const { pictures } = await sampleStyle(sample);
      const [picture] = pictures;
      if (picture) seen.push({ sample, embedding: await this.#engine.embed(picture, { size }) });
      signal.throwIfAborted();
    }
    // Its algebra is of use only here.
    const { principal, project } = await import("../engine/projection");
    const space = principal(
      seen.map(({ embedding }) => embedding),
      DIRECTIONS,
    );
    this.#model = manifest;
    this.#project = (embedding) => project(space, embedding);
    for (const { sample, embedding } of seen) {
      this.#add(sample.file, sample.title, sampleUrl(sample), embedding);
    }
    this.#status.textContent = "";
    this.#map.hidden = false;
    this.#addSliders(space);
    this.#layOut();
    this.#show(this.#store.state);
    return space;
  }

  #add(key: string, title: string, src: string, embedding: Embedding): Known {
    const image = make("img", { src, alt: "", title, draggable: false });
    const coordinates = this.#project?.(embedding) ?? [];
    const known = { key, title, embedding, coordinates, image, position: { x: 0.5, y: 0.5 } };
    this.#known.push(known);
    this.#map.prepend(image);
    return known;
  }

  /** Spreads the styles over the map: the outermost lie on its margins. */
  #layOut(): void {
    const axis = (index: number) => {
      const values = this.#known.map(({ coordinates }) => coordinates[index] ?? 0);
      const low = Math.min(...values);
      const spread = Math.max(...values) - low || 1;
      return (value = 0) => MARGIN + (1 - 2 * MARGIN) * ((value - low) / spread);
    };
    this.#axes = [axis(0), axis(1)];
    for (const known of this.#known) known.position = this.#placeOf(known.coordinates);
    pushApart(this.#known);
    for (const { image, position } of this.#known) put(image, position);
  }

  #placeOf([across, up]: readonly number[]): Point {
    const [x, y] = this.#axes;
    return { x: clamp(x(across), 0, 1), y: clamp(1 - y(up), 0, 1) };
  }

  #addSliders(space: StyleSpace): void {
    for (const index of space.directions.keys()) {
      const sorted = this.#known.toSorted(
        (a, b) => (a.coordinates[index] ?? 0) - (b.coordinates[index] ?? 0),
      );
      const [low, high] = [sorted[0]?.title ?? "", sorted.at(-1)?.title ?? ""];
      const input = range(`From ${low} to ${high}`, -FARTHEST, FARTHEST, 0.1);
      input.className = "";
      const output = make("output", { ariaLive: "off" });
      const change = (live: boolean) => {
        const directions = this.#directions.map((slider) => slider.input.valueAsNumber);
        this.#store.change({ directions }, { live });
      };
      input.addEventListener("input", () => {
        change(true);
      });
      input.addEventListener("change", () => {
        change(false);
      });
      this.#directions.push({ input, output });
      this.#sliders.append(
        make("div", { className: "direction" }, make("span", {}, low), output, make("span", {}, high), input),
      );
    }
    this.#sliders.append(this.#reset);
    this.#sliders.hidden = space.directions.length === 0;
  }

  /** What moving the map's puck changes: its style takes all that is not locked. */
  #at(state: StudioState, point: Point, live: boolean): Partial<StudioState> {
    const shares = this.#sharesAt(point);
    if (shares.length === 0) return {};
    const [first, second] = shares;
    const layers = shares.map(({ known, share }) => ({ image: known.image, share }));
    const embedding = mix(shares.map(({ known, share }) => [known.embedding, share]));
    this.#places.set(embedding, point);
    const old = state.styles.find(({ key }) => key === MAP_KEY);
    const others = state.styles.filter(({ key }) => key !== MAP_KEY);
    const style: Style = {
      key: MAP_KEY,
      title:
        second && first
          ? `Between ${first.known.title} and ${second.known.title}`
          : `Like ${first?.known.title ?? ""}`,
      // Not a new picture for every move.
      thumbnail: live && old ? old.thumbnail : blend(layers),
      pictures: [],
      embedding,
      ...(this.#model && { model: this.#model }),
      weight: 0,
      locked: false,
      position: old?.position ?? freePlace(others),
    };
    return { styles: withWeight([...others, style], MAP_KEY, 1), puck: style.position };
  }

  /** The share of every known style that has one here, largest first. */
  #sharesAt(point: Point): { known: Known; share: number }[] {
    const free = { weight: 0, locked: false };
    const weights = weightsAt(point, this.#known.map(({ position }) => ({ ...free, position })));
    return this.#known
      .map((known, index) => ({ known, share: weights[index] ?? 0 }))
      .filter(({ share }) => share > 0)
      .sort((a, b) => b.share - a.share);
  }

  #pointAt({ clientX, clientY }: { clientX: number; clientY: number }): Point {
    const { left, top, width, height } = this.#map.getBoundingClientRect();
    return { x: clamp((clientX - left) / width, 0, 1), y: clamp((clientY - top) / height, 0, 1) };
  }

  #show(state: StudioState): void {
    this.#showDirections(state);
    if (this.#known.length === 0) return;
    void this.#showOwn(state);
    const style = state.styles.find(({ key }) => key === MAP_KEY);
    if (style?.embedding) this.#point = this.#whereMixed(style.embedding);
    put(this.#puck, this.#point);
    const painted = (style?.weight ?? 0) > 0;
    this.#map.classList.toggle("in-use", painted);
    const named = this.#sharesAt(this.#point)
      .slice(0, NAMED)
      .map(({ known, share }) => `${known.title} ${percent(share)}`)
      .join(", ");
    this.#nearest.textContent = painted ? `Nearest: ${named}` : "";
    for (const [input, value] of [
      [this.#across, this.#point.x],
      [this.#down, this.#point.y],
    ] as const) {
      input.value = String(Math.round(value * 100));
      input.ariaValueText = named;
    }
  }

  /** Where on the map this embedding was mixed, or, if elsewhere, where it belongs. */
  #whereMixed(embedding: Embedding): Point {
    const place = this.#places.get(embedding);
    if (place || !this.#project) return place ?? this.#point;
    return this.#placeOf(this.#project(embedding));
  }

  #showDirections({ directions }: StudioState): void {
    this.#directions.forEach(({ input, output }, index) => {
      const offset = directions[index] ?? 0;
      input.value = String(offset);
      output.value = offset === 0 ? "0" : `${offset > 0 ? "+" : "−"}${Math.abs(offset).toFixed(1)}`;
      input.ariaValueText = output.value;
    });
    this.#reset.disabled = !directions.some((offset) => offset !== 0);
  }

  /** Puts the visitor's own styles on the map, and takes those off that are gone. */
  async #showOwn({ styles }: StudioState): Promise<void> {
    const own = styles.filter(
      ({ key, pictures, embedding }) =>
        key !== MAP_KEY &&
        key !== PHOTO_KEY &&
        (pictures.length > 0 || embedding !== undefined) &&
        (this.#own.has(key) || !this.#known.some((known) => known.key === key)),
    );
    const keys = new Set(own.map(({ key }) => key));
    for (const [key, known] of this.#own) {
      if (keys.has(key) || known === "coming") continue;
      this.#own.delete(key);
      this.#known = this.#known.filter((other) => other !== known);
      known.image.remove();
      this.#layOut();
    }
    for (const style of own) {
      if (this.#own.has(style.key)) continue;
      this.#own.set(style.key, "coming");
      try {
        const embedding = await this.#painting.embeddingOf(style);
        const known = this.#add(style.key, style.title, style.thumbnail, embedding);
        this.#own.set(style.key, known);
        this.#layOut();
        this.#show(this.#store.state);
      } catch {
        // The painting says what is wrong with the style; the map does without.
        this.#own.delete(style.key);
      }
    }
  }
}

/** Moves those that would cover each other apart, a little at a time. */
function pushApart(known: readonly Known[]): void {
  for (let round = 0; round < ROUNDS; round++) {
    for (const [index, one] of known.entries()) {
      for (const other of known.slice(index + 1)) {
        const x = other.position.x - one.position.x;
        const y = (other.position.y - one.position.y) / ASPECT;
        const apart = Math.hypot(x, y);
        if (apart >= APART) continue;
        // Two of the same place part sideways.
        const step = (APART - apart) / 4;
        const [dx, dy] = apart > 0 ? [(x / apart) * step, (y / apart) * step * ASPECT] : [step, 0];
        one.position = inside(one.position.x - dx, one.position.y - dy);
        other.position = inside(other.position.x + dx, other.position.y + dy);
      }
    }
  }
}

function inside(x: number, y: number): Point {
  return { x: clamp(x, MARGIN, 1 - MARGIN), y: clamp(y, MARGIN, 1 - MARGIN) };
}

/** Places nothing before the map is laid out. */
function centred(): number {
  return 0.5;
}

function range(label: string, min: number, max: number, step: number): HTMLInputElement {
  const input = make("input", { type: "range", className: "visually-hidden", ariaLabel: label });
  // In this order: the value is brought between the others when it is set.
  Object.assign(input, { min: String(min), max: String(max), step: String(step) });
  return input;
}

function put(element: HTMLElement, { x, y }: Point): void {
  element.style.left = `${x * 100}%`;
  element.style.top = `${y * 100}%`;
}
