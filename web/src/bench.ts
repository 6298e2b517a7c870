/**
 * Times graph models in the browser, ours and others alike. Driven by tests/bench.py;
 * no part of the page.
 */

import * as tf from "@tensorflow/tfjs-core";
import { loadGraphModel, type GraphModel } from "@tensorflow/tfjs-converter";

import { chooseBackend, type GraphBackend } from "./engine/backend";

/**
 * One graph to run: the shape of each input, which is filled with numbers from 0 to
 * 1, or "previous" for what the step before gave.
 */
interface Step {
  readonly graph: string;
  readonly inputs: Readonly<Record<string, number[] | "previous">>;
}

const graphs = new Map<string, GraphModel>();

const bench = {
  /** Makes a backend the current one and lets go of the graphs loaded before. */
  async start(backend: GraphBackend): Promise<void> {
    for (const graph of graphs.values()) graph.dispose();
    graphs.clear();
    await chooseBackend(backend);
  },

  async load(name: string, url: string): Promise<void> {
    graphs.set(name, await loadGraphModel(url));
  },

  /**
   * Milliseconds from numbers in memory to numbers in memory, for each of `repeats`
   * runs after a first one that is not counted.
   */
  async time(steps: readonly Step[], repeats: number): Promise<number[]> {
    const runs = steps.map(prepare);
    const times: number[] = [];
    for (let repeat = 0; repeat <= repeats; repeat++) {
      const start = performance.now();
      const result = tf.tidy(() =>
        runs.reduce<tf.Tensor>((previous, run) => run(previous), tf.scalar(0)),
      );
      await result.data();
      times.push(performance.now() - start);
      result.dispose();
    }
    return times.slice(1);
  },
};

/** Fills a step's inputs once; what it returns runs the graph on them. */
function prepare({ graph, inputs }: Step): (previous: tf.Tensor) => tf.Tensor {
  const model = graphs.get(graph);
  if (!model) throw new Error(`The graph ${graph} is not loaded.`);
  const feeds = Object.entries(inputs).map(([name, shape]) => {
    if (shape === "previous") return [name, (previous: tf.Tensor) => previous] as const;
    const length = shape.reduce((product, side) => product * side, 1);
    const values = Float32Array.from({ length }, Math.random);
    return [name, () => tf.tensor(values, shape)] as const;
  });
  return (previous) =>
    model.execute(
      Object.fromEntries(feeds.map(([name, feed]) => [name, feed(previous)])),
    ) as tf.Tensor;
}

declare global {
  interface Window {
    bench: typeof bench;
  }
}
window.bench = bench;
