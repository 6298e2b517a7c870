import { byId, icon, make } from "./dom";
import type { Store, Style } from "./state";
import { changeStyle, removeStyle } from "./studio";
import { percentages, puckFor, withWeight } from "./weights";

interface Row {
  readonly element: HTMLLIElement;
  readonly image: HTMLImageElement;
  readonly name: HTMLInputElement;
  readonly slider: HTMLInputElement;
  readonly number: HTMLInputElement;
  readonly lock: HTMLButtonElement;
  readonly remove: HTMLButtonElement;
}

/** The chosen styles, each with its share of the mix: a range, a number and a lock. */
export class StyleList {
  readonly #list = byId("styles", HTMLUListElement);
  readonly #store: Store;
  readonly #rows = new Map<string, Row>();

  constructor(store: Store) {
    this.#store = store;
    store.subscribe(({ styles }) => {
      this.#render(styles);
    });
    this.#render(store.state.styles);
  }

  #render(styles: readonly Style[]): void {
    const keys = new Set(styles.map(({ key }) => key));
    for (const [key, { element }] of this.#rows) {
      if (keys.has(key)) continue;
      element.remove();
      this.#rows.delete(key);
    }
    const shares = percentages(styles);
    for (const [index, style] of styles.entries()) {
      const share = String(shares[index]);
      const row = this.#rows.get(style.key) ?? this.#makeRow(style.key);
      this.#rows.set(style.key, row);
      const { element, image, name, slider, number, lock, remove } = row;
      if (this.#list.children[index] !== element) {
        this.#list.insertBefore(element, this.#list.children[index] ?? null);
      }
      const { title, thumbnail, weight, locked } = style;
      if (image.getAttribute("src") !== thumbnail) image.src = thumbnail;
      if (document.activeElement !== name) name.value = title;
      name.title = title;
      slider.value = String(weight * 100);
      slider.ariaLabel = title;
      slider.ariaValueText = `${share} %`;
      // What a lone style has to share is all of it.
      slider.disabled = number.disabled = locked || styles.length === 1;
      if (document.activeElement !== number) number.value = share;
      number.ariaLabel = `Share of ${title}, percent`;
      lock.ariaPressed = String(locked);
      lock.ariaLabel = `Lock ${title}`;
      lock.title = locked ? "Let this share change" : "Keep this share as it is";
      remove.ariaLabel = `Remove ${title}`;
      element.classList.toggle("idle", weight === 0);
    }
  }

  #makeRow(key: string): Row {
    const image = make("img", { alt: "" });
    const name = make("input", { type: "text", className: "title", maxLength: 60 });
    name.ariaLabel = "Name of the style";
    name.spellcheck = false;
    const slider = make("input", { type: "range", max: "100", step: "any" });
    const number = make("input", { type: "number", min: "0", max: "100", step: "1" });
    const lock = make("button", { type: "button", className: "quiet lock" });
    lock.append(icon("lock"), icon("unlock"));
    const remove = make("button", { type: "button", className: "quiet" }, icon("remove"));
    const element = make(
      "li",
      { className: "style" },
      image,
      name,
      slider,
      make("span", { className: "number" }, number, make("span", { ariaHidden: "true" }, "%")),
      lock,
      remove,
    );
    this.#listen(key, { element, image, name, slider, number, lock, remove });
    return { element, image, name, slider, number, lock, remove };
  }

  #listen(key: string, { name, slider, number, lock, remove }: Row): void {
    const weigh = (weight: number, live: boolean) => {
      const styles = withWeight(this.#store.state.styles, key, weight);
      this.#store.change({ styles, puck: puckFor(styles) }, { live });
    };
    slider.addEventListener("input", () => {
      weigh(slider.valueAsNumber / 100, true);
    });
    slider.addEventListener("change", () => {
      weigh(slider.valueAsNumber / 100, false);
    });
    // Whole steps of a range that has none, so that a drag is smooth and a key sure.
    slider.addEventListener("keydown", (event) => {
      const steps: Record<string, number> = {
        ArrowLeft: -1,
        ArrowDown: -1,
        ArrowRight: 1,
        ArrowUp: 1,
        PageDown: -10,
        PageUp: 10,
      };
      const step = steps[event.key];
      if (step === undefined) return;
      event.preventDefault();
      weigh((Math.round(slider.valueAsNumber) + step) / 100, false);
    });
    number.addEventListener("change", () => {
      if (Number.isFinite(number.valueAsNumber)) weigh(number.valueAsNumber / 100, false);
      number.value = String(Math.round(slider.valueAsNumber));
    });
    name.addEventListener("change", () => {
      const title = name.value.trim();
      if (title) changeStyle(this.#store, key, { title });
      else name.value = name.title;
    });
    name.addEventListener("keydown", ({ key: pressed }) => {
      if (pressed === "Enter") name.blur();
    });
    lock.addEventListener("click", () => {
      changeStyle(this.#store, key, { locked: lock.ariaPressed !== "true" });
    });
    remove.addEventListener("click", () => {
      removeStyle(this.#store, key);
      const last = [...this.#rows.values()].at(-1);
      (last?.remove ?? byId("style-files", HTMLInputElement)).focus();
    });
  }
}
