import { byId, make } from "./dom";

export interface Action {
  readonly label: string;
  readonly run: () => void;
}

/** What a message is about: a file that was chosen, a link, loading, or painting. */
type Subject = "file" | "link" | "model" | "painting";

/** How long a message without a choice stays, in ms. */
const READING_MS = 8000;

const notice = byId("notice", HTMLDivElement);
const message = byId("message", HTMLDivElement);
let subject: Subject | undefined;
let reading: ReturnType<typeof setTimeout> | undefined;

/** Tells the visitor what went wrong and offers a way on. */
export function showNotice(about: Subject, text: string, action?: Action): void {
  subject = about;
  fill(notice, text, action);
}

/** Takes the message away once what it was about has gone well. */
export function clearNotice(about: Subject): void {
  if (about === subject) notice.replaceChildren();
}

/** Tells the visitor something that is no problem; without an action, for a while. */
export function showMessage(text: string, action?: Action): void {
  clearTimeout(reading);
  fill(message, text, action);
  if (!action) {
    reading = setTimeout(() => {
      message.replaceChildren();
    }, READING_MS);
  }
}

function fill(area: HTMLElement, text: string, action: Action | undefined): void {
  const buttons = make("span", { className: "actions" });
  const close = (run?: () => void) => () => {
    area.replaceChildren();
    run?.();
  };
  for (const { label, run } of [...(action ? [action] : []), { label: "Dismiss", run: undefined }]) {
    const button = make("button", { type: "button" }, label);
    button.addEventListener("click", close(run));
    buttons.append(button);
  }
  area.replaceChildren(make("p", {}, text), buttons);
}

/** What went wrong, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
