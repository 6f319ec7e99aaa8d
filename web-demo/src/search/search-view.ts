// Search by meaning: typed words (embedded in the tab) or an entry's own vector, with filters, over `wordnet`.
//
// One search at a time is shown: a newer one aborts the older. Times are taken around `collection.search`, so they hold
// the way to the engine's worker and back.

import type { Filter, Hit, SearchOptions } from "hyperspace-db";
import { Combobox, type Option } from "../combobox.ts";
import type { Entry } from "../data/entry.ts";
import { splitGloss, topicOf } from "../data/entry.ts";
import type { Lexicon } from "../data/lexicon.ts";
import type { Store } from "../data/store.ts";
import { byId, h, milliseconds } from "../dom.ts";
import type { Embedder } from "../embedding/embedder.ts";
import * as status from "../status.ts";
import { fromHash, type Query, toHash } from "./query.ts";
import { ResultList } from "./result-list.ts";
import type { Timings } from "./timings.ts";

const TOP_K = 20;
const TYPING_PAUSE_MILLISECONDS = 120;
const SUGGESTIONS = 6;
const EXAMPLES = [
  "a person who flies aircraft",
  "frozen dessert",
  "tool for looking at the stars",
  "shaking of the ground",
  "animal that barks",
  "being in love",
];
const EXAMPLE_WORDS = ["dog", "piano", "photosynthesis", "volcano", "jealousy", "cathedral"];

export interface SearchViewParts {
  store: Store;
  embedder: Embedder;
  lexicon: () => Promise<Lexicon>;
  timings: Timings;
}

export class SearchView {
  readonly #parts: SearchViewParts;
  readonly #input = byId("search-input", HTMLInputElement);
  readonly #lexname = byId("filter-lexname", HTMLSelectElement);
  readonly #depth = byId("filter-depth", HTMLInputElement);
  readonly #added = byId("filter-added", HTMLInputElement);
  readonly #exact = byId("exact", HTMLInputElement);
  readonly #comparison = byId("comparison", HTMLElement);
  readonly #welcome = byId("welcome", HTMLElement);
  readonly #results: ResultList;
  readonly #combobox: Combobox<number>;
  #query: Query | undefined;
  #running = new AbortController();
  #typing: ReturnType<typeof setTimeout> | undefined;

