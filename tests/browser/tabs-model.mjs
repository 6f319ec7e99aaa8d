// What callers in several tabs know of a database: every write that was sent, and every one that was acknowledged.

export class Model {
  acknowledged = 0;
  /** Writes of tabs that ended before the answer: done or not. */
  unknown = 0;
  upserts = 0;
  /** The log's numbers of all acknowledged upserts; a delete answers how far the log reaches. */
  numbers = new Set();
  /** Per id: the versions that may be stored; null stands for no point. */
  #versions = new Map();
  #pending = new Map();
  #counts = new Map();

  intend(op) {
    this.#pending.set(`${op.tab}/${op.stream}`, op);
  }

  acknowledge(op, lsn) {
    if (this.#pending.get(`${op.tab}/${op.stream}`)?.version !== op.version) return; // Its tab has ended.
    this.#pending.delete(`${op.tab}/${op.stream}`);
    this.acknowledged += 1;
    if (op.version !== null) {
      this.upserts += 1;
      this.numbers.add(lsn);
    }
    this.#versions.set(op.id, [op.version]);
    this.#counts.set(op.tab, (this.#counts.get(op.tab) ?? 0) + 1);
  }

  /** A tab ends: what it waits for may be done, or not. */
  leave(tab) {
    for (const [key, op] of this.#pending) {
      if (op.tab !== tab) continue;
      this.#pending.delete(key);
      this.unknown += 1;
      this.#versions.set(op.id, [...(this.#versions.get(op.id) ?? [null]), op.version]);
    }
  }

  /** Waits until each of the tabs has had so many more writes acknowledged. */
  async progress(tabs, wanted, longest) {
    const from = new Map(tabs.map((tab) => [tab, this.#counts.get(tab) ?? 0]));
    const started = performance.now();
    const lags = () => tabs.filter((tab) => (this.#counts.get(tab) ?? 0) < from.get(tab) + wanted);
    while (lags().length > 0) {
      if (performance.now() - started > 60_000) throw new Error(`tabs ${lags()} have had no answer for a minute`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    longest.wait = Math.max(longest.wait, Math.round(performance.now() - started));
  }

  settled() {
    return [...this.#versions].map(([id, versions]) => ({ id, versions }));
  }
}
