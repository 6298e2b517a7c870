/** The style space: the directions in which some styles differ most. */

import { EVD, Matrix } from "ml-matrix";

import { mean, type Embedding } from "./embedding";

export interface StyleSpace {
  readonly mean: Embedding;
  /**
   * Orthogonal, of length 1, largest variance first. The largest component of each is
   * positive, so that the same styles give the same directions everywhere.
   */
  readonly directions: readonly Embedding[];
  /** The standard deviation of the embeddings along each direction. */
  readonly deviations: readonly number[];
}

/** What varies less than this, beside the most, is rounding. */
const LEAST_VARIANCE = 1e-9;

/**
 * The principal components of embeddings: `count` directions, fewer if the embeddings
 * do not span as many, none for fewer than two.
 */
export function principal(
  embeddings: readonly Float32Array[],
  count: number,
): StyleSpace {
  const centre = mean(embeddings);
  const rows = embeddings.map((embedding) =>
    Array.from(embedding, (value, index) => value - (centre[index] ?? NaN)),
  );
  // The products of the few embeddings have the eigenvalues of the covariance of the
  // many numbers, and their eigenvectors lead to its.
  const centred = new Matrix(rows);
  const { realEigenvalues, eigenvectorMatrix } = new EVD(
    centred.mmul(centred.transpose()),
    { assumeSymmetric: true },
  );
  const largestFirst = realEigenvalues
    .map((value, index) => ({ value, index }))
    .sort((one, other) => other.value - one.value);
  const least = LEAST_VARIANCE * (largestFirst[0]?.value ?? 0);
  const kept = largestFirst.filter(({ value }) => value > least).slice(0, count);
  return {
    mean: centre,
    directions: kept.map(({ index }) =>
      oriented(centred.transpose().mmul(eigenvectorMatrix.getColumnVector(index)).to1DArray()),
    ),
    deviations: kept.map(({ value }) => Math.sqrt(value / (embeddings.length - 1))),
  };
}

/**
 * An embedding's coordinates along the directions, in standard deviations of each:
 * 0 is the mean.
 */
export function project(space: StyleSpace, embedding: Float32Array): number[] {
  return space.directions.map(
    (direction, index) =>
      direction.reduce(
        (sum, value, at) =>
          sum + value * ((embedding[at] ?? NaN) - (space.mean[at] ?? NaN)),
        0,
      ) / (space.deviations[index] ?? NaN),
  );
}

/**
 * The embedding moved along the directions by offsets in standard deviations of each;
 * for a direction without an offset it stays.
 */
export function moved(
  space: StyleSpace,
  embedding: Float32Array,
  offsets: readonly number[],
): Embedding {
  return Float32Array.from(embedding, (value, at) =>
    space.directions.reduce(
      (sum, direction, index) =>
        sum +
        (offsets[index] ?? 0) * (space.deviations[index] ?? NaN) * (direction[at] ?? NaN),
      value,
    ),
  );
}

/** Of length 1, its largest component positive. */
function oriented(vector: readonly number[]): Embedding {
  const largest = vector.reduce((most, value) =>
    Math.abs(value) > Math.abs(most) ? value : most,
  );
  const length = Math.sign(largest) * Math.hypot(...vector);
  return Float32Array.from(vector, (value) => value / length);
}
