/** Work without the network: the page's side of the service worker. */

import { Workbox } from "workbox-window";

import { filesOf } from "../engine/painter";
import type { Manifest, Variant } from "../engine/protocol";
import { sampleUrl, type Sample } from "./gallery";
import { showMessage } from "./notice";

let registered: Promise<Workbox | undefined> | undefined;

/**
 * Keeps the page, the model in `folder` and the gallery on this device, and says when
 * they are there for the first time. Announces a new version of the page.
 */
export async function workOffline(
  folder: string,
  manifest: Manifest,
  variant: Variant,
  samples: readonly Sample[],
): Promise<void> {
  const workbox = await (registered ??= register());
  if (!workbox) return;
  await workbox.controlling;
  // What was downloaded before the service worker was there has passed it by.
  const files = [
    ...filesOf(new URL(folder, document.baseURI).href, manifest, variant),
    ...["./models/index.json", "./gallery/gallery.json", ...samples.map(sampleUrl)].map(
      (address) => new URL(address, document.baseURI).href,
    ),
  ];
  const kept = await Promise.all(files.map((file) => caches.match(file)));
  if (kept.every(Boolean)) return;
  await workbox.messageSW({ type: "CACHE_URLS", payload: { urlsToCache: files } });
  showMessage("Ready to work offline.");
}

/** The service worker, once it is registered, if this browser has any. */
async function register(): Promise<Workbox | undefined> {
  // Browsers have service workers only where the page comes by https or from localhost.
  if (!("serviceWorker" in navigator)) return undefined;
  const workbox = new Workbox("./sw.js");
  workbox.addEventListener("waiting", () => {
    showMessage("There is a new version of this page.", {
      label: "Update now",
      run: () => {
        workbox.addEventListener("controlling", () => {
          location.reload();
        });
        workbox.messageSkipWaiting();
      },
    });
  });
  try {
    await workbox.register();
  } catch {
    // Forbidden by the browser's settings: the page works, with the network.
    return undefined;
  }
  return workbox;
}
