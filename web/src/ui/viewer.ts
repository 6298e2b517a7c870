import type { Pixels } from "../engine/pixels";
import { byId, make } from "./dom";

/** The photo and the painted picture on top of it, with a handle between them. */
export class Viewer {
  readonly #frame = byId("frame", HTMLDivElement);
  readonly #photo = byId("photo", HTMLCanvasElement);
  readonly #painted = byId("painted", HTMLCanvasElement);
  readonly #compare = byId("compare", HTMLInputElement);
  #fileName = "";

  constructor() {
    const split = () => {
      this.#frame.style.setProperty("--split", `${this.#compare.value}%`);
      this.#compare.ariaValueText = `${this.#compare.value} % photo`;
    };
    this.#compare.addEventListener("input", split);
    split();
  }

  get hasPicture(): boolean {
    return this.#frame.classList.contains("has-picture");
  }

  /** Shows a photo that has not been painted yet. */
  showPhoto(photo: Pixels, title: string): void {
    this.#drawPhoto(photo, title);
    this.#frame.classList.remove("has-picture");
    this.#compare.disabled = true;
  }

  /** Shows a painted picture over its photo. `mix` names the styles. */
  showPainted(photo: Pixels, painted: ImageData, title: string, mix: string): void {
    this.#drawPhoto(photo, title);
    draw(this.#painted, painted);
    this.#painted.ariaLabel = `${title}, painted: ${mix}`;
    this.#frame.classList.add("has-picture");
    this.#compare.disabled = false;
    const slug = `${title} ${mix}`.toLowerCase().replaceAll(/[^\p{L}\p{N}]+/gu, "-");
    this.#fileName = `sfumato-${slug.replaceAll(/^-|-$/g, "").slice(0, 80)}.png`;
  }

  /** Saves the painted picture as a PNG file. */
  download(): void {
    this.#painted.toBlob((blob) => {
      if (!blob) return;
      const href = URL.createObjectURL(blob);
      make("a", { href, download: this.#fileName }).click();
      URL.revokeObjectURL(href);
    }, "image/png");
  }

  #drawPhoto(photo: Pixels, title: string): void {
    draw(this.#photo, photo);
    this.#photo.ariaLabel = title;
    this.#frame.style.setProperty("--ratio", String(photo.width / photo.height));
  }
}

function draw(canvas: HTMLCanvasElement, { width, height, data }: Pixels): void {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pixels = new ImageData(Uint8ClampedArray.from(data), width, height);
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
}
