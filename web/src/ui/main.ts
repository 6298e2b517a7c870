import { Engine } from "../engine/engine";
import { resizeShorterSide, type Pixels } from "../engine/pixels";
import {
  EngineError,
  type BackendName,
  type Loaded,
  type Progress,
} from "../engine/protocol";
import { decode, InputProblem, LARGEST_SIZE } from "./decode";
import { byId, make } from "./dom";
import { Gallery, sampleUrl, type Sample } from "./gallery";
import { clearNotice, showNotice, type Action } from "./notice";
import { StyleList, type Style } from "./style-list";
import { Viewer } from "./viewer";

declare global {
  interface Window {
    /** The engine that this page paints with, for scripts. */
    sfumato: Engine;
  }
}

type State = "loading" | "ready" | "painting" | "painted" | "error";

interface Photo {
  readonly key: string;
  readonly title: string;
  readonly image: ImageData;
  /** The photo at the size it was last painted in, one object for as long as it is. */
  fitted?: { readonly size: number; readonly pixels: Pixels };
}

const BACKENDS: Readonly<Record<BackendName, string>> = {
  webgl: "Painted by WebGL.",
  wasm: "Painted by WebAssembly.",
};
/** How long a slider must rest before its picture is painted. */
const REST_MS = 60;

const address = new URLSearchParams(location.search);
const engine = new Engine({ backend: requestedBackend() });
window.sfumato = engine;

const viewer = new Viewer();
const styles = new StyleList(() => {
  markSamples();
  repaintSoon();
});
const caption = byId("caption", HTMLParagraphElement);
const work = byId("work", HTMLDivElement);
const stage = byId("stage", HTMLLabelElement);
const progressBar = byId("progress", HTMLProgressElement);
const strength = byId("strength", HTMLInputElement);
const size = byId("size", HTMLSelectElement);
const download = byId("download", HTMLButtonElement);

let gallery: Gallery | undefined;
let loaded: Loaded | undefined;
let photo: Photo | undefined;
/** Cancels whatever is at work now. */
let current = new AbortController();
let paintings = 0;
let resting: number | undefined;
let ownFiles = 0;

void start();

async function start(): Promise<void> {
  listen();
  chooseSize(Number(address.get("size")));
  const loading = loadModel();
  await openGallery();
  await loading;
}

// The model

async function loadModel(): Promise<void> {
  setState("loading");
  try {
    const folder = await modelFolder();
    const { signal } = current;
    loaded = await engine.load(folder, { signal, onProgress: showProgress });
    byId("engine", HTMLParagraphElement).replaceChildren(
      make("strong", {}, BACKENDS[loaded.backend]),
      ` ${loaded.reason}`,
    );
    if (size.value === "") chooseSize(loaded.backend === "webgl" ? 512 : 256);
    setState("ready");
    repaintSoon();
  } catch (error) {
    fail(error, { label: "Load the model", run: () => void loadModel() });
  }
}

/** The folder of the model that the address names, or of the default one. */
async function modelFolder(): Promise<string> {
  const response = await fetch("./models/index.json").catch((error: unknown) => {
    throw new EngineError("network", `The server cannot be reached (${String(error)}).`);
  });
  if (!response.ok) {
    throw new EngineError(
      "network",
      `The list of models could not be downloaded (status ${response.status}).`,
    );
  }
  const index = (await response.json()) as { default: string; models: string[] };
  const name = address.get("model") ?? index.default;
  if (!index.models.includes(name)) {
    throw new InputProblem(
      `There is no model “${name}”; there are: ${index.models.join(", ")}.`,
    );
  }
  return `./models/${name}/`;
}

function requestedBackend(): BackendName | undefined {
  const name = address.get("backend");
  return name === "webgl" || name === "wasm" ? name : undefined;
}

// Photo and styles

async function openGallery(): Promise<void> {
  try {
    gallery = await Gallery.load((sample) => void chooseSample(sample));
  } catch (error) {
    fail(new EngineError("network", `The sample pictures are missing (${String(error)}).`));
    return;
  }
  const first = (kind: Sample["kind"]) =>
    gallery?.samples.find((sample) => sample.kind === kind);
  for (const sample of [first("photo"), first("style")]) {
    if (sample) await chooseSample(sample);
  }
}

