// Adds an entry of the visitor's own: its words are embedded in the tab, and it is found by the next search.

import { type Entry, textOf } from "../data/entry.ts";
import type { Store } from "../data/store.ts";
import { byId } from "../dom.ts";
import type { Embedder } from "../embedding/embedder.ts";
import * as status from "../status.ts";

export class AddForm {
  readonly #store: Store;
  readonly #embedder: Embedder;
  readonly #added: (lemma: string) => void;
  readonly #lemma = byId("add-lemma", HTMLInputElement);
  readonly #gloss = byId("add-gloss", HTMLTextAreaElement);
  readonly #lexname = byId("add-lexname", HTMLSelectElement);
  readonly #submit = byId("add-submit", HTMLButtonElement);

  constructor(store: Store, embedder: Embedder, added: (lemma: string) => void) {
    this.#store = store;
    this.#embedder = embedder;
    this.#added = added;
    byId("add-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#add();
    });
  }

  /** The form needs the model: without it an entry would have no vector. */
  update(): void {
    this.#submit.disabled = this.#embedder.state.kind !== "ready";
  }

  async #add(): Promise<void> {
    const lemma = this.#lemma.value.trim();
    const gloss = this.#gloss.value.trim();
    if (lemma === "" || gloss === "") {
      return;
    }
    const entry: Entry = { lemmas: [lemma], gloss, lexname: this.#lexname.value, depth: 0, added: true };
    this.#submit.disabled = true;
    try {
      const { vector } = await this.#embedder.embed(textOf(entry));
      await this.#store.wordnet.upsert([{ vector, metadata: entry }]);
      this.#lemma.value = "";
      this.#gloss.value = "";
      this.#added(lemma);
    } catch (error) {
      status.complain(error);
    } finally {
      this.update();
    }
  }
}
