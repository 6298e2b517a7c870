/** Keeps the page on this device: after the first visit it works without the network. */

import { clientsClaim } from "workbox-core";
import { ExpirationPlugin } from "workbox-expiration";
import { precacheAndRoute, type PrecacheEntry } from "workbox-precaching";
import { registerRoute } from "workbox-routing";
import { CacheFirst, NetworkFirst, StaleWhileRevalidate } from "workbox-strategies";

declare const self: {
  /** Every file of the built page: vite.config.ts puts them in. */
  readonly __WB_MANIFEST: PrecacheEntry[];
  readonly registration: { readonly scope: string };
  skipWaiting(): Promise<void>;
};

/** Some models, of about seven files each; the oldest go when there are more. */
const MODEL_FILES = 40;
/** How long a network that hardly answers is waited for. */
const PATIENCE_SECONDS = 4;

// Settings in the page's address, such as ?size=256, are no other page.
precacheAndRoute(self.__WB_MANIFEST, { ignoreURLParametersMatching: [/./] });

const folder = (name: string) => new URL(name, self.registration.scope).href;

// What is published may change at any time, and the lists say what is.
registerRoute(
  ({ url: { href } }) =>
    (href.startsWith(folder("models/")) && /\/(index|manifest)\.json$/.test(href)) ||
    href === folder("gallery/gallery.json"),
  new NetworkFirst({
    cacheName: "sfumato-lists",
    networkTimeoutSeconds: PATIENCE_SECONDS,
  }),
);
// A model's other files have its version in their address.
registerRoute(
  ({ url }) => url.href.startsWith(folder("models/")) && url.searchParams.has("v"),
  new CacheFirst({
    cacheName: "sfumato-models",
    plugins: [new ExpirationPlugin({ maxEntries: MODEL_FILES, purgeOnQuotaError: true })],
  }),
);
registerRoute(
  ({ url }) => url.href.startsWith(folder("gallery/")),
  new StaleWhileRevalidate({ cacheName: "sfumato-gallery" }),
);

// The first visit's page is served from here at once. A later version waits until the
// page asks for it.
clientsClaim();
addEventListener("message", ({ data }: MessageEvent<{ type?: string } | undefined>) => {
  if (data?.type === "SKIP_WAITING") void self.skipWaiting();
});
