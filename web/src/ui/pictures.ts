/** Photos and styles on their way in: from the gallery, files, folders, drops, the clipboard. */

import { resizeShorterSide } from "../engine/pixels";
import { decode, InputProblem } from "./decode";
import { byId, make } from "./dom";
import { sampleUrl, type Sample } from "./gallery";
import { clearNotice, messageOf, showMessage, showNotice } from "./notice";
import type { Photo, Store } from "./state";
import { addStyle, PHOTO_KEY, removeStyle, setPhoto, type NewStyle } from "./studio";

/** Thumbnails are this many pixels on the shorter side: sharp on a dense screen. */
const THUMBNAIL = 144;

export class Pictures {
  /** The least pixels that a photo's shorter side needs. */
  smallest = 1;
  readonly #store: Store;
  #own = 0;

  constructor(store: Store) {
    this.#store = store;
    this.#listen();
  }

  /** Takes a sample photo; adds a sample style, or removes it if it was added. */
  async chooseSample(sample: Sample): Promise<void> {
    const { file, kind } = sample;
    if (kind === "style" && this.#has(file)) {
      removeStyle(this.#store, file);
      return;
    }
    await attempt(async () => {
      if (kind === "photo") this.#takePhoto(await samplePhoto(sample), sampleUrl(sample));
      else {
        const style = await sampleStyle(sample);
        if (!this.#has(file)) addStyle(this.#store, style);
      }
    });
  }

  #has(key: string): boolean {
    return this.#store.state.styles.some((style) => style.key === key);
  }

  #takePhoto(photo: Photo, thumbnail: string): void {
    const { width, height } = photo.image;
    if (Math.min(width, height) < this.smallest) {
      throw new InputProblem(
        `“${photo.title}” has ${width} × ${height} pixels; each side needs at least ` +
          `${this.smallest}. Choose a larger photo.`,
      );
    }
    setPhoto(this.#store, photo, thumbnail);
  }

  async #choosePhotoFile([file]: readonly File[]): Promise<void> {
    if (!file) return;
    await attempt(async () => {
      const image = await decode(file, file.name);
      this.#takePhoto({ key: this.#ownKey(), title: titleOf(file), image }, thumbnail(image));
    });
  }

  /** One file is one style; several are one style together, or as many if wished. */
  async #addStyleFiles(files: readonly File[], folder?: string): Promise<void> {
    await attempt(async () => {
      const styles: NewStyle[] = [];
      const problems: string[] = [];
      for (const file of files) {
        try {
          const image = await decode(file, file.name);
          const key = this.#ownKey();
          styles.push({
            key,
            title: titleOf(file),
            thumbnail: thumbnail(image),
            pictures: [image],
          });
        } catch (error) {
          problems.push(messageOf(error));
        }
      }
      const [first, ...others] = styles;
      if (first && others.length === 0) addStyle(this.#store, first);
      else if (first) this.#addJoined(styles, folder ?? nameOf(styles));
      if (problems.length > 0) throw new InputProblem(problems.join(" "));
    });
  }

  #addJoined(styles: readonly NewStyle[], title: string): void {
    const key = this.#ownKey();
    const pictures = styles.flatMap((style) => style.pictures);
    addStyle(this.#store, { key, title, thumbnail: collage(pictures), pictures });
    showMessage(`“${title}” is one style now, the mean of ${styles.length} pictures.`, {
      label: `Make them ${styles.length} styles`,
      run: () => {
        if (this.#has(key)) removeStyle(this.#store, key);
        for (const style of styles) addStyle(this.#store, style);
      },
    });
  }

  #ownKey(): string {
    return `own ${++this.#own}`;
  }

  #listen(): void {
    const takePhoto = (files: readonly File[]) => void this.#choosePhotoFile(files);
    const takeStyles = (files: readonly File[]) => void this.#addStyleFiles(files);
    listenToFileInput(byId("photo-file", HTMLInputElement), takePhoto);
    listenToFileInput(byId("style-files", HTMLInputElement), takeStyles);
    listenToFileInput(byId("style-folder", HTMLInputElement), (files) => {
      const folder = files[0]?.webkitRelativePath.split("/")[0];
      void this.#addFolder(files, folder ?? "");
    });
    const stylesZone = byId("styles-zone", HTMLElement);
    listenToDrops(byId("photo-zone", HTMLElement), ({ files }) => {
      takePhoto(files);
    });
    listenToDrops(stylesZone, ({ files, folder }) => {
      if (folder === undefined) takeStyles(files);
      else void this.#addFolder(files, folder);
    });
    document.addEventListener("paste", (event) => {
      const files = imagesAmong(Array.from(event.clipboardData?.files ?? []));
      if (files.length === 0) return;
      event.preventDefault();
      (stylesZone.contains(document.activeElement) ? takeStyles : takePhoto)(files);
    });
    this.#listenToPhotoOnPad();
  }

