/** From places on the pad to shares of the mix, and back. Shares sum to 1. */

import type { Point, Style } from "./state";

/** What a share depends on. */
export type Placed = Pick<Style, "weight" | "locked" | "position">;

/** A share below this is dropped to 0. */
export const TINY = 0.02;
/** Where the puck is this near to a style, in widths of the pad, it is on it. */
const TOUCHING = 0.02;

/**
 * The shares that a puck at this point gives, one for each style: the nearer, the
 * larger (inverse squared distance), tiny ones dropped to 0. Locked styles keep what
 * they have, the others divide the rest.
 */
export function weightsAt(point: Point, styles: readonly Placed[]): number[] {
  const open = styles.filter((style) => !style.locked);
  const found = influence(point, open);
  // On a style there is only this one.
  const least = touches(point, open) ? Math.max(...found) : TINY;
  const pulls = found.map((pull) => (pull < least ? 0 : pull));
  let next = 0;
  return shared(
    styles,
    styles.map((style) => (style.locked ? 0 : (pulls[next++] ?? 0))),
  );
}

/** How strong each style is at a point, by the inverse squared distance; sums to 1. */
export function influence(point: Point, styles: readonly Pick<Style, "position">[]): number[] {
  const pulls = styles.map(
    ({ position: { x, y } }) => 1 / Math.max((point.x - x) ** 2 + (point.y - y) ** 2, 1e-9),
  );
  const total = pulls.reduce((sum, pull) => sum + pull, 0);
  return pulls.map((pull) => pull / total);
}

function touches(point: Point, styles: readonly Pick<Style, "position">[]): boolean {
  return styles.some(
    ({ position: { x, y } }) => Math.hypot(point.x - x, point.y - y) <= TOUCHING,
  );
}

/** The styles with the shares that a puck at this point gives them. */
export function mixedAt<S extends Placed>(point: Point, styles: readonly S[]): S[] {
  const weights = weightsAt(point, styles);
  return styles.map((style, index) => ({ ...style, weight: weights[index] ?? 0 }));
}

/**
 * The styles with one's share set to `weight`, 0 to 1: as near to that as the locked
 * ones allow. The others keep their proportions; where they have none, they share
 * equally.
 */
export function withWeight<S extends Placed & Pick<Style, "key">>(
  styles: readonly S[],
  key: string,
  weight: number,
): S[] {
  const target = styles.find((style) => style.key === key);
  if (!target) return [...styles];
  const lock = target.locked;
  const held = sum(styles.filter((style) => style.locked && style !== target));
  const set = { ...target, locked: true, weight: clamp(weight, 0, Math.max(0, 1 - held)) };
  const next = normalised(styles.map((style) => (style === target ? set : style)));
  return next.map((style) => (style.key === key ? { ...style, locked: lock } : style));
}

/**
 * The styles with shares that sum to 1: those of unlocked styles are scaled, or made
 * equal where all are 0; those of locked ones only if nothing else helps.
 */
export function normalised<S extends Placed>(styles: readonly S[]): S[] {
  const weights = shared(
    styles,
    styles.map((style) => style.weight),
  );
  return styles.map((style, index) => ({ ...style, weight: weights[index] ?? 0 }));
}

/** The styles and one more, which gets an equal share. */
export function withStyle<S extends Placed>(styles: readonly S[], added: S): S[] {
  const open = styles.filter((style) => !style.locked);
  const rest = 1 - sum(styles.filter((style) => style.locked));
  const weight = Math.max(0, rest) / (open.length + 1);
  const scaled = styles.map((style) =>
    style.locked ? style : { ...style, weight: style.weight * (rest > 0 ? 1 - weight / rest : 0) },
  );
  return normalised([...scaled, { ...added, weight }]);
}

