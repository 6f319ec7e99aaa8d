// What the database keeps with each vector: one noun meaning, from WordNet or from the visitor.

/** The metadata of a point of the collection `wordnet`. */
export interface Entry {
  lemmas: string[];
  gloss: string;
  /** WordNet's lexicographer file, such as `noun.animal`: a coarse topic. */
  lexname: string;
  /** Hypernym steps to the root; 0 for what the visitor added. */
  depth: number;
  /** True below "mammal": these are also in the collections of the second view. */
  mammal?: true;
  /** True for what the visitor added. */
  added?: true;
}

/** The metadata of a point of the mammals' collections; its id is the id of the same meaning in `wordnet`. */
export interface Mammal {
  lemma: string;
}

/** The text whose vector stands for an entry: the same as in scripts/make_assets.py. */
export function textOf(entry: Pick<Entry, "lemmas" | "gloss">): string {
  return `${entry.lemmas.join(", ")}: ${entry.gloss}`;
}

/** Splits a gloss into its definition and its usage examples, which WordNet puts in quotation marks. */
export function splitGloss(gloss: string): { definition: string; examples: string } {
  const at = gloss.indexOf('; "');
  return at < 0
    ? { definition: gloss, examples: "" }
    : { definition: gloss.slice(0, at), examples: gloss.slice(at + 2) };
}

/** `noun.animal` -> `animal`. */
export function topicOf(lexname: string): string {
  return lexname.replace(/^noun\./, "");
}