  async #addFolder(files: readonly File[], folder: string): Promise<void> {
    const images = imagesAmong(files);
    if (images.length > 0) await this.#addStyleFiles(images, folder);
    else showNotice("file", `There is no picture in the folder “${folder}”.`);
  }

  /** The photo as one of the styles: towards it, the painting becomes the photo again. */
  #listenToPhotoOnPad(): void {
    const button = byId("photo-on-pad", HTMLButtonElement);
    button.addEventListener("click", () => {
      const { photo } = this.#store.state;
      if (this.#has(PHOTO_KEY)) removeStyle(this.#store, PHOTO_KEY);
      else if (photo) {
        addStyle(this.#store, {
          key: PHOTO_KEY,
          title: "The photo",
          thumbnail: thumbnail(photo.image),
          pictures: [photo.image],
        });
      }
    });
    const mark = () => {
      button.ariaPressed = String(this.#has(PHOTO_KEY));
      button.disabled = !this.#store.state.photo;
    };
    this.#store.subscribe(mark);
    mark();
  }
}

/** A sample photo, downloaded; InputProblem if that fails. */
export async function samplePhoto(sample: Sample): Promise<Photo> {
  return { key: sample.file, title: sample.title, image: await downloaded(sample) };
}

/** A sample style, downloaded; InputProblem if that fails. */
export async function sampleStyle(sample: Sample): Promise<NewStyle> {
  const { file, title } = sample;
  return { key: file, title, thumbnail: sampleUrl(sample), pictures: [await downloaded(sample)] };
}

/** Runs what may fail by the visitor's input; the picture stays as it was. */
export async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action();
    clearNotice("file");
  } catch (error) {
    showNotice("file", messageOf(error));
  }
}

async function downloaded(sample: Sample): Promise<ImageData> {
  const response = await fetch(sampleUrl(sample)).catch(() => undefined);
  if (!response?.ok) throw new InputProblem(`“${sample.title}” could not be downloaded.`);
  return decode(await response.blob(), sample.title);
}

function titleOf(file: File): string {
  return file.name.replace(/\.\w+$/, "") || "Pasted picture";
}

/** What several pictures are called together: what their names begin with. */
function nameOf(styles: readonly NewStyle[]): string {
  const [first = "", ...others] = styles.map(({ title }) => title);
  let length = first.length;
  for (const other of others) while (!other.startsWith(first.slice(0, length))) length--;
  const common = first.slice(0, length).replace(/[\s\d_.()-]+$/, "");
  return common.length >= 3 ? common : `${first} and ${others.length} more`;
}

/** A small square picture of a picture, as an address. */
export function thumbnail(image: ImageData): string {
  return collage([image]);
}

/** A square of the middles of up to four pictures, as an address. */
function collage(pictures: readonly ImageData[]): string {
  const columns = pictures.length > 1 ? 2 : 1;
  const shown = pictures.length > 3 ? pictures.slice(0, 4) : pictures.slice(0, columns);
  const canvas = make("canvas", { width: THUMBNAIL, height: THUMBNAIL });
  const context = canvas.getContext("2d");
  const width = THUMBNAIL / columns;
  const height = THUMBNAIL / Math.ceil(shown.length / columns);
  for (const [index, picture] of shown.entries()) {
    const small = resizeShorterSide(picture, Math.max(width, height));
    const pixels = new ImageData(new Uint8ClampedArray(small.data), small.width);
    const left = (index % columns) * width;
    const top = Math.floor(index / columns) * height;
    const [fromLeft, fromTop] = [(small.width - width) / 2, (small.height - height) / 2];
    // Drawn through a canvas of its own: putImageData heeds no clip.
    const whole = new OffscreenCanvas(small.width, small.height);
    whole.getContext("2d")?.putImageData(pixels, 0, 0);
    context?.drawImage(whole, fromLeft, fromTop, width, height, left, top, width, height);
  }
  return canvas.toDataURL("image/jpeg", 0.85);
}

function listenToFileInput(input: HTMLInputElement, take: (files: File[]) => void): void {
  input.addEventListener("change", () => {
    take(Array.from(input.files ?? []));
    // So that the same file can be chosen again.
    input.value = "";
  });
}

interface Dropped {
  readonly files: File[];
  /** The folder's name, if a folder was dropped. */
  readonly folder?: string;
}

function listenToDrops(zone: HTMLElement, take: (dropped: Dropped) => void): void {
  const highlight = (on: boolean) => zone.classList.toggle("dropping", on);
  zone.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    highlight(true);
  });
  zone.addEventListener("dragleave", (event) => {
    if (!zone.contains(event.relatedTarget as Node | null)) highlight(false);
  });
  zone.addEventListener("drop", (event) => {
    const data = event.dataTransfer;
    if (!data) return;
    event.preventDefault();
    highlight(false);
    const files = Array.from(data.files);
    // Entries are gone after this event: they are asked for at once.
    const folder = Array.from(data.items)
      .map((item) => item.webkitGetAsEntry())
      .find((entry) => entry?.isDirectory);
    if (!folder) take({ files });
    else void filesIn(folder).then((found) => {
      take({ files: found, folder: folder.name });
    });
  });
}

/** All files of a folder that was dropped, at any depth, by name. */
async function filesIn(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    const file = entry as FileSystemFileEntry;
    return [await new Promise<File>((resolve, reject) => { file.file(resolve, reject); })];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const entries: FileSystemEntry[] = [];
  // A reader hands out a part at a time, and nothing once it is through.
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => {
      reader.readEntries(resolve, reject);
    });
    if (part.length === 0) break;
    entries.push(...part);
  }
  entries.sort((one, other) => one.name.localeCompare(other.name));
  return (await Promise.all(entries.map(filesIn))).flat();
}

function imagesAmong(files: readonly File[]): File[] {
  return files.filter((file) => file.type.startsWith("image/"));
}
