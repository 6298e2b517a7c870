/** What the visitor has chosen: one immutable state, with undo and redo. */

import type { Embedding } from "../engine/embedding";
import type { Manifest } from "../engine/protocol";

/** Which model numbers are of. */
export type ModelId = Pick<Manifest, "name" | "version">;

export interface Point {
  /** 0 is left, 1 is right. */
  readonly x: number;
  /** 0 is the top, 1 is the bottom. */
  readonly y: number;
}

/** A photo, and a style's pictures, never change once they are decoded. */
export interface Photo {
  readonly key: string;
  readonly title: string;
  readonly image: ImageData;
}

export interface Style {
  readonly key: string;
  readonly title: string;
  /** Address of a small picture of it. */
  readonly thumbnail: string;
  /** Its embedding is the mean over them. Empty for one that came as an embedding. */
  readonly pictures: readonly ImageData[];
  /** Given for a style that came without pictures: by a link, a preset or the map. */
  readonly embedding?: Embedding;
  /** The model that the given embedding is of: to others it says nothing. */
  readonly model?: ModelId;
  /** Its share of the mix, 0 to 1. The shares of all styles sum to 1. */
  readonly weight: number;
  /** A locked share stays as it is when others change. */
  readonly locked: boolean;
  /** Where its thumbnail lies on the pad. */
  readonly position: Point;
}

export interface StudioState {
  readonly photo: Photo | undefined;
  readonly styles: readonly Style[];
  /** Where the pad's puck lies. */
  readonly puck: Point;
  /** 0 paints under the photo's own embedding, 1 under the mix, up to 1.5. */
  readonly strength: number;
  /** How much of the photo's pixels is laid over the painting, 0 to 1. */
  readonly fade: number;
  /** How large styles are seen before they are embedded: 1 is as they are. */
  readonly styleScale: number;
  readonly keepColours: boolean;
  /** Offsets along the style space's directions of largest variance, see explore. */
  readonly directions: readonly number[];
  /** Of the painting's shorter side, in pixels. */
  readonly size: number;
}

/** As many steps can be undone; each keeps its photo and pictures in memory. */
const LONGEST_PAST = 100;

/**
 * Holds the state. A change is `live` while a gesture goes on (a drag, a slider being
 * moved) and settles with the first that is not: undo goes from settled to settled.
 */
export class Store {
  #state: StudioState;
  #settled: StudioState;
  #past: StudioState[] = [];
  #future: StudioState[] = [];
  readonly #listeners = new Set<(state: StudioState, live: boolean) => void>();

  constructor(initial: StudioState) {
    this.#state = initial;
    this.#settled = initial;
  }

  get state(): StudioState {
    return this.#state;
  }

  get canUndo(): boolean {
    return this.#past.length > 0;
  }

  get canRedo(): boolean {
    return this.#future.length > 0;
  }

  /** Calls back after every change. */
  subscribe(listener: (state: StudioState, live: boolean) => void): void {
    this.#listeners.add(listener);
  }

  change(changes: Partial<StudioState>, { live = false } = {}): void {
    this.#state = { ...this.#state, ...changes };
    if (!live) {
      this.#past.push(this.#settled);
      if (this.#past.length > LONGEST_PAST) this.#past.shift();
      this.#future = [];
      this.#settled = this.#state;
    }
    this.#tell(live);
  }

  /** Changes what the visitor did not: no step that could be undone. */
  set(changes: Partial<StudioState>): void {
    this.#state = { ...this.#state, ...changes };
    this.#settled = { ...this.#settled, ...changes };
    this.#tell(false);
  }

  undo(): void {
    this.#travel(this.#past, this.#future);
  }

  redo(): void {
    this.#travel(this.#future, this.#past);
  }

  #travel(from: StudioState[], to: StudioState[]): void {
    const state = from.pop();
    if (!state) return;
    to.push(this.#settled);
    this.#state = this.#settled = state;
    this.#tell(false);
  }

  #tell(live: boolean): void {
    for (const listener of this.#listeners) listener(this.#state, live);
  }
}
