/** Small pictures that stand for styles which are no picture. */

import type { Embedding } from "../engine/embedding";
import { make } from "./dom";

/** Pixels a side. */
const SIZE = 96;

/** Pictures laid over each other, each as strong as its share; shares are above 0. */
export function blend(layers: readonly { image: HTMLImageElement; share: number }[]): string {
  const { canvas, context } = blank();
  let sum = 0;
  for (const { image, share } of layers) {
    const { naturalWidth: width, naturalHeight: height } = image;
    const side = Math.min(width, height);
    // Not loaded yet: the others do.
    if (!image.complete || side === 0) continue;
    sum += share;
    context.globalAlpha = share / sum;
    context.drawImage(image, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIZE, SIZE);
  }
  return canvas.toDataURL("image/jpeg", 0.85);
}

/**
 * A picture of an embedding's own numbers, for a style that came without one: a square
 * for each, from teal for the lowest to amber for the highest.
 */
export function fingerprint(embedding: Embedding): string {
  const { canvas, context } = blank();
  const side = Math.ceil(Math.sqrt(embedding.length));
  const square = SIZE / side;
  const most = embedding.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0) || 1;
  embedding.forEach((value, index) => {
    const strength = value / most;
    context.fillStyle = `hsl(${strength < 0 ? 190 : 30} 55% ${90 - 60 * Math.abs(strength)}%)`;
    const [x, y] = [index % side, Math.floor(index / side)];
    context.fillRect(x * square, y * square, square + 0.5, square + 0.5);
  });
  return canvas.toDataURL("image/png");
}

function blank(): { canvas: HTMLCanvasElement; context: CanvasRenderingContext2D } {
  const canvas = make("canvas", { width: SIZE, height: SIZE });
  const context = canvas.getContext("2d");
  if (!context) throw new Error("There is no memory left for a small picture.");
  context.imageSmoothingQuality = "high";
  return { canvas, context };
}
