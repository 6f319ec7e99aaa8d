// The status line: one sentence about the last thing that happened, read out by screen readers, with at most one button.

import { HyperspaceError } from "hyperspace-db";
import { byId, h } from "./dom.ts";

export interface Action {
  label: string;
  testId: string;
  run: () => void;
}

const line = byId("status", HTMLElement);

/** What each place said last, to be there again when its view comes back. */
const kept = new Map<Element, { kind: string; nodes: Node[] }>();

/** Takes the line to another view. */
export function moveTo(place: Element): void {
  const old = line.parentElement;
  if (old && old !== place) {
    kept.set(old, { kind: line.dataset.kind ?? "note", nodes: [...line.childNodes] });
    const { kind, nodes } = kept.get(place) ?? { kind: "note", nodes: [] };
    line.dataset.kind = kind;
    line.replaceChildren(...nodes);
    place.append(line);
  }
}

export function say(text: string, action?: Action): void {
  show("note", text, action);
}

/** Shows what went wrong: an error of the database with its code. */
export function complain(error: unknown): void {
  show("error", describe(error));
}

export function describe(error: unknown): string {
  if (error instanceof HyperspaceError) {
    return `${error.code}: ${error.message}`;
  }
  return error instanceof Error ? error.message : String(error);
}

function show(kind: "note" | "error", text: string, action?: Action): void {
  line.dataset.kind = kind;
  line.replaceChildren(h("span", {}, text));
  if (action) {
    const button = h("button", { type: "button", class: "link", "data-testid": action.testId }, action.label);
    button.addEventListener("click", action.run, { once: true });
    line.append(button);
  }
}
