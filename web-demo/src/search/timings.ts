// The numbers beside the results: what the database holds, what a search costs and what opening cost.

import type { CollectionStats } from "hyperspace-db";
import type { Store } from "../data/store.ts";
import { byId, bytes, count, median, milliseconds } from "../dom.ts";

const KEPT = 20;

function put(id: string, text: string): void {
  byId(id, HTMLElement).textContent = text;
}

function origin({ graphInsertions, indexed }: CollectionStats): string {
  if (graphInsertions > 0) {
    return `${count(graphInsertions)} points were put into the graph since the page was opened.`;
  }
  return indexed > 0 ? "The graph came from disk: nothing was indexed again." : "";
}

export class Timings {
  readonly #store: Store;
  readonly #searches: number[] = [];
  #showing: Promise<void> | undefined;
  #again = false;

  constructor(store: Store, openMilliseconds: number) {
    this.#store = store;
    put("open-ms", milliseconds(openMilliseconds));
  }

  searched(elapsed: number): void {
    this.#searches.push(elapsed);
    if (this.#searches.length > KEPT) {
      this.#searches.shift();
    }
    put("search-ms", milliseconds(elapsed));
    put("search-median-ms", milliseconds(median(this.#searches) ?? elapsed));
  }

  embedded(elapsed: number): void {
    put("embed-ms", milliseconds(elapsed));
  }

  /** Asks the engine for its counters and shows them; calls that come meanwhile are answered by one more round. */
  async show(): Promise<void> {
    if (this.#showing) {
      this.#again = true;
      return this.#showing;
    }
    this.#showing = this.#round();
    try {
      await this.#showing;
    } finally {
      this.#showing = undefined;
    }
  }

  async #round(): Promise<void> {
    do {
      this.#again = false;
      const [stats, storage] = await Promise.all([this.#store.wordnet.stats(), this.#store.db.storage()]);
      put("points", count(stats.points));
      put("indexed", count(stats.indexed));
      put("pending", count(stats.pending));
      put("segments", count(stats.segments.length));
      put("stored-bytes", bytes(storage.bytesStored));
      put("memory-bytes", bytes(stats.bytesInMemory));
      if (stats.searches > 0 && stats.points > 0) {
        const each = stats.distances / stats.searches;
        const share = ((100 * each) / stats.points).toFixed(1);
        put(
          "distances",
          `A search compares with ${count(Math.round(each))} of ${count(stats.points)} points on average: ${share} %.`,
        );
      }
      put("opened", `${origin(stats)}${storage.backend === "memory" ? " Nothing is saved in this window." : ""}`);
    } while (this.#again);
  }
}
