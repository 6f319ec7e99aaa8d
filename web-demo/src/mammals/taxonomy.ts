// The mammals as WordNet's "is a" relation orders them.

import type { MammalTexts } from "../data/assets.ts";

export type Relation = "chosen" | "above" | "below" | "other";

export class Taxonomy {
  readonly ids: readonly number[];
  readonly hypernyms: readonly number[][];
  readonly #lemmas: string[][];
  readonly #glosses: string[];
  readonly #rowOf: Map<number, number>;

  constructor(texts: MammalTexts) {
    this.ids = texts.offset;
    this.hypernyms = texts.hypernyms;
    this.#lemmas = texts.lemmas.map((lemmas) => lemmas.split("|"));
    this.#glosses = texts.gloss;
    this.#rowOf = new Map(texts.offset.map((id, row) => [id, row]));
  }

  rowOf(id: number): number | undefined {
    return this.#rowOf.get(id);
  }

  lemma(row: number): string {
    return this.#lemmas[row]?.[0] ?? "";
  }

  gloss(row: number): string {
    return this.#glosses[row] ?? "";
  }

  /** All rows above `row`, any number of steps up. */
  above(row: number): Set<number> {
    const seen = new Set<number>();
    const queue = [row];
    for (let at = queue.pop(); at !== undefined; at = queue.pop()) {
      for (const hypernym of this.hypernyms[at] ?? []) {
        if (!seen.has(hypernym)) {
          seen.add(hypernym);
          queue.push(hypernym);
        }
      }
    }
    return seen;
  }

  /** How every row stands to the chosen one. */
  relations(chosen: number): Relation[] {
    const above = this.above(chosen);
    return this.ids.map((_, row) => {
      if (row === chosen) {
        return "chosen";
      }
      if (above.has(row)) {
        return "above";
      }
      return this.above(row).has(chosen) ? "below" : "other";
    });
  }

  /** One way down from "mammal" to `row`, taking the first hypernym at each step. */
  path(row: number): number[] {
    const path = [row];
    for (let up = this.hypernyms[row]?.[0]; up !== undefined; up = this.hypernyms[up]?.[0]) {
      path.unshift(up);
    }
    return path;
  }

  /** Rows with a lemma that starts with `prefix`, the most general ones first. */
  suggest(prefix: string, limit: number): number[] {
    const wanted = prefix.trim().toLowerCase();
    if (wanted === "") {
      return [];
    }
    const has = (row: number, test: (lemma: string) => boolean): boolean =>
      (this.#lemmas[row] ?? []).some((lemma) => test(lemma.toLowerCase()));
    const isExact = (row: number): boolean => has(row, (lemma) => lemma === wanted);
    return [...this.ids.keys()]
      .filter((row) => has(row, (lemma) => lemma.startsWith(wanted)))
      .sort((a, b) => Number(isExact(b)) - Number(isExact(a)) || this.path(a).length - this.path(b).length || a - b)
      .slice(0, limit);
  }
}
