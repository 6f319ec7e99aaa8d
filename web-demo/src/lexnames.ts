// WordNet's lexicographer files for nouns (wndb), as topics to filter by.

import { topicOf } from "./data/entry.ts";
import { h } from "./dom.ts";

export const LEXNAMES = [
  ..."Tops act animal artifact attribute body cognition communication event feeling food group location motive".split(
    " ",
  ),
  ..."object person phenomenon plant possession process quantity relation shape state substance time".split(" "),
].map((topic) => `noun.${topic}`);

export function fillLexnames(select: HTMLSelectElement, chosen?: string): void {
  for (const lexname of LEXNAMES) {
    select.append(h("option", { value: lexname, selected: lexname === chosen }, topicOf(lexname)));
  }
}
