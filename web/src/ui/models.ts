/** The published models: their list, which of them to take, and the picker. */

import { EngineError, type Variant } from "../engine/protocol";
import { InputProblem } from "./decode";
import { byId, make } from "./dom";

/** What public/models/index.json says of a model. */
interface Card {
  readonly title: string;
  readonly version: string;
  readonly description?: string;
  readonly data?: string;
  readonly licence?: string;
  /** By the size of the pictures, in pixels: distances. */
  readonly scores?: Readonly<Record<string, { readonly content: number; readonly style: number }>>;
  /** Bytes by precision; the first is the model's own. */
  readonly downloads: Readonly<Record<string, number>>;
}

export interface Models {
  readonly default: string;
  readonly models: Readonly<Record<string, Card>>;
  /** Only files are served here: no server can paint. */
  readonly static?: boolean;
}

/** The models that are published now. */
export async function readModels(): Promise<Models> {
  const response = await fetch("./models/index.json", { cache: "no-cache" }).catch(
    (error: unknown) => {
      throw new EngineError("network", `The server cannot be reached (${String(error)}).`);
    },
  );
  if (!response.ok) {
    throw new EngineError(
      "network",
      `The list of models could not be downloaded (status ${response.status}).`,
    );
  }
  return (await response.json()) as Models;
}

/** The card of a model; InputProblem where there is no model of this name. */
export function cardOf({ models }: Models, name: string): Card {
  const card = Object.hasOwn(models, name) ? models[name] : undefined;
  if (card) return card;
  throw new InputProblem(
    `There is no model “${name}”; there are: ${Object.keys(models).join(", ")}.`,
  );
}

/** Where a model's files lie. */
export function modelFolder(name: string): string {
  return `./models/${name}/`;
}

/** Why a model should be downloaded in its smallest size, if it should. */
export function reasonForLight(): string | undefined {
  // Only some browsers tell.
  const { connection, deviceMemory } = navigator as {
    readonly connection?: { readonly saveData?: boolean; readonly effectiveType?: string };
    readonly deviceMemory?: number;
  };
  if (connection?.saveData) return "your browser asks to save data";
  if (/[23]g$/.test(connection?.effectiveType ?? "")) return "the connection is slow";
  return (deviceMemory ?? 8) <= 1 ? "this device has little memory" : undefined;
}

export function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

/** Lets visitors choose among the models, where there are several. */
export class ModelPicker {
  readonly #choice = byId("model-choice", HTMLSelectElement);
  /** The model in use. */
  #name = "";

  constructor(choose: (name: string) => void) {
    this.#choice.addEventListener("change", () => {
      choose(this.#choice.value);
    });
  }

  /** The model in use, loaded in this variant. */
  show(list: Models, name: string, { precision, download_bytes }: Variant): void {
    this.#name = name;
    const all = Object.entries(list.models);
    byId("model-setting", HTMLDivElement).hidden = all.length < 2;
    this.#choice.replaceChildren(
      ...all.map(([value, { title, downloads }]) => {
        const size = downloads[precision] ?? Object.values(downloads)[0] ?? 0;
        return make("option", { value }, `${title} (${megabytes(size)} MB)`);
      }),
    );
    this.#choice.value = name;
    const { description = "", data, licence, scores = {} } = cardOf(list, name);
    byId("model", HTMLParagraphElement).textContent = description;
    const facts = [
      `${megabytes(download_bytes)} MB to download (${precision})`,
      ...Object.entries(scores).map(
        ([size, { content, style }]) =>
          `Distance at ${size} px: ${content.toFixed(2)} to the photo, ${style.toFixed(2)} to the style`,
      ),
      data && `Trained on ${data}`,
      licence && `Licence: ${licence}`,
    ];
    byId("model-card", HTMLUListElement).replaceChildren(
      ...facts.flatMap((fact) => (fact ? make("li", {}, fact) : [])),
    );
  }

  /** Back to the model in use, after another could not be loaded. */
  reset(): void {
    if (this.#name) this.#choice.value = this.#name;
  }
}
