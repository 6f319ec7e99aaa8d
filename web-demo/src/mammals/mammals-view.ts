// The second geometry: the same mammals by distance in the Poincare ball and, beside it, by another metric.
//
// What a hierarchy needs is visible in the lists: near in the ball are mostly the words above and below the chosen one,
// near in meaning are look-alikes. Both lists come from searches in the engine, by the stored vector of the chosen point.

import type { Hit } from "hyperspace-db";
import { Combobox } from "../combobox.ts";
import { fetchManifest, fetchTexts, type MammalTexts } from "../data/assets.ts";
import type { Store } from "../data/store.ts";
import { byId, h, milliseconds } from "../dom.ts";
import * as status from "../status.ts";
import type { Points } from "./ball.ts";
import { Disk } from "./disk.ts";
import { type Relation, Taxonomy } from "./taxonomy.ts";

const NEIGHBOURS = 10;
const SUGGESTIONS = 8;
const FIRST = "dog";

interface Neighbour {
  row: number;
  distance: number;
}

interface Found {
  neighbours: Neighbour[];
  elapsed: number;
}

interface Scene {
  taxonomy: Taxonomy;
  points: Points;
  disk: Disk;
}

export class MammalsView {
  readonly #store: Store;
  readonly #input = byId("mammals-input", HTMLInputElement);
  readonly #metric = byId("mammals-metric", HTMLSelectElement);
  #scene: Promise<Scene> | undefined;
  #chosen: number | undefined;
  #round = 0;

