import type { Manifest, Variant } from "../engine/protocol";
import { InputProblem } from "./decode";
import { MAP_KEY } from "./explore";
import { sampleUrl, type Sample } from "./gallery";
import { clearNotice, messageOf, showMessage, showNotice } from "./notice";
import type { Painting } from "./painting";
import { samplePhoto, sampleStyle, thumbnail } from "./pictures";
import { decodeMix, encodeMix, type SharedMix, type SharedStyle } from "./share";
import type { Photo, Store, Style } from "./state";
import { PHOTO_KEY } from "./studio";
import { fingerprint } from "./thumbnail";
import { normalised } from "./weights";

/** In the fragment of the address: #mix=… */
const ADDRESS_KEY = "mix";

/** What is there once the page is up. */
export interface Ready {
  /** The gallery. */
  readonly samples: readonly Sample[];
  /** Of the model that is in use at the moment. */
  readonly manifest: Manifest;
  readonly variant: Variant;
}

/** Takes the mix out of the studio as text, and puts such text back in. */
export class Sharing {
  readonly #store: Store;
  readonly #painting: Painting;
  readonly #ready: Promise<Ready>;
  readonly #useModel: (name: string) => Promise<boolean>;
  /** Styles put back so far: each gets a key of its own. */
  #restored = 0;

  /** `useModel` loads a model if it is published; false if that fails. */
  constructor(deps: {
    store: Store;
    painting: Painting;
    ready: Promise<Ready>;
    useModel: (name: string) => Promise<boolean>;
  }) {
    this.#useModel = deps.useModel;
    this.#store = deps.store;
    this.#painting = deps.painting;
    this.#ready = deps.ready;
  }

  /** The mix as it is now. */
  async text(): Promise<string> {
    const { samples, manifest } = await this.#ready;
    const { state } = this.#store;
    const styles = await Promise.all(
      state.styles.map(async (style) => ({
        ...style,
        key: isKnown(style.key, samples) ? style.key : "",
        embedding: style.key === PHOTO_KEY ? undefined : await this.#painting.embeddingOf(style),
      })),
    );
    const photo = sampleNamed(state.photo?.key, "photo", samples)?.file;
    return encodeMix({ model: manifest, photo, styles, settings: state });
  }

  /** An address that opens this page with the mix as it is now. */
  async link(): Promise<string> {
    const address = new URL(location.href);
    address.hash = `${ADDRESS_KEY}=${await this.text()}`;
    return address.href;
  }

  /** Opens the mix that the address holds, now and whenever the address changes. */
  async openAddress(): Promise<void> {
    addEventListener("hashchange", () => void this.#openHash(true));
    await this.#openHash(false);
  }

  async #openHash(undoable: boolean): Promise<void> {
    const text = new URLSearchParams(location.hash.slice(1)).get(ADDRESS_KEY);
    if (text === null) return;
    try {
      await this.open(text, { undoable });
      clearNotice("link");
    } catch (error) {
      showNotice("link", messageOf(error));
    }
  }

  /**
   * Puts a mix into the studio, painted by its model if that is published: else the
   * gallery's styles are looked at anew, and others left out. InputProblem if it cannot
   * be read.
   */
  async open(text: string, { undoable = true } = {}): Promise<void> {
    const mix = await decodeMix(text);
    const ready = await this.#ready;
    const { samples } = ready;
    const { name, version } = mix.model;
    if (name !== ready.manifest.name && !(await this.#useModel(name))) {
      throw new InputProblem(`This mix needs the model “${name}”, which could not be loaded.`);
    }
    const { manifest } = ready;
    const photo = await this.#photoFor(mix.photo, samples);
    const restored = await Promise.all(
      mix.styles.map((style) => this.#restore(style, mix, photo, ready)),
    );
    const styles = restored.flatMap((style) => style ?? []);
    const lost = mix.styles.filter((_, index) => !restored[index]).map(({ title }) => `“${title}”`);
    if (styles.length === 0 && lost.length > 0) {
      throw new InputProblem(
        `This mix was made with the model “${name}”, whose styles the model ` +
          `“${manifest.name}” cannot read. Choose the styles again.`,
      );
    }
    const changes = { ...mix.settings, photo, styles: normalised(styles) };
    if (name !== manifest.name) changes.directions = [];
    if (undoable) this.#store.change(changes);
    else this.#store.set(changes);
    if (name !== manifest.name || version !== manifest.version) {
      const left = lost.length > 0 ? ` ${lost.join(", ")} only that model can read.` : "";
      showMessage(
        `This mix was made with another model (“${name}”, ${version}): its styles may ` +
          `look different here.${left}`,
      );
    }
  }

  /** The sample photo of this name; else the photo that is there; else the first sample. */
  async #photoFor(
    file: string | undefined,
    samples: readonly Sample[],
  ): Promise<Photo | undefined> {
    const { photo } = this.#store.state;
    if (photo && photo.key === file) return photo;
    const sample = sampleNamed(file, "photo", samples);
    if (sample) return samplePhoto(sample);
    const first = samples.find(({ kind }) => kind === "photo");
    return photo ?? (first && samplePhoto(first));
  }

  /** A style of a mix; undefined for one that the model in use cannot read. */
  async #restore(
    { embedding, ...style }: SharedStyle,
    { model }: SharedMix,
    photo: Photo | undefined,
    { samples, manifest }: Ready,
  ): Promise<Style | undefined> {
    if (!embedding) {
      return photo && { ...style, thumbnail: thumbnail(photo.image), pictures: [photo.image] };
    }
    const sample = sampleNamed(style.key, "style", samples);
    if (sample && model.version !== manifest.version) {
      return { ...(await sampleStyle(sample)), ...style };
    }
    // An earlier version's numbers still say something; another model's do not.
    if (model.name !== manifest.name || embedding.length !== manifest.embedding_size) {
      return undefined;
    }
    return {
      ...style,
      key: isKnown(style.key, samples) ? style.key : `restored ${++this.#restored}`,
      thumbnail: sample ? sampleUrl(sample) : fingerprint(embedding),
      pictures: [],
      embedding,
      model: manifest,
    };
  }
}

/** Does this key of a style mean the same on every page? */
function isKnown(key: string, samples: readonly Sample[]): boolean {
  return key === PHOTO_KEY || key === MAP_KEY || sampleNamed(key, "style", samples) !== undefined;
}

function sampleNamed(
  file: string | undefined,
  kind: Sample["kind"],
  samples: readonly Sample[],
): Sample | undefined {
  return samples.find((sample) => sample.kind === kind && sample.file === file);
}