/** Where the puck shows these shares best. */
export function puckFor(styles: readonly Placed[]): Point {
  let best: Point = { x: 0.5, y: 0.5 };
  if (styles.length === 0) return best;
  const error = (point: Point) =>
    weightsAt(point, styles).reduce(
      (total, weight, index) => total + (weight - (styles[index]?.weight ?? 0)) ** 2,
      // Of equals the one nearest the middle.
      1e-6 * Math.hypot(point.x - 0.5, point.y - 0.5),
    );
  let least = error(best);
  const look = (point: Point) => {
    const found = error(point);
    if (found < least) [least, best] = [found, point];
  };
  for (const { position } of styles) look(position);
  // A grid over the pad, then ever finer ones around the best point.
  const steps = 16;
  for (let side = 1; side > 0.002; side /= 6) {
    const { x, y } = side === 1 ? { x: 0.5, y: 0.5 } : best;
    for (let row = 0; row <= steps; row++) {
      for (let column = 0; column <= steps; column++) {
        look({
          x: clamp(x + side * (column / steps - 0.5), 0, 1),
          y: clamp(y + side * (row / steps - 0.5), 0, 1),
        });
      }
    }
  }
  return best;
}

/** A place on the pad for one more style, far from the others. */
export function freePlace(styles: readonly Pick<Style, "position">[]): Point {
  const nearest = ({ x, y }: Point) =>
    Math.min(...styles.map(({ position }) => Math.hypot(x - position.x, y - position.y)));
  return PLACES.reduce((best, place) => (nearest(place) > nearest(best) + 1e-9 ? place : best));
}

/** Twelve places on a ring, from the top left, then six on an inner one. */
const PLACES: readonly Point[] = [
  ...ring(12, 0.37, -0.75 * Math.PI),
  ...ring(6, 0.19, -0.75 * Math.PI + Math.PI / 6),
];

function ring(count: number, radius: number, start: number): Point[] {
  return Array.from({ length: count }, (_, index) => {
    const angle = start + (index / count) * 2 * Math.PI;
    return { x: 0.5 + radius * Math.cos(angle), y: 0.5 + radius * Math.sin(angle) };
  });
}

/** A share in words: "60 %". */
export function percent(weight: number): string {
  return `${Math.round(weight * 100)} %`;
}

/** Shares that sum to 1 in whole percent that sum to 100 (largest remainder method). */
export function percentages(styles: readonly Pick<Style, "weight">[]): number[] {
  const exact = styles.map(({ weight }) => weight * 100);
  const whole = exact.map(Math.floor);
  const rest = (index: number) => (exact[index] ?? 0) - (whole[index] ?? 0);
  const missing = Math.round(exact.reduce((total, _, index) => total + rest(index), 0));
  const order = [...whole.keys()].sort((one, other) => rest(other) - rest(one));
  const raised = new Set(order.slice(0, missing));
  return whole.map((value, index) => value + (raised.has(index) ? 1 : 0));
}

/** The mix in words: "Woodcut 60 %, Embers 40 %". */
export function describeMix(styles: readonly Pick<Style, "title" | "weight">[]): string {
  const shares = percentages(styles);
  return styles
    .flatMap(({ title, weight }, index) => (weight > 0 ? `${title} ${shares[index]} %` : []))
    .join(", ");
}

/** Divides what the locked styles leave in proportion to `pulls`, none negative. */
function shared(styles: readonly Placed[], pulls: readonly number[]): number[] {
  const open = styles.filter((style) => !style.locked).length;
  const held = sum(styles.filter((style) => style.locked));
  if (open === 0) {
    return styles.map((style) => (held > 0 ? style.weight / held : 1 / styles.length));
  }
  // Locked shares of more than everything, as after loading others' settings.
  const squeeze = Math.max(1, held);
  const rest = 1 - held / squeeze;
  const pull = pulls.reduce((total, one, index) => total + (styles[index]?.locked ? 0 : one), 0);
  return styles.map((style, index) => {
    if (style.locked) return style.weight / squeeze;
    return rest * (pull > 0 ? (pulls[index] ?? 0) / pull : 1 / open);
  });
}

function sum(styles: readonly Pick<Style, "weight">[]): number {
  return styles.reduce((total, { weight }) => total + weight, 0);
}

/** The number brought into [low, high]. */
export function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
