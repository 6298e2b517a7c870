/** What can be done to the state: photos and styles come and go, shares stay whole. */

import type { ModelId, Photo, Store, Style } from "./state";
import { freePlace, normalised, puckFor, withStyle } from "./weights";

/** The key of the style that is the photo itself, when it is on the pad. */
export const PHOTO_KEY = "photo";

/** A style as it comes, before it has a share and a place. */
export type NewStyle = Omit<Style, "weight" | "locked" | "position">;

/** Chooses the photo; if the photo is on the pad, this one takes its place. */
export function setPhoto(store: Store, photo: Photo, thumbnail: string): void {
  const styles = store.state.styles.map((style) =>
    style.key === PHOTO_KEY ? { ...style, pictures: [photo.image], thumbnail } : style,
  );
  store.change({ photo, styles });
}

/** Adds a style at a free place of the pad, with an equal share. */
export function addStyle(store: Store, style: NewStyle): void {
  const { styles } = store.state;
  const placed = { ...style, weight: 0, locked: false, position: freePlace(styles) };
  const next = withStyle(styles, placed);
  store.change({ styles: next, puck: puckFor(next) });
}

/** Removes a style; its share goes to the others. */
export function removeStyle(store: Store, key: string): void {
  const next = normalised(store.state.styles.filter((style) => style.key !== key));
  store.change({ styles: next, puck: puckFor(next) });
}

/**
 * Takes out what only another model can read: styles known by their numbers alone, and
 * offsets along its directions. Returns the styles taken out.
 */
export function leaveToOthers(store: Store, { version }: ModelId): Style[] {
  const { styles, directions } = store.state;
  const foreign = styles.filter(({ model }) => model && model.version !== version);
  if (foreign.length > 0 || directions.some(Boolean)) {
    const own = normalised(styles.filter((style) => !foreign.includes(style)));
    store.change({ styles: own, puck: puckFor(own), directions: [] });
  }
  return foreign;
}

/** Changes one style, leaving shares as they are. */
export function changeStyle(store: Store, key: string, changes: Partial<Style>): void {
  store.change({
    styles: store.state.styles.map((style) =>
      style.key === key ? { ...style, ...changes } : style,
    ),
  });
}
