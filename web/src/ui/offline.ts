/** Work without the network: the page's side of the service worker. */

import { Workbox } from "workbox-window";

import { graphFiles } from "../engine/painter";
import type { Manifest } from "../engine/protocol";
import { sampleUrl, type Sample } from "./gallery";
import { showMessage } from "./notice";

/**
 * Keeps the page, the model in `folder` and the gallery on this device, and says when
 * they are there for the first time. Announces a new version of the page.
 */
export async function workOffline(
  folder: string,
  manifest: Manifest,
  samples: readonly Sample[],
): Promise<void> {
  // Browsers have service workers only where the page comes by https or from localhost.
  if (!("serviceWorker" in navigator)) return;
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
    return;
  }
  await workbox.controlling;
  // What was downloaded before the service worker was there has passed it by.
  const model = new URL(folder, document.baseURI).href;
  const files = [
    `${model}manifest.json`,
    ...graphFiles(model, manifest),
    ...["./models/index.json", "./gallery/gallery.json", ...samples.map(sampleUrl)].map(
      (address) => new URL(address, document.baseURI).href,
    ),
  ];
  const kept = await Promise.all(files.map((file) => caches.match(file)));
  if (kept.every(Boolean)) return;
  await workbox.messageSW({ type: "CACHE_URLS", payload: { urlsToCache: files } });
  showMessage("Ready to work offline.");
}