/** Takes a sample photo; adds a sample style, or removes it if it was added. */
async function chooseSample(sample: Sample): Promise<void> {
  const { file, kind, title } = sample;
  if (kind === "style" && styles.has(file)) {
    styles.remove(file);
    return;
  }
  await attempt(async () => {
    const response = await fetch(sampleUrl(sample));
    if (!response.ok) throw new InputProblem(`“${title}” could not be downloaded.`);
    const image = await decode(await response.blob(), title);
    if (kind === "photo") setPhoto({ key: file, title, image });
    else if (!styles.has(file)) styles.add(file, title, image, sampleUrl(sample));
  });
}

async function choosePhotoFile(file: File): Promise<void> {
  await attempt(async () => {
    const title = titleOf(file);
    setPhoto({ key: ownKey(), title, image: await decode(file, file.name) });
  });
}

async function addStyleFiles(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    await attempt(async () => {
      const image = await decode(file, file.name);
      styles.add(ownKey(), titleOf(file), image, thumbnail(image));
    });
  }
}

function setPhoto(next: Photo): void {
  const { width, height } = next.image;
  const smallest = loaded?.manifest.min_size ?? 1;
  if (Math.min(width, height) < smallest) {
    throw new InputProblem(
      `“${next.title}” has ${width} × ${height} pixels; each side needs at least ` +
        `${smallest}. Choose a larger photo.`,
    );
  }
  photo = next;
  markSamples();
  viewer.showPhoto(next.image, next.title);
  download.disabled = true;
  caption.textContent = next.title;
  repaintSoon();
}

function markSamples(): void {
  gallery?.mark(({ file }) => file === photo?.key || styles.has(file));
}

function titleOf(file: File): string {
  return file.name.replace(/\.\w+$/, "") || "Pasted picture";
}

function ownKey(): string {
  return `own ${++ownFiles}`;
}

function thumbnail(image: ImageData): string {
  const small = resizeShorterSide(image, 96);
  const canvas = make("canvas", { width: small.width, height: small.height });
  const pixels = new ImageData(Uint8ClampedArray.from(small.data), small.width);
  canvas.getContext("2d")?.putImageData(pixels, 0, 0);
  return canvas.toDataURL("image/jpeg", 0.85);
}

// Painting

function repaintSoon(): void {
  clearTimeout(resting);
  resting = setTimeout(() => void paint(), REST_MS);
}

async function paint(): Promise<void> {
  const chosen = styles.active;
  if (!loaded || !photo || chosen.length === 0) return;
  const subject = photo;
  const painting = ++paintings;
  const { signal } = current;
  setState("painting");
  try {
    const mixed = engine.mix(
      await Promise.all(
        chosen.map(async (style) => [await embeddingOf(style, signal), style.weight] as const),
      ),
    );
    if (painting !== paintings) return;
    const mix = styles.description;
    const pixels = fitted(subject);
    const started = performance.now();
    const picture = await engine.stylize(pixels, mixed, {
      strength: strength.valueAsNumber / 100,
      signal,
      onProgress: showProgress,
    });
    // Of another photo by now; of the same photo an older mix is worth a look.
    if (subject !== photo) return;
    viewer.showPainted(pixels, picture, subject.title, mix);
    if (painting !== paintings) return;
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    caption.replaceChildren(
      make("strong", {}, mix),
      ` ${pixels.width} × ${pixels.height} pixels, painted in ${seconds} s`,
    );
    setState("painted");
  } catch (error) {
    if (painting === paintings) fail(error);
  }
}

function embeddingOf(style: Style, signal: AbortSignal) {
  return (style.embedding ??= engine
    .embed(style.image, { signal, onProgress: showProgress })
    .catch((error: unknown) => {
      delete style.embedding;
      throw error;
    }));
}

/** The photo at the size chosen; never enlarged. */
function fitted(subject: Photo): Pixels {
  const wanted = Number(size.value);
  if (subject.fitted?.size !== wanted) {
    const { image } = subject;
    const smaller = Math.min(image.width, image.height) > wanted;
    const pixels = smaller ? resizeShorterSide(image, wanted) : image;
    subject.fitted = { size: wanted, pixels };
  }
  return subject.fitted.pixels;
}

