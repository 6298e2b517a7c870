import { LARGEST_SIZE } from "./decode";
import { byId, make } from "./dom";
import type { Store, StudioState } from "./state";

/** No painting is smaller than this on its shorter side, in pixels. */
const SMALLEST_SIZE = 16;

/** Strength, fade, style scale, colours and size: each control and its value. */
export class Settings {
  readonly #store: Store;
  readonly #size = byId("size", HTMLSelectElement);

  constructor(store: Store) {
    this.#store = store;
    this.#bindRange("strength", "strength", (value) => `${Math.round(value)} %`);
    this.#bindRange("fade", "fade", (value) => `${Math.round(value)} %`);
    this.#bindRange("style-scale", "styleScale", (value) => `${(value / 100).toFixed(2)} ×`);
    const colours = byId("keep-colours", HTMLInputElement);
    colours.addEventListener("change", () => {
      store.change({ keepColours: colours.checked });
    });
    this.#size.addEventListener("change", () => {
      store.change({ size: Number(this.#size.value) });
    });
    const render = ({ keepColours, size }: StudioState) => {
      colours.checked = keepColours;
      this.#showSize(size);
    };
    store.subscribe(render);
    render(store.state);
  }

  /** Whether the page can paint at this size, in pixels of the shorter side. */
  static isSize(pixels: number): boolean {
    return Number.isInteger(pixels) && pixels >= SMALLEST_SIZE && pixels <= LARGEST_SIZE;
  }

  /** Binds a range in percent to a number of the state, both ways. */
  #bindRange(
    id: string,
    name: "strength" | "fade" | "styleScale",
    describe: (percentage: number) => string,
  ): void {
    const range = byId(id, HTMLInputElement);
    const output = byId(`${id}-value`, HTMLOutputElement);
    const take = (live: boolean) => () => {
      this.#store.change({ [name]: range.valueAsNumber / 100 }, { live });
    };
    range.addEventListener("input", take(true));
    range.addEventListener("change", take(false));
    const render = (state: StudioState) => {
      range.value = String(Math.round(state[name] * 100));
      output.value = range.ariaValueText = describe(range.valueAsNumber);
    };
    this.#store.subscribe(render);
    render(this.#store.state);
  }

  #showSize(pixels: number): void {
    const value = String(pixels);
    const options = Array.from(this.#size.options);
    if (!options.some((option) => option.value === value)) {
      const next = options.find((option) => Number(option.value) > pixels) ?? null;
      this.#size.insertBefore(make("option", { value }, `${pixels} px`), next);
    }
    this.#size.value = value;
  }
}
