/** Mixes kept in this browser under a name. */

import { make } from "./dom";
import { messageOf } from "./notice";
import type { Sharing } from "./sharing";
import type { Store } from "./state";
import { describeMix } from "./weights";

interface Preset {
  readonly name: string;
  /** As share.ts writes it. */
  readonly mix: string;
}

const STORAGE_KEY = "sfumato.presets";
const LONGEST_NAME = 80;

export class Presets {
  readonly #store: Store;
  readonly #sharing: Sharing;
  readonly #list = make("ul", { className: "presets" });
  readonly #name = make("input", { type: "text", id: "preset-name", maxLength: LONGEST_NAME });
  readonly #status = make("p", { className: "hint", role: "status" });

  constructor(deps: { container: HTMLElement; store: Store; sharing: Sharing }) {
    this.#store = deps.store;
    this.#sharing = deps.sharing;
    const form = make(
      "form",
      { className: "preset-form" },
      make("label", { htmlFor: "preset-name" }, "Name"),
      this.#name,
      make("button", { type: "submit" }, "Keep this mix"),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#attempt(() => this.#keep());
    });
    deps.container.append(
      make("p", { className: "hint" }, "Kept in this browser only, without your photo."),
      form,
      this.#status,
      this.#list,
    );
    const propose = () => {
      this.#name.placeholder = describeMix(this.#store.state.styles);
    };
    deps.store.subscribe(propose);
    propose();
    // Another tab keeps presets too.
    addEventListener("storage", ({ key }) => {
      if (key === STORAGE_KEY) void this.#attempt(() => { this.#render(); });
    });
    void this.#attempt(() => { this.#render(); });
  }

  async #keep(): Promise<void> {
    const name = (this.#name.value.trim() || this.#name.placeholder).slice(0, LONGEST_NAME);
    if (name === "") throw new Error("There is no style to keep. Choose one first.");
    const mix = await this.#sharing.text();
    const others = read().filter((preset) => preset.name !== name);
    write([...others, { name, mix }]);
    this.#name.value = "";
    this.#render();
    this.#status.textContent = `“${name}” is kept.`;
  }

  #render(): void {
    const presets = read();
    this.#list.replaceChildren(
      ...presets.map(({ name, mix }) => {
        const open = make("button", { type: "button", className: "preset" }, name);
        open.addEventListener("click", () => {
          void this.#attempt(() => this.#sharing.open(mix));
        });
        const remove = make("button", { type: "button", className: "remove" }, "×");
        remove.ariaLabel = `Remove ${name}`;
        remove.addEventListener("click", () => {
          void this.#attempt(() => {
            write(read().filter((preset) => preset.name !== name));
            this.#render();
            this.#name.focus();
            this.#status.textContent = `“${name}” is removed.`;
          });
        });
        return make("li", {}, open, remove);
      }),
    );
  }

  /** Runs what storage or a damaged preset may refuse, and says so. */
  async #attempt(act: () => Promise<void> | void): Promise<void> {
    this.#status.textContent = "";
    try {
      await act();
    } catch (error) {
      this.#status.textContent = messageOf(error);
    }
  }
}

/** Those that are kept; none where the storage cannot be read. */
function read(): Preset[] {
  let text;
  try {
    text = localStorage.getItem(STORAGE_KEY);
  } catch {
    throw new Error(
      "This browser does not let the page keep anything. Allow site data for it, or use a link.",
    );
  }
  if (text === null) return [];
  try {
    const presets: unknown = JSON.parse(text);
    if (Array.isArray(presets)) return presets.filter(isPreset);
  } catch {
    // Written by something else: what cannot be read is not a preset.
  }
  return [];
}

function isPreset(value: unknown): value is Preset {
  const { name, mix } = (value ?? {}) as Partial<Record<keyof Preset, unknown>>;
  return typeof name === "string" && typeof mix === "string";
}

function write(presets: readonly Preset[]): void {
  try {
    localStorage.setItem(STORAGE_KEY, JSON.stringify(presets));
  } catch (error) {
    if (error instanceof DOMException && error.name === "QuotaExceededError") {
      throw new Error("There is no room left for another preset. Remove one first.");
    }
    throw new Error(
      "This browser does not let the page keep anything. Allow site data for it, or use a link.",
    );
  }
}
