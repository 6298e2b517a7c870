/** The loop from what the visitor chose to the picture: state → embeddings → painting. */

import { mean, mix, type Embedding } from "../engine/embedding";
import type { Engine } from "../engine/engine";
import { fade, keepColours, type Pixels } from "../engine/pixels";
import { EngineError, type Look, type Progress } from "../engine/protocol";
import { showMessage } from "./notice";
import type { ModelId, Photo, Store, StudioState, Style } from "./state";
import { PHOTO_KEY } from "./studio";
import type { Viewer } from "./viewer";
import { clamp, describeMix } from "./weights";

/** A painted picture that is shown. */
export interface Shown {
  /** What the visitor had chosen when it was painted. */
  readonly state: StudioState;
  /** The photo at the size painted. */
  readonly photo: Pixels;
  readonly picture: ImageData;
  /** Painted small while a gesture goes on. */
  readonly draft: boolean;
  /** The time it took, in milliseconds. */
  readonly duration: number;
}

/**
 * waiting: there is nothing to paint; draft: a small picture is shown and the gesture
 * goes on; painted: the picture shown is the one chosen, at full size.
 */
export type PaintingStatus = "waiting" | "painting" | "draft" | "painted" | "failed";

interface Wanted {
  readonly state: StudioState;
  readonly live: boolean;
}

/** A painting before colours are kept and the photo is laid over. */
interface Raw {
  readonly photo: Pixels;
  readonly embedding: Embedding;
  readonly strength: number;
  readonly picture: ImageData;
  readonly duration: number;
}

interface MixOptions {
  /** The shorter side, in pixels, of what is to be painted; by default the state's. */
  readonly size?: number;
  readonly signal?: AbortSignal | undefined;
}

/** How long choices must rest before they are painted at full size, in ms. */
const REST_MS = 60;
/** Even in the middle of a gesture, after this long a rest. */
const LONG_REST_MS = 900;
/** A draft should take this long, in ms: then dragging feels live. */
const DRAFT_MS = 90;
/** Drafts have from this to this many pixels on the shorter side. */
const DRAFT_SIZES = [64, 512] as const;
/** Running out of memory steps the size down, but not below this. */
const SMALLEST_STEP = 64;

/** Keeps the picture shown in step with the store; one painting is in flight at most. */
export class Painting {
  /**
   * The vectors that `state.directions` counts in, each one standard deviation long;
   * asked for once a direction is not 0.
   */
  directions: () => Promise<readonly Float32Array[]> = () => Promise.resolve([]);

  readonly #engine: Engine;
  readonly #store: Store;
  readonly #viewer: Viewer;
  readonly #onProgress: (progress: Progress) => void;
  readonly #onStatus: (status: PaintingStatus, error?: unknown) => void;
  readonly #listeners = new Set<(shown: Shown) => void>();
  /** The model that is loaded, and what it made of pictures and of mixes. */
  #model: ModelId | undefined;
  #embeddings = new WeakMap<ImageData, Map<string, Promise<Embedding>>>();
  #mixes = new WeakSet<Embedding>();
  readonly #fitted = new WeakMap<ImageData, Map<number, Pixels>>();
  #ready = false;
  #suspended = 0;
  #running = false;
  #wanted: Wanted | undefined;
  #shown: Shown | undefined;
  #raw: Raw | undefined;
  #resting: ReturnType<typeof setTimeout> | undefined;
  /** Fires when the visitor cancels. */
  #cancelled = new AbortController();
  /** Fires when the full-size painting in flight is not wanted any more. */
  #stale: AbortController | undefined;
  #draftSize = 128;
  /** The painting in flight, or the last one. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(deps: {
    engine: Engine;
    store: Store;
    viewer: Viewer;
    onProgress: (progress: Progress) => void;
    onStatus: (status: PaintingStatus, error?: unknown) => void;
  }) {
    this.#engine = deps.engine;
    this.#store = deps.store;
    this.#viewer = deps.viewer;
    this.#onProgress = deps.onProgress;
    this.#onStatus = deps.onStatus;
    let photo: Photo | undefined;
    deps.store.subscribe((state, live) => {
      if (state.photo && state.photo !== photo) {
        photo = state.photo;
        const { image, title } = photo;
        this.#viewer.showPhoto(this.#fit(image, state.size), title, image.width / image.height);
      }
      this.#want({ state, live });
    });
  }

  /** The last good picture. */
  get shown(): Shown | undefined {
    return this.#shown;
  }

