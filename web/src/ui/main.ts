import { Engine, type CallOptions } from "../engine/engine";
import { EngineError, type BackendName, type Loaded, type Progress } from "../engine/protocol";
import { InputProblem } from "./decode";
import { byId, make } from "./dom";
import { Explore } from "./explore";
import { Gallery, type Sample } from "./gallery";
import { listenToHistory } from "./history";
import { clearNotice, messageOf, showNotice, type Action } from "./notice";
import { workOffline } from "./offline";
import { Pad } from "./pad";
import { Painting, type PaintingStatus, type Shown } from "./painting";
import { padSurface, Path } from "./path";
import { attempt, Pictures, samplePhoto, sampleStyle } from "./pictures";
import { Presets } from "./presets";
import { Result } from "./result";
import { Settings } from "./settings";
import { Sharing, type Ready } from "./sharing";
import { Store, type Point, type Style } from "./state";
import { StyleList } from "./style-list";
import { Viewer } from "./viewer";
import { Webcam } from "./webcam";
import { describeMix, mixedAt } from "./weights";

declare global {
  interface Window {
    /** The engine that this page paints with, for scripts. */
    sfumato: Engine;
  }
}

/** draft: a small picture is shown while a gesture goes on. */
type PageState = "loading" | "ready" | "painting" | "draft" | "painted" | "error";

const BACKENDS: Readonly<Record<BackendName, string>> = {
  webgl: "Painted by WebGL.",
  wasm: "Painted by WebAssembly.",
  webgpu: "Painted by WebGPU.",
  server: "Painted by the server.",
};
/** What a first visit shows: the first styles of the gallery here, mixed by the puck. */
const FIRST_PLACES: readonly Point[] = [
  { x: 0.24, y: 0.26 },
  { x: 0.78, y: 0.34 },
  { x: 0.4, y: 0.8 },
];
const FIRST_PUCK: Point = { x: 0.36, y: 0.4 };
/** Pixels of the shorter side that an engine paints in about a second. */
const FIRST_SIZES: Readonly<Record<BackendName, number>> = {
  webgl: 512,
  wasm: 384,
  webgpu: 512,
  server: 512,
};

const address = new URLSearchParams(location.search);
const engine = new Engine({ backend: requestedBackend() });
window.sfumato = engine;

const askedSize = Number(address.get("size"));
const store = new Store({
  photo: undefined,
  styles: [],
  puck: FIRST_PUCK,
  strength: 1,
  fade: 0,
  styleScale: 1,
  keepColours: false,
  directions: [],
  size: Settings.isSize(askedSize) ? askedSize : FIRST_SIZES.wasm,
});
const viewer = new Viewer();
const painting = new Painting({
  engine,
  store,
  viewer,
  onProgress: showProgress,
  onStatus: showStatus,
});
const pictures = new Pictures(store);
const pad = new Pad(store);
new StyleList(store);
new Settings(store);
listenToHistory(store);
painting.subscribe(showCaption);

/** What is known of the model and the gallery; both are there before `ready`. */
const known: { -readonly [Name in keyof Ready]?: Ready[Name] } = {};
let tellReady: (ready: Ready) => void;
const ready = new Promise<Ready>((resolve) => {
  tellReady = resolve;
});
const explore = new Explore({ container: box("explore"), store, engine, painting, ready });
painting.directions = explore.directions;
const sharing = new Sharing({ store, painting, ready });
new Path({
  container: box("path"),
  store,
  painting,
  surfaces: [padSurface(pad), explore.surface],
});
new Webcam({ container: box("webcam"), frame: box("frame"), store, painting });
new Result({ container: box("result"), painting, sharing });
new Presets({ container: box("presets"), store, sharing });

const work = box("work");
const stage = byId("stage", HTMLLabelElement);
const progressBar = byId("progress", HTMLProgressElement);
const caption = byId("caption", HTMLParagraphElement);
const spoken = byId("spoken", HTMLParagraphElement);
const engineChoice = byId("engine-choice", HTMLSelectElement);
let loading = new AbortController();
let isKept = false;

byId("cancel", HTMLButtonElement).addEventListener("click", () => {
  loading.abort();
  loading = new AbortController();
  painting.cancel();
});
let chosenEngine: string = requestedBackend() ?? "";
engineChoice.value = chosenEngine;
engineChoice.addEventListener("change", () => void changeEngine());
void loadModel();
void openGallery();

function box(id: string): HTMLDivElement {
  return byId(id, HTMLDivElement);
}

/** Goes on once both the model and the gallery are there. */
function learn(news: Partial<Ready>): void {
  Object.assign(known, news);
  const { manifest, samples } = known;
  if (manifest && samples) tellReady({ manifest, samples });
}

// The model

async function loadModel(): Promise<void> {
  const load = async (options: CallOptions) => engine.load(await modelFolder(), options);
  await startEngine(load, { label: "Load the model", run: () => void loadModel() });
}

async function changeEngine(): Promise<void> {
  const { value } = engineChoice;
  await startEngine(async (options) => {
    try {
      const loaded = await engine.use(backendNamed(value), options);
      chosenEngine = value;
      return loaded;
    } catch (error) {
      // The one before goes on painting.
      engineChoice.value = chosenEngine;
      throw error;
    }
  });
}