/** Chooses a size in pixels, also one that the list does not offer. */
function chooseSize(pixels: number): void {
  const valid = pixels >= 16 && pixels <= LARGEST_SIZE && Number.isInteger(pixels);
  const value = valid ? String(pixels) : "";
  if (valid && !Array.from(size.options).some((option) => option.value === value)) {
    size.prepend(make("option", { value }, `${pixels} px`));
  }
  size.value = value;
}

// What the visitor is told

function setState(state: State): void {
  document.documentElement.dataset.state = state;
  work.hidden = state !== "loading" && state !== "painting";
  download.disabled = !viewer.hasPicture;
  if (state === "painted") clearNotice("painting");
}

function showProgress(progress: Progress): void {
  const names: Record<Progress["stage"], string> = {
    engine: "Starting the engine",
    download: "Downloading the model",
    style: "Looking at the style",
    photo: "Looking at the photo",
    painting: "Painting",
  };
  stage.textContent = names[progress.stage];
  if (progress.stage === "download") {
    const { loaded: done, total } = progress;
    stage.textContent += `: ${megabytes(done)} of ${megabytes(total)} MB`;
    progressBar.max = total;
    progressBar.value = done;
  } else {
    progressBar.removeAttribute("value");
  }
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(1);
}

/** Runs what may fail by the visitor's input; the picture stays as it was. */
async function attempt(action: () => Promise<void>): Promise<void> {
  try {
    await action();
    clearNotice("file");
  } catch (error) {
    showNotice("file", messageOf(error));
  }
}

/** Reports a failure to load or to paint; the last good picture stays. */
function fail(error: unknown, retry?: Action): void {
  if (error instanceof DOMException && error.name === "AbortError") {
    setState(viewer.hasPicture ? "painted" : "ready");
    showNotice(
      "painting",
      "Cancelled.",
      retry ?? { label: "Paint after all", run: repaintSoon },
    );
    return;
  }
  // What is at work there is gone; without a model nothing is painted meanwhile.
  if (error instanceof EngineError && error.code === "crash") loaded = undefined;
  setState("error");
  showNotice("painting", messageOf(error), retry ?? wayOn(error));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What to try after a painting failed. */
function wayOn(error: unknown): Action | undefined {
  if (!(error instanceof EngineError)) return undefined;
  const half = Math.round(Number(size.value) / 2);
  if (error.code === "crash") {
    return { label: "Start again", run: () => void loadModel() };
  }
  if (error.code !== "painting" || half < 64) return undefined;
  return {
    label: `Try ${half} px`,
    run: () => {
      chooseSize(half);
      repaintSoon();
    },
  };
}

// What the visitor does

function listen(): void {
  const strengthValue = byId("strength-value", HTMLOutputElement);
  strength.addEventListener("input", () => {
    strengthValue.value = `${strength.value} %`;
    strength.ariaValueText = strengthValue.value;
    repaintSoon();
  });
  size.addEventListener("change", repaintSoon);
  download.addEventListener("click", () => {
    viewer.download();
  });
  byId("cancel", HTMLButtonElement).addEventListener("click", () => {
    current.abort();
    current = new AbortController();
  });
  listenToFileInput(byId("photo-file", HTMLInputElement), takePhoto);
  listenToFileInput(byId("style-files", HTMLInputElement), takeStyles);
  const stylesZone = byId("styles-zone", HTMLElement);
  listenToDrops(byId("photo-zone", HTMLElement), takePhoto);
  listenToDrops(stylesZone, takeStyles);
  document.addEventListener("paste", (event) => {
    const files = imagesOf(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    const forStyles = stylesZone.contains(document.activeElement);
    (forStyles ? takeStyles : takePhoto)(files);
  });
}

function takePhoto([file]: File[]): void {
  if (file) void choosePhotoFile(file);
}

function takeStyles(files: File[]): void {
  void addStyleFiles(files);
}

function listenToFileInput(input: HTMLInputElement, take: (files: File[]) => void): void {
  input.addEventListener("change", () => {
    take(Array.from(input.files ?? []));
    // So that the same file can be chosen again.
    input.value = "";
  });
}

function listenToDrops(zone: HTMLElement, take: (files: File[]) => void): void {
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
    event.preventDefault();
    highlight(false);
    take(Array.from(event.dataTransfer?.files ?? []));
  });
}

function imagesOf(data: DataTransfer | null): File[] {
  return Array.from(data?.files ?? []).filter((file) => file.type.startsWith("image/"));
}
