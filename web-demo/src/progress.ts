// The bar at the top while the first visit's data is loaded and indexed. Search works meanwhile.

import { byId, count } from "./dom.ts";

/** A few rows of the visitor's own wait for their segment without a bar. */
const WORTH_SHOWING = 1000;

type Phase = "loading" | "indexing" | "done" | "stopped";

export class Progress {
  readonly #box = byId("progress", HTMLElement);
  readonly #bar = byId("progress-bar", HTMLProgressElement);
  #isLoading = false;
  #isStopped = false;

  loading(loaded: number, total: number): void {
    this.#isLoading = true;
    this.#show(
      "loading",
      "Loading WordNet",
      total > 1 ? `${count(loaded)} of ${count(total)} entries` : "",
      loaded / total,
    );
  }

  loaded(): void {
    this.#isLoading = false;
  }

  /** While rows arrive their number is what is shown; and that loading stopped stays on the page. */
  indexing(indexed: number, pending: number, done: boolean): void {
    if (this.#isLoading || this.#isStopped || (this.#box.hidden && pending < WORTH_SHOWING)) {
      return;
    }
    if (done) {
      this.finish();
    } else {
      const total = indexed + pending;
      this.#show("indexing", "Building the graph", `${count(indexed)} of ${count(total)} points`, indexed / total);
    }
  }

  finish(): void {
    this.#isLoading = false;
    this.#box.hidden = true;
    this.#box.dataset.phase = "done" satisfies Phase;
  }

  stop(reason: string): void {
    this.#isLoading = false;
    this.#isStopped = true;
    this.#show("stopped", "Loading stopped", `${reason}. It goes on at the next visit.`, this.#bar.value);
  }

  #show(phase: Phase, title: string, text: string, share: number): void {
    this.#box.hidden = false;
    this.#box.dataset.phase = phase;
    byId("progress-title", HTMLElement).textContent = title;
    byId("progress-text", HTMLElement).textContent = text;
    this.#bar.value = share;
  }
}
