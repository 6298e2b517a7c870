import { build, defineConfig, type Plugin } from "vite";

export default defineConfig({
  // Relative addresses: the page works under any path.
  base: "./",
  resolve: {
    alias: [
      // Threads are off: the loader for them is never called.
      { find: /tfjs-backend-wasm-threaded-simd\.js$/, replacement: "tfjs-backend-wasm.js" },
      // Only what such networks use, of all that TensorFlow.js has.
      {
        find: "@tensorflow/tfjs-core/dist/ops/ops_for_converter",
        replacement: decodeURI(new URL("src/engine/ops.ts", import.meta.url).pathname),
      },
    ],
  },
  build: {
    target: "es2022",
    // The server hands out public/ itself, so a new model needs no new build.
    copyPublicDir: false,
    // A data: address would break the content security policy.
    assetsInlineLimit: 0,
    // TensorFlow.js comes in large pieces and loads in the worker, off the page's path.
    chunkSizeWarningLimit: 2000,
  },
  worker: { format: "es" },
  plugins: [serviceWorker()],
});

/**
 * Builds src/service-worker.ts into sw.js beside the page, after all other files are
 * known: it keeps them.
 */
function serviceWorker(): Plugin {
  return {
    name: "service-worker",
    apply: "build",
    async writeBundle({ dir }, bundle) {
      const files = await Promise.all(
        Object.values(bundle).map(async (file) => ({
          url: file.fileName,
          // A name in assets/ has a hash of the contents in it.
          revision: file.fileName.startsWith("assets/")
            ? null
            : await hash(file.type === "asset" ? file.source : file.code),
        })),
      );
      await build({
        configFile: false,
        logLevel: "warn",
        define: { "self.__WB_MANIFEST": JSON.stringify(files) },
        build: {
          target: "es2022",
          outDir: dir ?? "dist",
          emptyOutDir: false,
          copyPublicDir: false,
          rolldownOptions: {
            input: "src/service-worker.ts",
            output: { format: "iife", entryFileNames: "sw.js" },
          },
        },
      });
    },
  };
}

async function hash(contents: string | Uint8Array): Promise<string> {
  const bytes = await new Blob([contents as BlobPart]).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
