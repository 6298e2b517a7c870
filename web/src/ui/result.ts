/** What can be done with the painted picture: save, copy, pass on. */

import { make } from "./dom";
import { saveFile, slug } from "./files";
import { messageOf, showMessage, showNotice } from "./notice";
import type { Painting, Shown } from "./painting";
import type { Sharing } from "./sharing";
import { describeMix } from "./weights";

type ImageType = "image/png" | "image/jpeg";

const EXTENSIONS: Readonly<Record<ImageType, string>> = {
  "image/png": "png",
  "image/jpeg": "jpg",
};
const JPEG_QUALITY = 0.95;

export class Result {
  readonly #painting: Painting;
  readonly #sharing: Sharing;
  readonly #link = make("input", { type: "text", readOnly: true, ariaLabel: "Link to this mix" });
  readonly #linkRow = make("p", { className: "link-row", hidden: true }, this.#link);

  constructor(deps: { container: HTMLElement; painting: Painting; sharing: Sharing }) {
    this.#painting = deps.painting;
    this.#sharing = deps.sharing;
    const buttons = [
      this.#button("Download PNG", (shown) => this.#save(shown, "image/png"), "primary"),
      this.#button("Download JPEG", (shown) => this.#save(shown, "image/jpeg")),
      this.#button("Copy picture", (shown) => this.#copy(shown)),
      this.#button("Copy link", () => this.#copyLink()),
    ];
    if (canShareFiles()) buttons.push(this.#button("Share…", (shown) => this.#share(shown)));
    deps.container.append(make("div", { className: "buttons" }, ...buttons), this.#linkRow);
    deps.painting.subscribe(() => {
      for (const button of buttons) button.disabled = false;
    });
  }

  #button(
    label: string,
    act: (shown: Shown) => Promise<void>,
    className = "",
  ): HTMLButtonElement {
    const button = make("button", { type: "button", className, disabled: true }, label);
    button.addEventListener("click", () => {
      const { shown } = this.#painting;
      if (!shown) return;
      act(shown).catch((error: unknown) => {
        showNotice("file", messageOf(error));
      });
    });
    return button;
  }

  async #save(shown: Shown, type: ImageType): Promise<void> {
    saveFile(await encoded(shown, type), fileName(shown, type));
  }

  async #copy(shown: Shown): Promise<void> {
    // As a promise: Safari forgets the click while the picture is encoded.
    const item = { "image/png": encoded(shown, "image/png") };
    try {
      await navigator.clipboard.write([new ClipboardItem(item)]);
    } catch {
      throw new Error("This browser does not let the page copy pictures. Download it instead.");
    }
    showMessage("The picture is copied.");
  }

  async #copyLink(): Promise<void> {
    const link = await this.#sharing.link();
    try {
      await navigator.clipboard.writeText(link);
    } catch {
      this.#link.value = link;
      this.#linkRow.hidden = false;
      this.#link.select();
      showMessage("This browser does not let the page copy. Copy the link from the field below.");
      return;
    }
    showMessage("The link is copied. It holds the mix, not your photo.");
  }

  async #share(shown: Shown): Promise<void> {
    const blob = await encoded(shown, "image/jpeg");
    const file = new File([blob], fileName(shown, "image/jpeg"), { type: blob.type });
    try {
      await navigator.share({ files: [file], title: "Sfumato", text: describeMix(shown.state.styles) });
    } catch (error) {
      // The visitor changed their mind.
      if (error instanceof DOMException && error.name === "AbortError") return;
      throw new Error(`The picture could not be shared (${messageOf(error)}). Download it instead.`);
    }
  }
}

function canShareFiles(): boolean {
  // Older browsers have neither, whatever the type says.
  const { canShare } = navigator as Partial<Navigator>;
  const files = [new File([], "picture.jpg", { type: "image/jpeg" })];
  return canShare?.call(navigator, { files }) ?? false;
}

async function encoded({ picture }: Shown, type: ImageType): Promise<Blob> {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  canvas.getContext("2d")?.putImageData(picture, 0, 0);
  return canvas.convertToBlob({ type, quality: JPEG_QUALITY });
}

function fileName({ state }: Shown, type: ImageType): string {
  const name = slug(`${state.photo?.title ?? ""} ${describeMix(state.styles)}`);
  return `sfumato-${name}.${EXTENSIONS[type]}`;
}
