import { Engine, type CallOptions } from "../engine/engine";
import { EngineError, type BackendName, type Loaded, type Progress } from "../engine/protocol";
import { byId, make } from "./dom";
import { Explore } from "./explore";
import { Gallery, type Sample } from "./gallery";
import { listenToHistory } from "./history";
import {
  cardOf,
  megabytes,
  modelFolder,
  ModelPicker,
  readModels,
  reasonForLight,
} from "./models";
import { clearNotice, messageOf, showMessage, showNotice, type Action } from "./notice";
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
import { leaveToOthers } from "./studio";
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

/** What is known of the model in use and the gallery; both are there before `ready`. */
const known: { -readonly [Name in keyof Ready]?: Ready[Name] } = {};
let tellReady: (ready: Ready) => void;
const ready = new Promise<Ready>((resolve) => {
  tellReady = resolve;
});
const explore = new Explore({ container: box("explore"), store, engine, painting, ready });
painting.directions = explore.directions;
const sharing = new Sharing({ store, painting, ready, useModel });
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
/** What of a model the page last kept for work offline. */
let kept: string | undefined;

byId("cancel", HTMLButtonElement).addEventListener("click", () => {
  loading.abort();
  painting.cancel();
});
const picker = new ModelPicker((name) => void loadModel(name));
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
  if (known.manifest && known.samples) tellReady(known as Ready);
}

// The model

/** Loads a model, or the one that the address names, or the default; says if it did. */
function loadModel(asked?: string): Promise<boolean> {
  const load = async (options: CallOptions) => {
    const list = await readModels();
    const inAddress = new URLSearchParams(location.search).get("model");
    const name = asked ?? inAddress ?? list.default;
    const { version } = cardOf(list, name);
    const light = reasonForLight() !== undefined;
    const loaded = await engine.load(modelFolder(name), { ...options, version, light });
    picker.show(list, name, loaded.variant);
    if (list.static) engineChoice.querySelector("[value=server]")?.remove();
    if (asked !== undefined && asked !== inAddress) nameInAddress(asked);
    return loaded;
  };
  return startEngine(load, { label: "Load the model", run: () => void loadModel(asked) });
}

function nameInAddress(model: string): void {
  const next = new URL(location.href);
  next.searchParams.set("model", model);
  history.replaceState(null, "", next);
}

async function useModel(name: string): Promise<boolean> {
  const { models } = await readModels();
  return !Object.hasOwn(models, name) || loadModel(name);
}

async function changeEngine(): Promise<void> {
  const { value } = engineChoice;
  await startEngine(async (options) => {
    const loaded = await engine.use(backendNamed(value), options);
    chosenEngine = value;
    return loaded;
  });
}

/** Runs what brings a model or an engine up, then paints with it; says if it came up. */
async function startEngine(
  load: (options: CallOptions) => Promise<Loaded>,
  retry?: Action,
): Promise<boolean> {
  loading.abort();
  const { signal } = (loading = new AbortController());
  const goOn = painting.suspend();
  setState("loading");
  try {
    const loaded = await load({ signal, onProgress: showProgress });
    clearNotice("model");
    clearNotice("painting");
    takeOver(loaded);
    return true;
  } catch (error) {
    // What cancelled it by coming up itself has its own say.
    if (loading.signal === signal) {
      // The one before goes on painting.
      picker.reset();
      engineChoice.value = chosenEngine;
      fail(error, "model", retry);
    }
    return false;
  } finally {
    goOn();
  }
}

function takeOver({ manifest, variant, backend, reason }: Loaded): void {
  const size = `${megabytes(variant.download_bytes)} MB, ${variant.precision}`;
  const why = reasonForLight() ?? "its full size could not be reached";
  const lighter = variant.precision !== manifest.precision;
  byId("engine", HTMLParagraphElement).replaceChildren(
    make("strong", {}, BACKENDS[backend]),
    ` ${reason}`,
    lighter ? ` The model came in a smaller size (${size}), because ${why}.` : "",
  );
  byId("where", HTMLSpanElement).textContent =
    backend === "server"
      ? "Painted by the server: your pictures are sent to it."
      : "Painted on this device: no picture leaves it.";
  pictures.smallest = manifest.min_size;
  const before = known.manifest;
  learn({ manifest, variant });
  if (!Settings.isSize(askedSize) && !painting.shown) store.set({ size: FIRST_SIZES[backend] });
  setState("ready");
  painting.start(manifest);
  if (before && before.version !== manifest.version) {
    explore.forget();
    const left = leaveToOthers(store, manifest).map(({ title }) => `“${title}”`);
    if (left.length > 0) {
      showMessage(
        `${left.join(", ")}: known only in the numbers of the model “${before.name}”, so ` +
          "left out. Choose that model and undo to have it again.",
      );
    }
  }
}

/** Once something is painted, the page is kept: not before, to be no hindrance. */
async function keepOffline(): Promise<void> {
  const { manifest, variant, samples } = await ready;
  const key = manifest.version + variant.precision;
  if (key === kept) return;
  kept = key;
  await workOffline(modelFolder(manifest.name), manifest, variant, samples);
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
    const problem = `The sample pictures are missing (${String(error)}).`;
    fail(new EngineError("network", problem), "painting");
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
    fail(error, "painting");
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

/** Reports a failure to load or to paint; the last good picture stays. */
function fail(error: unknown, about: "model" | "painting", retry?: Action): void {
  if (error instanceof DOMException && error.name === "AbortError") {
    setState(viewer.hasPicture ? "painted" : "ready");
    const again = { label: "Paint after all", run: repaint };
    showNotice(about, "Cancelled.", retry ?? again);
    return;
  }
  setState("error");
  showNotice(about, messageOf(error), retry ?? wayOn(error));
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
