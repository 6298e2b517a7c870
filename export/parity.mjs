// Runs TF.js graph models in Node on the WASM backend, for parity.py.
//
//   node parity.mjs JOB
//
// JOB is a folder with job.json and one raw float32 file per input tensor:
// { graphs: {name: folder}, tensors: {name: shape}, converter: file,
//   runs: [{graph, inputs: {input: tensor}, outputs: {node: tensor}}] }
// converter is where the page's reader of graphs is built, unless it is there already.
// Runs go in order and may take the tensors of earlier ones. Every output is
// written as a raw float32 file. result.json gets their shapes, and the kernels each
// graph ran that WebGL lacks; or the graph that failed and why.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

// The packages are the page's own, so that what is checked is what is shipped.
const require = createRequire(new URL("../web/package.json", import.meta.url));
const tf = require("@tensorflow/tfjs-core");
require("@tensorflow/tfjs-backend-wasm");
require("@tensorflow/tfjs-backend-webgl");

const folder = process.argv[2];
const job = JSON.parse(readFileSync(join(folder, "job.json"), "utf8"));

if (!existsSync(job.converter)) await buildConverter(job.converter);
const { loadGraphModel } = require(job.converter);

/**
 * TF.js's reader of graphs with the operations that the page has, by the page's own
 * build settings: an operation that it leaves out is missing here too.
 */
async function buildConverter(file) {
  const { build, loadConfigFromFile } = await import(pathToFileURL(require.resolve("vite")));
  const web = fileURLToPath(new URL("../web/", import.meta.url));
  const mode = { command: "build", mode: "production" };
  const { config } = await loadConfigFromFile(mode, undefined, web);
  const core = require.resolve("@tensorflow/tfjs-core");
  await build({
    configFile: false,
    root: web,
    logLevel: "warn",
    // The kernels register with this very module.
    resolve: {
      alias: [...config.resolve.alias, { find: /^@tensorflow\/tfjs-core$/, replacement: core }],
    },
    build: {
      outDir: dirname(file),
      emptyOutDir: false,
      copyPublicDir: false,
      minify: false,
      lib: {
        entry: "node_modules/@tensorflow/tfjs-converter/dist/index.js",
        formats: ["cjs"],
        fileName: () => "converter.cjs",
      },
      rolldownOptions: { external: [core] },
    },
  });
}

function arrayBuffer(bytes) {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
}

function load(graphFolder) {
  const model = JSON.parse(readFileSync(join(graphFolder, "model.json"), "utf8"));
  const groups = model.weightsManifest;
  const shards = groups.flatMap((group) => group.paths);
  return loadGraphModel(
    tf.io.fromMemory({
      modelTopology: model.modelTopology,
      signature: model.signature,
      weightSpecs: groups.flatMap((group) => group.weights),
      weightData: arrayBuffer(
        Buffer.concat(shards.map((shard) => readFileSync(join(graphFolder, shard)))),
      ),
    }),
  );
}

async function main() {
  await tf.setBackend("wasm");
  const webgl = new Set(tf.getKernelsForBackend("webgl").map((k) => k.kernelName));
  const tensors = {};
  for (const [name, shape] of Object.entries(job.tensors)) {
    const bytes = readFileSync(join(folder, `${name}.f32`));
    tensors[name] = tf.tensor(new Float32Array(arrayBuffer(bytes)), shape);
  }
  const models = {};
  const kernels = {};
  const shapes = {};
  for (const { graph, inputs, outputs } of job.runs) {
    try {
      models[graph] ??= await load(job.graphs[graph]);
      const feeds = Object.fromEntries(
        Object.entries(inputs).map(([input, tensor]) => [input, tensors[tensor]]),
      );
      const profile = await tf.profile(() =>
        models[graph].execute(feeds, Object.keys(outputs)),
      );
      kernels[graph] ??= new Set();
      // "…__op" is the scope of an op made of several kernels, not a kernel.
      profile.kernelNames
        .filter((kernel) => !kernel.endsWith("__op"))
        .forEach((kernel) => kernels[graph].add(kernel));
      const results = [profile.result].flat();
      for (const [index, name] of Object.values(outputs).entries()) {
        tensors[name] = results[index];
        shapes[name] = results[index].shape;
        writeFileSync(join(folder, `${name}.f32`), await results[index].data());
      }
    } catch (error) {
      return { graph, error: error.message };
    }
  }
  return {
    tfjs: tf.version_core,
    shapes,
    missing: Object.fromEntries(
      Object.entries(kernels).map(([graph, names]) => [
        graph,
        [...names].filter((kernel) => !webgl.has(kernel)).sort(),
      ]),
    ),
  };
}

writeFileSync(join(folder, "result.json"), JSON.stringify(await main()));
