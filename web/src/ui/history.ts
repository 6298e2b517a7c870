import { byId } from "./dom";
import type { Store } from "./state";
import { isTyping } from "./viewer";

/** The buttons and keys that undo and redo: Ctrl or ⌘ with Z, Shift Z, Y. */
export function listenToHistory(store: Store): void {
  const undo = byId("undo", HTMLButtonElement);
  const redo = byId("redo", HTMLButtonElement);
  undo.addEventListener("click", () => {
    store.undo();
  });
  redo.addEventListener("click", () => {
    store.redo();
  });
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || isTyping(event.target)) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) store.redo();
    else store.undo();
  });
  const mark = () => {
    undo.disabled = !store.canUndo;
    redo.disabled = !store.canRedo;
  };
  store.subscribe(mark);
  mark();
}