  /** Calls back with every picture shown, drafts included. */
  subscribe(listener: (shown: Shown) => void): void {
    this.#listeners.add(listener);
  }

  /**
   * Leaves the picture as it is until the function returned is called; `paint` goes on
   * working meanwhile.
   */
  suspend(): () => void {
    this.#suspended++;
    this.#stale?.abort();
    return () => {
      this.#suspended--;
      void this.#run();
    };
  }

  /**
   * A model is loaded: from now on what is chosen is painted. What another model knew
   * of the styles is forgotten.
   */
  start(model: ModelId): void {
    if (model.version !== this.#model?.version) {
      this.#embeddings = new WeakMap();
      this.#mixes = new WeakSet();
    }
    this.#model = model;
    this.#ready = true;
    this.repaint();
  }

  /** Paints what is chosen, also if it was cancelled or failed before. */
  repaint(): void {
    this.#raw = undefined;
    this.#want({ state: this.#store.state, live: false });
  }

  /** Ends the painting in flight; the picture stays as it was. */
  cancel(): void {
    this.#wanted = undefined;
    this.#cancelled.abort();
    this.#cancelled = new AbortController();
  }

  /**
   * The embedding of a style at the state's style scale, for a picture whose shorter side
   * has `size` pixels, by default as the state has it; computed once and kept.
   * EngineError "input" for one that only another model can read.
   */
  async embeddingOf(style: Style, options: MixOptions = {}): Promise<Embedding> {
    if (style.model && style.model.version !== this.#model?.version) {
      throw new EngineError(
        "input",
        `“${style.title}” is known only in the numbers of the model ` +
          `“${style.model.name}”. Choose that model, or remove the style.`,
      );
    }
    if (style.embedding) return style.embedding;
    // The photo is no painting whose brush could be seen larger or smaller.
    const scale = style.key === PHOTO_KEY ? 1 : this.#store.state.styleScale;
    const { size = paintedSize(this.#store.state), signal } = options;
    const embeddings = await Promise.all(
      style.pictures.map((picture) => this.#embed(picture, { scale, size }, signal)),
    );
    return mean(embeddings);
  }

  /** The embedding that the state's mix, directions included, paints under. */
  async mixed(state: StudioState, options: MixOptions = {}): Promise<Embedding> {
    const mixes = this.#mixes;
    const mixed = await this.#mix(state, { size: paintedSize(state), ...options });
    mixes.add(mixed);
    return mixed;
  }

  async #mix(state: StudioState, options: MixOptions): Promise<Embedding> {
    const parts = await Promise.all(
      state.styles
        .filter((style) => style.weight > 0)
        .map(async (style) => [await this.embeddingOf(style, options), style.weight] as const),
    );
    const mixed = mix(parts);
    if (!state.directions.some(Boolean)) return mixed;
    const vectors = await this.directions();
    return mixed.map((value, index) =>
      vectors.reduce(
        (sum, vector, k) => sum + (state.directions[k] ?? 0) * (vector[index] ?? 0),
        value,
      ),
    );
  }

  /**
   * Paints the state's photo, or another picture, under what `mixed` gave, with the state's
   * strength, colours and fade; not shown. `size` is of the shorter side in pixels.
   */
  async paint(
    embedding: Embedding,
    options: { size: number; photo?: ImageData; signal?: AbortSignal },
  ): Promise<ImageData> {
    const { state } = this.#store;
    const image = options.photo ?? state.photo?.image;
    if (!image) throw new EngineError("input", "Choose a photo first.");
    const photo = this.#fit(image, options.size);
    const { strength } = state;
    const picture = await this.#stylize(photo, embedding, strength, options.signal);
    return finish(photo, picture, state);
  }

  #want(wanted: Wanted): void {
    this.#wanted = wanted;
    this.#stale?.abort();
    clearTimeout(this.#resting);
    if (this.#ready && this.#suspended === 0) this.#onStatus("painting");
    if (wanted.live) void this.#run();
    else this.#resting = setTimeout(() => void this.#run(), REST_MS);
  }

  async #run(): Promise<void> {
    if (this.#running || !this.#ready || this.#suspended > 0) return;
    this.#running = true;
    try {
      while (this.#wanted && this.#suspended === 0) {
        const wanted: Wanted = this.#wanted;
        this.#wanted = undefined;
        try {
          await this.#show(wanted);
        } catch (error) {
          // What failed for something that nobody wants any more does not matter.
          if (this.#isStale()) this.#wanted ??= wanted;
          else this.#fail(error, wanted.state);
        }
      }
    } finally {
      this.#running = false;
    }
    void this.#lookAhead();
  }

  async #show({ state, live }: Wanted): Promise<void> {
    const subject = state.photo;
    if (!subject || !state.styles.some((style) => style.weight > 0)) {
      this.#onStatus("waiting");
      return;
    }
    this.#onStatus("painting");
    const { signal } = this.#cancelled;
    let embedding = await this.mixed(state, { signal });
    let photo = this.#fit(subject.image, state.size);
    let raw = this.#known(photo, embedding, state.strength);
    if (!raw) {
      // Nothing is painted at full size that will not be looked at.
      if (!live && this.#isNewer()) return;
      if (live && this.#drafts(state)) {
        const size = this.#draftSize;
        photo = this.#fit(subject.image, size);
        embedding = await this.mixed(state, { size, signal });
      }
      raw = await this.#paintRaw(photo, embedding, state.strength, live ? "draft" : "full");
    }
    // Of another photo by now; of the same photo an older mix is worth a look.
    if (this.#store.state.photo !== subject) return;
    const full = this.#fit(subject.image, state.size);
    const draft = photo.width < full.width || photo.height < full.height;
    const picture = finish(photo, raw.picture, state);
    this.#shown = { state, photo, picture, draft, duration: raw.duration };
    this.#viewer.showPainted(this.#shown, subject.title, describeMix(state.styles));
    for (const listener of this.#listeners) listener(this.#shown);
    if (this.#isNewer()) return;
    this.#onStatus(draft ? "draft" : "painted");
    if (draft) {
      this.#resting = setTimeout(() => {
        this.#want({ state, live: false });
      }, LONG_REST_MS);
    }
  }

  async #paintRaw(
    photo: Pixels,
    embedding: Embedding,
    strength: number,
    kind: "draft" | "full",
  ): Promise<Raw> {
    const stale = new AbortController();
    if (kind === "full") this.#stale = stale;
    const started = performance.now();
    const again = this.#raw?.photo === photo;
    try {
      const signal = AbortSignal.any([stale.signal, this.#cancelled.signal]);
      const picture = await this.#stylize(photo, embedding, strength, signal);
      const duration = performance.now() - started;
      const raw = { photo, embedding, strength, picture, duration };
      // The first painting of a photo also looks at the photo: it says little.
      if (again) this.#adaptDraft(Math.min(photo.width, photo.height), duration);
      this.#raw = raw;
      return raw;
    } finally {
      this.#stale = undefined;
    }
  }

  /** Paints once the painting in flight is done, so that none displaces another. */
  #stylize(
    photo: Pixels,
    embedding: Embedding,
    strength: number,
    signal: AbortSignal | undefined,
  ): Promise<ImageData> {
    const next = this.#last.then(() => {
      signal?.throwIfAborted();
      // Its numbers mean something else to the model that is there now.
      if (!this.#mixes.has(embedding)) {
        throw new DOMException("Another model took over.", "AbortError");
      }
      return this.#engine.stylize(photo, embedding, {
        strength,
        signal,
        onProgress: this.#onProgress,
      });
    });
    this.#last = next.catch(() => undefined);
    return next;
  }

  #embed(
    picture: ImageData,
    look: Look,
    signal: AbortSignal | undefined,
  ): Promise<Embedding> {
    const known = this.#embeddings.get(picture) ?? new Map<string, Promise<Embedding>>();
    this.#embeddings.set(picture, known);
    const key = JSON.stringify(look);
    let embedding = known.get(key);
    if (!embedding) {
      embedding = this.#engine
        .embed(picture, { ...look, signal, onProgress: this.#onProgress })
        .catch((error: unknown) => {
          known.delete(key);
          throw error;
        });
      known.set(key, embedding);
    }
    return embedding;
  }

  /** Looks at the styles that are not in the mix yet, so that dragging need not wait. */
  async #lookAhead(): Promise<void> {
    try {
      const { state } = this.#store;
      const full = paintedSize(state);
      for (const size of this.#drafts(state) ? [full, this.#draftSize] : [full]) {
        for (const style of state.styles) {
          if (this.#running || !this.#ready) return;
          await this.embeddingOf(style, { size });
        }
      }
    } catch {
      // It is told when the style is needed.
    }
  }

  /** The photo at a size of the shorter side in pixels; never enlarged. */
  #fit(image: ImageData, size: number): Pixels {
    if (Math.min(image.width, image.height) <= size) return image;
    const known = this.#fitted.get(image) ?? new Map<number, Pixels>();
    this.#fitted.set(image, known);
    let pixels = known.get(size);
    if (!pixels) {
      pixels = scaled(image, size);
      known.set(size, pixels);
      const [oldest] = known.keys();
      if (known.size > 3 && oldest !== undefined) known.delete(oldest);
    }
    return pixels;
  }

  #known(photo: Pixels, embedding: Embedding, strength: number): Raw | undefined {
    const raw = this.#raw;
    const same =
      raw?.photo === photo &&
      raw.strength === strength &&
      raw.embedding.every((value, index) => value === embedding[index]);
    return same ? raw : undefined;
  }

