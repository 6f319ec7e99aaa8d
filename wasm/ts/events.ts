/** Listeners by the name of what they listen to. */

import { HyperspaceError } from "./errors.js";

type Sets<Events> = { [E in keyof Events]: Set<(event: Events[E]) => void> };

export class Listeners<Events> {
  readonly #of: Sets<Events>;

  constructor(none: Sets<Events>) {
    this.#of = none;
  }

  /** Listens; the answer stops listening. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void {
    const listeners = this.#of[event];
    if (listeners === undefined) {
      throw new HyperspaceError("invalid_argument", `there is no event \`${String(event)}\``);
    }
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /** A listener that throws must not keep the others, or the engine's answers, from arriving. */
  emit<E extends keyof Events>(name: E, event: Events[E]): void {
    for (const listener of [...this.#of[name]]) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
