// The two views as ARIA tabs: arrow keys move between them, the address keeps the second one, and the status line goes
// with the view that is shown.

import { byId } from "./dom.ts";
import * as status from "./status.ts";

export type View = "search" | "mammals";

const VIEWS: readonly View[] = ["search", "mammals"];

export class Tabs {
  readonly #onMammals: () => void;
  #current: View = "search";
  #searchHash = "";

  constructor({ onMammals }: { onMammals: () => void }) {
    this.#onMammals = onMammals;
    for (const view of VIEWS) {
      const tab = byId(`tab-${view}`, HTMLElement);
      tab.addEventListener("click", () => this.select(view));
      tab.addEventListener("keydown", (event) => {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
          const other = view === "search" ? "mammals" : "search";
          this.select(other);
          byId(`tab-${other}`, HTMLElement).focus();
        }
      });
    }
  }

  get current(): View {
    return this.#current;
  }

  select(view: View): void {
    if (view !== this.#current) {
      if (view === "mammals") {
        this.#searchHash = location.hash;
      }
      history.replaceState(
        null,
        "",
        view === "mammals" ? "#mammals" : location.pathname + location.search + this.#searchHash,
      );
    }
    this.#current = view;
    for (const other of VIEWS) {
      const tab = byId(`tab-${other}`, HTMLElement);
      tab.setAttribute("aria-selected", String(other === view));
      tab.tabIndex = other === view ? 0 : -1;
      byId(`view-${other}`, HTMLElement).hidden = other !== view;
    }
    status.moveTo(byId(`status-${view}`, HTMLElement));
    if (view === "mammals") {
      this.#onMammals();
    }
  }
}
