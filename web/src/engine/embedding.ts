/** The algebra of style embeddings: the one place where styles are mixed and dialled. */

export type Embedding = Float32Array<ArrayBuffer>;

/**
 * The weighted mean of embeddings. Weights are finite, not negative and not all 0;
 * they need not sum to 1. RangeError otherwise.
 */
export function mix(styles: readonly (readonly [Float32Array, number])[]): Embedding {
  const weights = styles.map(([, weight]) => weight);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (!(weights.every((weight) => weight >= 0) && total > 0 && total < Infinity)) {
    throw new RangeError(
      "Style weights must be finite, not negative and not all 0; " +
        `received [${weights.join(", ")}].`,
    );
  }
  const length = styles[0]?.[0].length ?? 0;
  return Float32Array.from({ length }, (_, index) =>
    styles.reduce((sum, [style, weight]) => sum + (style[index] ?? NaN) * weight, 0) / total,
  );
}

/**
 * The embedding to paint under: 0 is the photo's own, 1 the style's, beyond 1
 * exaggerates the style.
 */
export function atStrength(
  own: Float32Array,
  style: Float32Array,
  strength: number,
): Embedding {
  return Float32Array.from(own, (value, index) => value + strength * ((style[index] ?? NaN) - value));
}

/** The mean of embeddings, of which there is at least one. */
export function mean(embeddings: readonly Float32Array[]): Embedding {
  return mix(embeddings.map((embedding) => [embedding, 1] as const));
}