  constructor(store: Store) {
    this.#store = store;
    new Combobox<number>({
      input: this.#input,
      list: byId("mammals-suggestions", HTMLElement),
      optionTestId: "mammals-suggestion",
      suggest: async (text) => {
        const { taxonomy } = await this.#open();
        return taxonomy.suggest(text, SUGGESTIONS).map((row) => ({
          value: row,
          label: taxonomy.lemma(row),
          detail: `depth ${taxonomy.path(row).length - 1}`,
          hint: taxonomy.gloss(row),
        }));
      },
      choose: (row) => void this.#choose(row),
      onKey: (event) => {
        if (event.key === "Escape") {
          this.#input.value = "";
        }
      },
    });
    byId("mammals-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#submit();
    });
    this.#metric.addEventListener("change", () => void this.#refresh());
  }

  /** Called when the view is opened: the first time it loads its texts and shows a first choice. */
  async show(): Promise<void> {
    try {
      const { taxonomy } = await this.#open();
      await this.#choose(this.#chosen ?? taxonomy.suggest(FIRST, 1)[0] ?? 0);
    } catch (error) {
      status.complain(error);
    }
  }

  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  #open(): Promise<Scene> {
    this.#scene ??= this.#load();
    this.#scene.catch(() => {
      this.#scene = undefined;
    });
    return this.#scene;
  }

  async #load(): Promise<Scene> {
    const manifest = await fetchManifest();
    const taxonomy = new Taxonomy(await fetchTexts<MammalTexts>(manifest.mammals.texts));
    const stored = await this.#store.mammals.get([...taxonomy.ids]);
    const { dimension } = this.#store.mammals;
    const coordinates = new Float64Array(taxonomy.ids.length * dimension);
    stored.forEach((point, row) => {
      if (point) {
        coordinates.set(point.vector, row * dimension);
      }
    });
    const points = { dimension, coordinates };
    const canvas = byId("mammals-disk", HTMLCanvasElement);
    const disk = new Disk(canvas, points, taxonomy, (row) => void this.#choose(row));
    return { taxonomy, points, disk };
  }

  async #submit(): Promise<void> {
    const { taxonomy } = await this.#open();
    const [first] = taxonomy.suggest(this.#input.value, 1);
    if (first === undefined) {
      status.say(`No mammal here starts with “${this.#input.value.trim()}”.`);
    } else {
      await this.#choose(first);
    }
  }

  async #choose(row: number): Promise<void> {
    this.#chosen = row;
    const { taxonomy } = await this.#open();
    this.#input.value = taxonomy.lemma(row);
    byId("mammals-gloss", HTMLElement).textContent = taxonomy.gloss(row);
    const steps = taxonomy.path(row).map((step) => {
      const button = h(
        "button",
        { type: "button", class: "link", "aria-current": step === row ? "true" : undefined },
        taxonomy.lemma(step),
      );
      button.addEventListener("click", () => void this.#choose(step));
      return button;
    });
    byId("mammals-path", HTMLElement).replaceChildren(...steps);
    await this.#refresh();
  }

  async #refresh(): Promise<void> {
    const chosen = this.#chosen;
    const round = ++this.#round;
    if (chosen === undefined) {
      return;
    }
    try {
      const { taxonomy, points, disk } = await this.#open();
      const at = chosen * points.dimension;
      const vector = points.coordinates.slice(at, at + points.dimension);
      const [poincare, other] = await Promise.all([
        this.#inBall(taxonomy, chosen, vector),
        this.#otherwise(taxonomy, chosen, vector),
      ]);
      if (round !== this.#round) {
        return;
      }
      const relations = taxonomy.relations(chosen);
      disk.show({ chosen, relations, neighbours: poincare.neighbours.map(({ row }) => row) });
      this.#fill("mammals-poincare", "poincare-note", taxonomy, relations, poincare);
      this.#fill("mammals-other", "other-note", taxonomy, relations, other);
      status.say(`The ${NEIGHBOURS} nearest to “${taxonomy.lemma(chosen)}”, in two geometries.`);
    } catch (error) {
      status.complain(error);
    }
  }

  async #inBall(taxonomy: Taxonomy, chosen: number, vector: Float64Array): Promise<Found> {
    const start = performance.now();
    const hits = await this.#store.mammals.search({ vector, topK: NEIGHBOURS + 1 });
    return found(taxonomy, chosen, hits, performance.now() - start);
  }

  async #otherwise(taxonomy: Taxonomy, chosen: number, vector: Float64Array): Promise<Found> {
    if (this.#metric.value === "l2") {
      const start = performance.now();
      const hits = await this.#store.flatMammals.search({ vector: Float32Array.from(vector), topK: NEIGHBOURS + 1 });
      return found(taxonomy, chosen, hits, performance.now() - start);
    }
    const { wordnet } = this.#store;
    const point = await wordnet.get(taxonomy.ids[chosen] ?? 0);
    if (!point) {
      return { neighbours: [], elapsed: 0 };
    }
    const start = performance.now();
    const hits = await wordnet.search({ vector: point.vector, topK: NEIGHBOURS + 1, filter: { mammal: true } });
    return found(taxonomy, chosen, hits, performance.now() - start);
  }

  #fill(
    listId: string,
    noteId: string,
    taxonomy: Taxonomy,
    relations: Relation[],
    { neighbours, elapsed }: Found,
  ): void {
    const number = (wanted: Relation): number => neighbours.filter(({ row }) => relations[row] === wanted).length;
    const items = neighbours.map(({ row, distance }) => {
      const relation = relations[row] ?? "other";
      const button = h(
        "button",
        { type: "button", "data-testid": "mammals-neighbour", "data-relation": relation },
        h("span", { class: `dot ${relation}`, "aria-hidden": "true" }),
        h("span", { class: "name" }, taxonomy.lemma(row)),
        h("span", { class: "relation" }, relation === "other" ? "" : relation),
        h("span", { class: "number" }, distance.toFixed(3)),
      );
      button.addEventListener("click", () => void this.#choose(row));
      return h("li", {}, button);
    });
    byId(listId, HTMLOListElement).replaceChildren(...items);
    byId(noteId, HTMLElement).textContent =
      neighbours.length === 0
        ? "Its text is not in the database (not loaded yet, or deleted)."
        : `${number("above")} above it in the tree, ${number("below")} below, ${number("other")} elsewhere. ${milliseconds(elapsed)}`;
  }
}

function found<M>(taxonomy: Taxonomy, chosen: number, hits: Hit<M>[], elapsed: number): Found {
  const neighbours = hits
    .map(({ id, distance }) => ({ row: taxonomy.rowOf(Number(id)) ?? -1, distance }))
    .filter(({ row }) => row >= 0 && row !== chosen)
    .slice(0, NEIGHBOURS);
  return { neighbours, elapsed };
}