/** Runs what brings a model up, and then paints with it. */
async function startEngine(
  load: (options: CallOptions) => Promise<Loaded>,
  retry?: Action,
): Promise<void> {
  setState("loading");
  try {
    const { manifest, backend, reason } = await load({
      signal: loading.signal,
      onProgress: showProgress,
    });
    byId("engine", HTMLParagraphElement).replaceChildren(
      make("strong", {}, BACKENDS[backend]),
      ` ${reason}`,
    );
    byId("where", HTMLSpanElement).textContent =
      backend === "server"
        ? "Painted by the server: your pictures are sent to it."
        : "Painted on this device: no picture leaves it.";
    pictures.smallest = manifest.min_size;
    learn({ manifest });
    if (!Settings.isSize(askedSize) && !painting.shown) store.set({ size: FIRST_SIZES[backend] });
    clearNotice("painting");
    setState("ready");
    painting.start();
  } catch (error) {
    fail(error, retry);
  }
}

/** Once something is painted, the page is kept: not before, to be no hindrance. */
async function keepOffline(): Promise<void> {
  if (isKept) return;
  isKept = true;
  const { manifest, samples } = await ready;
  await workOffline(await modelFolder(), manifest, samples);
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
  return backendNamed(address.get("backend"));
}

function backendNamed(name: string | null): BackendName | undefined {
  return (Object.keys(BACKENDS) as BackendName[]).find((backend) => backend === name);
}

// The first picture

async function openGallery(): Promise<void> {
  let gallery: Gallery;
  try {
    gallery = await Gallery.load((sample) => void pictures.chooseSample(sample));
  } catch (error) {
    fail(new EngineError("network", `The sample pictures are missing (${String(error)}).`));
    return;
  }
  store.subscribe(({ photo, styles }) => {
    gallery.mark(({ file }) => file === photo?.key || styles.some(({ key }) => key === file));
  });
  learn({ samples: gallery.samples });
  await sharing.openAddress();
  await attempt(() => chooseFirst(gallery.samples));
}

/** Chooses a photo and styles, where neither a link nor the visitor has. */
async function chooseFirst(samples: readonly Sample[]): Promise<void> {
  if (store.state.photo && store.state.styles.length > 0) return;
  const first = samples.find(({ kind }) => kind === "photo");
  const chosen = samples.filter(({ kind }) => kind === "style").slice(0, FIRST_PLACES.length);
  const [photo, ...styles] = await Promise.all([
    first && samplePhoto(first),
    ...chosen.map(sampleStyle),
  ]);
  const placed = styles.map((style, index): Style => {
    const position = FIRST_PLACES[index] ?? FIRST_PUCK;
    return { ...style, position, weight: 0, locked: false };
  });
  const { state } = store;
  store.set({
    photo: state.photo ?? photo,
    ...(state.styles.length === 0 && { styles: mixedAt(FIRST_PUCK, placed), puck: FIRST_PUCK }),
  });
}

// What the visitor is told

function setState(state: PageState): void {
  document.documentElement.dataset.state = state;
  work.hidden = state !== "loading" && state !== "painting";
}

function showStatus(status: PaintingStatus, error?: unknown): void {
  if (status === "failed") {
    fail(error);
    return;
  }
  setState(status === "waiting" ? "ready" : status);
  if (status === "painted") {
    clearNotice("painting");
    void keepOffline();
  }
  if (status === "waiting") {
    caption.textContent = "Choose a photo, and a style to paint it in.";
    spoken.textContent = caption.textContent;
  }
}

function showCaption({ state, photo, draft, duration }: Shown): void {
  const mix = describeMix(state.styles);
  const seconds = (duration / 1000).toFixed(1);
  const how = draft ? "draft" : `painted in ${seconds} s`;
  caption.replaceChildren(
    make("strong", {}, mix.replaceAll(" %", "\u00a0%")),
    make("span", {}, `${photo.width} × ${photo.height} pixels, ${how}`),
  );
  // Read out by screen readers: not with every move of a drag.
  if (!draft) spoken.textContent = `Painted: ${mix}`;
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

/** Reports a failure to load or to paint; the last good picture stays. */
function fail(error: unknown, retry?: Action): void {
  if (error instanceof DOMException && error.name === "AbortError") {
    setState(viewer.hasPicture ? "painted" : "ready");
    const again = { label: "Paint after all", run: repaint };
    showNotice("painting", "Cancelled.", retry ?? again);
    return;
  }
  setState("error");
  showNotice("painting", messageOf(error), retry ?? wayOn(error));
}

function repaint(): void {
  painting.repaint();
}

/** What to try after a painting failed. */
function wayOn(error: unknown): Action | undefined {
  if (!(error instanceof EngineError)) return undefined;
  if (error.code === "crash") return { label: "Start again", run: () => void loadModel() };
  const half = Math.round(store.state.size / 2);
  if (error.code !== "painting" || half < 64) return { label: "Try again", run: repaint };
  return {
    label: `Try ${half} px`,
    run: () => {
      store.change({ size: half });
    },
  };
}
