import { defineConfig } from "vite";

export default defineConfig({
  // Relative addresses: the page works under any path.
  base: "./",
  build: {
    target: "es2022",
    // The server hands out public/ itself, so a new model needs no new build.
    copyPublicDir: false,
    // A data: address would break the content security policy.
    assetsInlineLimit: 0,
    // TensorFlow.js comes in one piece and loads in the worker, off the page's path.
    chunkSizeWarningLimit: 2000,
  },
  worker: { format: "es" },
});
