import { byId, make } from "./dom";

/** A sample picture, as public/gallery/gallery.json lists it. */
export interface Sample {
  readonly file: string;
  readonly kind: "photo" | "style";
  readonly title: string;
  readonly author: string;
  readonly licence: string;
  readonly source: string;
}

/** Where a sample lies. */
export function sampleUrl(sample: Sample): string {
  return `./gallery/${sample.file}`;
}

/** The sample pictures, as buttons; `choose` is called with the one pressed. */
export class Gallery {
  readonly samples: readonly Sample[];
  readonly #buttons = new Map<string, HTMLButtonElement>();

  private constructor(samples: readonly Sample[]) {
    this.samples = samples;
  }

  static async load(choose: (sample: Sample) => void): Promise<Gallery> {
    const response = await fetch("./gallery/gallery.json");
    if (!response.ok) throw new Error(`status ${response.status}`);
    const gallery = new Gallery((await response.json()) as Sample[]);
    const lists = {
      photo: byId("photo-gallery", HTMLUListElement),
      style: byId("style-gallery", HTMLUListElement),
    };
    const credits = byId("credits", HTMLUListElement);
    // They held the samples' places until now.
    for (const blank of document.querySelectorAll(".gallery .blank")) blank.remove();
    for (const sample of gallery.samples) {
      const { title, author, licence, source } = sample;
      const image = make("img", { src: sampleUrl(sample), alt: title });
      const button = make("button", { type: "button", title }, image);
      button.ariaPressed = "false";
      button.addEventListener("click", () => {
        choose(sample);
      });
      gallery.#buttons.set(sample.file, button);
      lists[sample.kind].append(make("li", {}, button));
      credits.append(make("li", {}, `${title}: ${author}. ${licence}. ${source}`));
    }
    return gallery;
  }

  /** Marks the samples in use. */
  mark(inUse: (sample: Sample) => boolean): void {
    for (const sample of this.samples) {
      const button = this.#buttons.get(sample.file);
      if (button) button.ariaPressed = String(inUse(sample));
    }
  }
}
