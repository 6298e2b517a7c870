import type { Embedding } from "../engine/embedding";
import { byId, make } from "./dom";

/** A style that was chosen, with its weight of 0 to 100 in the mix. */
export interface Style {
  readonly title: string;
  readonly image: ImageData;
  readonly weight: number;
  /** Kept once it is known: looking at a style is needed only once. */
  embedding?: Promise<Embedding>;
}

interface Row extends Style {
  readonly key: string;
  readonly element: HTMLLIElement;
  readonly slider: HTMLInputElement;
  readonly share: HTMLOutputElement;
}

/** The chosen styles, each with a slider for its weight. */
export class StyleList {
  readonly #list = byId("styles", HTMLUListElement);
  readonly #hint = byId("no-styles", HTMLParagraphElement);
  readonly #changed: () => void;
  #rows: Row[] = [];

  /** `changed` is called whenever a style or a weight is. */
  constructor(changed: () => void) {
    this.#changed = changed;
  }

  /** The styles that take part in the mix. */
  get active(): readonly Style[] {
    return this.#rows.filter((row) => row.weight > 0);
  }

  /** The mix in words: "Woodcut 60 %, Embers 40 %". */
  get description(): string {
    return this.#rows
      .filter((row) => row.weight > 0)
      .map((row) => `${row.title} ${row.share.value}`)
      .join(", ");
  }

  has(key: string): boolean {
    return this.#rows.some((row) => row.key === key);
  }

  /** Adds a style; `key` tells it from the others, `thumbnail` is an address. */
  add(key: string, title: string, image: ImageData, thumbnail: string): void {
    const slider = make("input", { type: "range", max: "100", value: "100" });
    const share = make("output", { ariaLive: "off" });
    const remove = make("button", { type: "button", className: "remove" }, "×");
    remove.ariaLabel = `Remove ${title}`;
    const element = make(
      "li",
      { className: "style" },
      make("img", { src: thumbnail, alt: "" }),
      make("label", {}, make("span", { className: "title" }, title), slider),
      share,
      remove,
    );
    const row: Row = {
      key,
      title,
      image,
      element,
      slider,
      share,
      get weight() {
        return slider.valueAsNumber;
      },
    };
    slider.addEventListener("input", () => {
      this.#update();
    });
    remove.addEventListener("click", () => {
      this.remove(key);
      (this.#rows.at(-1)?.slider ?? byId("style-files", HTMLInputElement)).focus();
    });
    this.#rows.push(row);
    this.#list.append(element);
    this.#update();
  }

  remove(key: string): void {
    for (const row of this.#rows) if (row.key === key) row.element.remove();
    this.#rows = this.#rows.filter((row) => row.key !== key);
    this.#update();
  }

  #update(): void {
    const total = this.#rows.reduce((sum, row) => sum + row.weight, 0);
    for (const row of this.#rows) {
      const share = `${total > 0 ? Math.round((row.weight / total) * 100) : 0} %`;
      row.share.value = share;
      row.slider.ariaValueText = share;
    }
    this.#hint.hidden = total > 0;
    this.#changed();
  }
}