  constructor(parts: SearchViewParts) {
    this.#parts = parts;
    this.#results = new ResultList({
      more: (hit) => this.search({ kind: "entry", id: hit.id, label: hit.metadata?.lemmas[0] ?? String(hit.id) }),
      remove: (hit) => void this.#remove(hit),
      leave: () => this.#input.focus(),
    });
    this.#combobox = new Combobox<number>({
      input: this.#input,
      list: byId("suggestions", HTMLElement),
      optionTestId: "suggestion",
      suggest: (text) => this.#suggest(text),
      choose: (id, label) => this.search({ kind: "entry", id, label }),
      onKey: (event) => this.#key(event),
    });
    this.#input.addEventListener("input", () => this.#typed());
    byId("search-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    for (const control of [this.#lexname, this.#depth, this.#added, this.#exact]) {
      control.addEventListener("change", () => this.refresh());
    }
    this.showExamples();
  }

  /** Searches again for what is shown: the data, the filters or the model changed. */
  refresh(): void {
    if (this.#query) {
      void this.#run(this.#query);
    }
  }

  /** Takes up the query that the page's address names. */
  restore(): void {
    const query = fromHash(location.hash);
    if (query) {
      this.search(query);
    }
  }

  search(query: Query): void {
    clearTimeout(this.#typing);
    this.#combobox.close();
    this.#input.value = query.kind === "text" ? query.text : query.label;
    history.replaceState(null, "", `#${toHash(query)}`);
    void this.#run(query);
  }

  clear(): void {
    clearTimeout(this.#typing);
    this.#running.abort();
    this.#query = undefined;
    this.#input.value = "";
    history.replaceState(null, "", location.pathname + location.search);
    this.#results.show([]);
    this.#comparison.hidden = true;
    this.#welcome.hidden = false;
    status.say("");
  }

  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  /** Descriptions when the model is there, words of entries when it is not. */
  showExamples(): void {
    const isMissing = this.#parts.embedder.state.kind === "missing" || this.#parts.embedder.state.kind === "failed";
    const buttons = (isMissing ? EXAMPLE_WORDS : EXAMPLES).map((text) => {
      const button = h("button", { type: "button", class: "example", "data-testid": "example" }, text);
      button.addEventListener("click", () => void this.#searchWords(text));
      return button;
    });
    byId("examples", HTMLElement).replaceChildren(...buttons);
  }

  async #suggest(text: string): Promise<Option<number>[]> {
    if (text.trim() === "") {
      return [];
    }
    const lexicon = await this.#parts.lexicon();
    return lexicon.suggest(text, SUGGESTIONS).map(({ id, lemma, entry }) => ({
      value: id,
      label: lemma,
      detail: topicOf(entry.lexname),
      hint: splitGloss(entry.gloss).definition,
    }));
  }

  #typed(): void {
    clearTimeout(this.#typing);
    if (this.#input.value.trim() === "") {
      this.clear();
    } else if (this.#parts.embedder.state.kind === "ready") {
      this.#typing = setTimeout(() => {
        const query: Query = { kind: "text", text: this.#input.value.trim() };
        history.replaceState(null, "", `#${toHash(query)}`);
        void this.#run(query);
      }, TYPING_PAUSE_MILLISECONDS);
    }
  }

  #submit(): void {
    const text = this.#input.value.trim();
    if (text !== "") {
      void this.#searchWords(text);
    }
  }

  /** Without the model a word can still stand for the entry it names. */
  async #searchWords(text: string): Promise<void> {
    const { state } = this.#parts.embedder;
    if (state.kind !== "missing" && state.kind !== "failed") {
      this.search({ kind: "text", text });
      return;
    }
    try {
      const [first] = (await this.#parts.lexicon()).suggest(text, 1);
      if (first) {
        this.search({ kind: "entry", id: first.id, label: first.lemma });
      } else {
        status.say(`No entry starts with “${text}”, and typed words need the embedding model (see above).`);
      }
    } catch (error) {
      status.complain(error);
    }
  }

  #key(event: KeyboardEvent): void {
    if (event.key === "Escape") {
      this.clear();
      event.preventDefault();
    } else if (event.key === "ArrowDown" && this.#results.focusFirst()) {
      event.preventDefault();
    }
  }

  #filter(): Filter | undefined {
    const depth = Number(this.#depth.value);
    const filter: Filter = {
      ...(this.#lexname.value === "" ? {} : { lexname: this.#lexname.value }),
      ...(depth > 0 ? { depth: { $gte: depth } } : {}),
      ...(this.#added.checked ? { added: true } : {}),
    };
    return Object.keys(filter).length > 0 ? filter : undefined;
  }

  async #run(query: Query): Promise<void> {
    this.#query = query;
    this.#running.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      const vector = await this.#vectorOf(query);
      if (running.signal.aborted || !vector) {
        return;
      }
      await this.#searchAndShow(query, vector, running.signal);
    } catch (error) {
      if (!running.signal.aborted) {
        status.complain(error);
      }
    }
  }

  async #vectorOf(query: Query): Promise<Float32Array | undefined> {
    const { store, embedder, timings } = this.#parts;
    if (query.kind === "entry") {
      const point = await store.wordnet.get(query.id);
      if (!point) {
        status.say(`“${query.label}” is not in the database (not loaded yet, or deleted).`);
      }
      return point?.vector;
    }
    if (embedder.state.kind !== "ready") {
      status.say("The embedding model is loading …");
      const { kind } = await embedder.settled;
      if (kind !== "ready") {
        await this.#searchWords(query.text);
        return undefined;
      }
    }
    const { vector, milliseconds } = await embedder.embed(query.text);
    timings.embedded(milliseconds);
    return vector;
  }

  async #searchAndShow(query: Query, vector: Float32Array, signal: AbortSignal): Promise<void> {
    const { store, timings } = this.#parts;
    const filter = this.#filter();
    const options: SearchOptions = { vector, topK: TOP_K, signal, ...(filter ? { filter } : {}) };
    const start = performance.now();
    const hits = await store.wordnet.search(options);
    const elapsed = performance.now() - start;
    if (signal.aborted) {
      return;
    }
    timings.searched(elapsed);
    this.#results.show(hits);
    this.#welcome.hidden = true;
    const shown = query.kind === "text" ? query.text : query.label;
    const how = filter ? ", filtered" : "";
    status.say(`${hits.length} nearest to “${shown}”${how}, in ${milliseconds(elapsed)}.`);
    await this.#compare(options, hits, elapsed);
    await timings.show();
  }

  /** With the box ticked, runs the same search over every point and says how many of the hits the graph had found. */
  async #compare(options: SearchOptions, hits: Hit<Entry>[], elapsed: number): Promise<void> {
    this.#comparison.hidden = !this.#exact.checked;
    if (!this.#exact.checked) {
      return;
    }
    const start = performance.now();
    const truth = await this.#parts.store.wordnet.search({ ...options, exact: true });
    const exactly = performance.now() - start;
    if (options.signal?.aborted) {
      return;
    }
    const found = new Set(hits.map((hit) => hit.id));
    const shared = truth.filter((hit) => found.has(hit.id)).length;
    this.#comparison.textContent =
      `The graph found ${shared} of the true ${truth.length} in ${milliseconds(elapsed)}; ` +
      `looking at every point took ${milliseconds(exactly)}.`;
  }

  async #remove(hit: Hit<Entry>): Promise<void> {
    const { wordnet } = this.#parts.store;
    const lemma = hit.metadata?.lemmas[0] ?? String(hit.id);
    try {
      const point = await wordnet.get(hit.id);
      await wordnet.delete(hit.id);
      this.#results.drop(hit.id);
      await this.#parts.timings.show();
      if (point) {
        const undo = async (): Promise<void> => {
          await wordnet.upsert([point]);
          status.say(`“${lemma}” is back.`);
          await this.#parts.timings.show();
          this.refresh();
        };
        status.say(`“${lemma}” is deleted, here and on disk.`, {
          label: "Undo",
          testId: "undo",
          run: () => void undo().catch(status.complain),
        });
      }
    } catch (error) {
      status.complain(error);
    }
  }
}
