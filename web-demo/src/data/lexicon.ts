// The words of the shipped WordNet rows: what a row says, and which rows a typed prefix may mean.
//
// Rows are in order of how well-known they are, so the row number ranks suggestions. Knows nothing of vectors.

import { type AssetFile, fetchTexts, type WordnetTexts } from "./assets.ts";
import type { Entry } from "./entry.ts";

export interface Suggestion {
  id: number;
  lemma: string;
  entry: Entry;
}

export class Lexicon {
  readonly #texts: WordnetTexts;
  /** Lower-case lemmas, ascending, and the rows they belong to. */
  readonly #lemmas: string[];
  readonly #rows: Uint32Array;

  private constructor(texts: WordnetTexts) {
    this.#texts = texts;
    const pairs: [lemma: string, row: number][] = [];
    texts.lemmas.forEach((lemmas, row) => {
      for (const lemma of lemmas.split("|")) {
        pairs.push([lemma.toLowerCase(), row]);
      }
    });
    pairs.sort(([a, rowA], [b, rowB]) => (a < b ? -1 : a > b ? 1 : rowA - rowB));
    this.#lemmas = pairs.map(([lemma]) => lemma);
    this.#rows = Uint32Array.from(pairs, ([, row]) => row);
  }

  static async load(file: AssetFile): Promise<Lexicon> {
    return new Lexicon(await fetchTexts<WordnetTexts>(file));
  }

  id(row: number): number {
    return this.#texts.offset[row] ?? 0;
  }

  entry(row: number): Entry {
    const texts = this.#texts;
    return {
      lemmas: (texts.lemmas[row] ?? "").split("|"),
      gloss: texts.gloss[row] ?? "",
      lexname: `noun.${texts.lexnames[texts.lexname[row] ?? 0] ?? ""}`,
      depth: texts.depth[row] ?? 0,
      ...(texts.mammal[row] === 1 ? { mammal: true as const } : {}),
    };
  }

  /** Rows with a lemma that starts with `prefix`: exact lemmas first, then the best-known; a row once. */
  suggest(prefix: string, limit: number): Suggestion[] {
    const wanted = prefix.trim().toLowerCase();
    if (wanted === "") {
      return [];
    }
    const rows: number[] = [];
    const exact = new Set<number>();
    for (let i = this.#lowerBound(wanted); this.#lemmas[i]?.startsWith(wanted); i++) {
      const row = this.#rows[i] ?? 0;
      rows.push(row);
      if (this.#lemmas[i] === wanted) {
        exact.add(row);
      }
    }
    const ranked = [...new Set(rows)].sort((a, b) => Number(exact.has(b)) - Number(exact.has(a)) || a - b);
    return ranked.slice(0, limit).map((row) => {
      const entry = this.entry(row);
      const lemma = entry.lemmas.find((lemma) => lemma.toLowerCase().startsWith(wanted)) ?? entry.lemmas[0] ?? "";
      return { id: this.id(row), lemma, entry };
    });
  }

  #lowerBound(wanted: string): number {
    let low = 0;
    let high = this.#lemmas.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#lemmas[middle] ?? "") < wanted) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
