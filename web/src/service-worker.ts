/** Keeps the page on this device: after the first visit it works without the network. */

import { clientsClaim, type WorkboxPlugin } from "workbox-core";
import { precacheAndRoute, type PrecacheEntry } from "workbox-precaching";
import { registerRoute } from "workbox-routing";
import { CacheFirst, NetworkFirst, StaleWhileRevalidate } from "workbox-strategies";

declare const self: {
  /** Every file of the built page: vite.config.ts puts them in. */
  readonly __WB_MANIFEST: PrecacheEntry[];
  readonly registration: { readonly scope: string };
  skipWaiting(): Promise<void>;
};

const MODEL_CACHE = "sfumato-models";
/** How long a network that hardly answers is waited for. */
const PATIENCE_SECONDS = 4;

// Settings in the page's address, such as ?size=256, are no other page.
precacheAndRoute(self.__WB_MANIFEST, { ignoreURLParametersMatching: [/./] });

const folder = (name: string) => new URL(name, self.registration.scope).href;

/** Versions of models that are published no more need not be kept. */
const forget: WorkboxPlugin = {
  async cacheDidUpdate({ newResponse }) {
    const { models } = (await newResponse.json()) as {
      models: Record<string, { version: string }>;
    };
    const versions = new Set(Object.values(models).map(({ version }) => version));
    const cache = await caches.open(MODEL_CACHE);
    for (const file of await cache.keys()) {
      const version = new URL(file.url).searchParams.get("v");
      if (!versions.has(version ?? "")) await cache.delete(file);
    }
  },
};

// What is published may change at any time, and the lists say what is.
for (const [name, plugins] of [
  ["models/index.json", [forget]],
  ["gallery/gallery.json", []],
] as const) {
  registerRoute(
    ({ url }) => url.href === folder(name),
    new NetworkFirst({
      cacheName: "sfumato-lists",
      networkTimeoutSeconds: PATIENCE_SECONDS,
      plugins: [...plugins],
    }),
  );
}
// The files of a model have its version in their address.
registerRoute(
  ({ url }) => url.href.startsWith(folder("models/")) && url.searchParams.has("v"),
  new CacheFirst({ cacheName: MODEL_CACHE }),
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