  /** Chooses the draft size by what a painting of this size took. */
  #adaptDraft(size: number, duration: number): void {
    const fitting = size * Math.sqrt(DRAFT_MS / Math.max(duration, 1));
    const next = clamp(16 * Math.round(fitting / 16), ...DRAFT_SIZES);
    // Another size means looking at the photo again: only where it makes a difference.
    if (Math.abs(Math.log(next / this.#draftSize)) > 0.3) this.#draftSize = next;
  }

  /** Whether this state is painted small while a gesture goes on. */
  #drafts(state: StudioState): boolean {
    return this.#draftSize < 0.8 * paintedSize(state);
  }

  #isNewer(): boolean {
    return this.#wanted !== undefined;
  }

  #isStale(): boolean {
    return this.#isNewer() || this.#suspended > 0;
  }

  #fail(error: unknown, state: StudioState): void {
    if (error instanceof EngineError && error.code === "crash") this.#ready = false;
    const half = Math.round(state.size / 2);
    if (error instanceof EngineError && error.code === "memory" && half >= SMALLEST_STEP) {
      showMessage(
        `There is not enough memory for ${state.size} px, so it is painted at ${half} px.`,
      );
      this.#store.change({ size: half });
      return;
    }
    this.#onStatus("failed", error);
  }
}

/** The shorter side, in pixels, of the picture that the state asks for. */
export function paintedSize({ photo, size }: StudioState): number {
  return photo ? Math.min(size, photo.image.width, photo.image.height) : size;
}

/** Colours kept and the photo laid over, as the state says. */
function finish(photo: Pixels, painted: ImageData, state: StudioState): ImageData {
  const coloured = state.keepColours ? keepColours(photo, painted) : painted;
  return state.fade > 0 ? fade(photo, coloured, state.fade) : coloured;
}

/** By the browser's own scaling, which is fast enough for the page's main thread. */
function scaled(image: ImageData, size: number): Pixels {
  const scale = size / Math.min(image.width, image.height);
  const source = new OffscreenCanvas(image.width, image.height);
  source.getContext("2d")?.putImageData(image, 0, 0);
  const width = Math.max(size, Math.round(image.width * scale));
  const height = Math.max(size, Math.round(image.height * scale));
  const context = new OffscreenCanvas(width, height).getContext("2d", {
    willReadFrequently: true,
  });
  if (!context) throw new EngineError("memory", "There is no memory left for the photo.");
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}
