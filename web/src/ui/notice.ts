import { byId, make } from "./dom";

export interface Action {
  readonly label: string;
  readonly run: () => void;
}

/** What a message is about: a file that was chosen, or loading and painting. */
type Subject = "file" | "painting";

const area = byId("notice", HTMLDivElement);
let subject: Subject | undefined;

/** Tells the visitor what went wrong and offers a way on. */
export function showNotice(about: Subject, message: string, action?: Action): void {
  subject = about;
  const buttons = make("span", { className: "actions" });
  if (action) buttons.append(button(action.label, action.run));
  buttons.append(button("Dismiss", () => undefined));
  area.replaceChildren(make("p", {}, message), buttons);
}

/** Takes the message away once what it was about has gone well. */
export function clearNotice(about: Subject): void {
  if (about === subject) area.replaceChildren();
}

function button(label: string, run: () => void): HTMLButtonElement {
  const element = make("button", { type: "button" }, label);
  element.addEventListener("click", () => {
    area.replaceChildren();
    run();
  });
  return element;
}
