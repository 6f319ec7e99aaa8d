// The list of hits. One hit is in the tab order at a time; arrow keys move between them.

import type { Hit, PointId } from "hyperspace-db";
import { type Entry, splitGloss, topicOf } from "../data/entry.ts";
import { byId, h } from "../dom.ts";

export interface ResultActions {
  more: (hit: Hit<Entry>) => void;
  remove: (hit: Hit<Entry>) => void;
  /** Arrow up from the first hit. */
  leave: () => void;
}

export class ResultList {
  readonly #list = byId("results", HTMLOListElement);
  readonly #actions: ResultActions;
  #hits: Hit<Entry>[] = [];

  constructor(actions: ResultActions) {
    this.#actions = actions;
    this.#list.addEventListener("keydown", (event) => this.#key(event));
    this.#list.addEventListener("click", (event) => this.#click(event));
  }

  show(hits: Hit<Entry>[]): void {
    this.#hits = hits;
    this.#list.replaceChildren(...hits.map((hit, i) => item(hit, i === 0)));
  }

  drop(id: PointId): void {
    const at = this.#hits.findIndex((hit) => hit.id === id);
    if (at < 0) {
      return;
    }
    const hadFocus = this.#list.contains(document.activeElement);
    this.#hits = this.#hits.filter((_, i) => i !== at);
    this.#list.children[at]?.remove();
    if (hadFocus) {
      this.#focus(Math.min(at, this.#hits.length - 1));
    }
  }

  focusFirst(): boolean {
    return this.#focus(0);
  }

  #focus(at: number): boolean {
    const items = [...this.#list.children];
    const wanted = items[at];
    if (!(wanted instanceof HTMLElement)) {
      return false;
    }
    for (const other of items) {
      other.setAttribute("tabindex", other === wanted ? "0" : "-1");
    }
    wanted.focus();
    return true;
  }

  #key(event: KeyboardEvent): void {
    if (!(event.target instanceof HTMLLIElement)) {
      return;
    }
    const at = [...this.#list.children].indexOf(event.target);
    const hit = this.#hits[at];
    if (event.key === "ArrowDown") {
      this.#focus(at + 1);
    } else if (event.key === "ArrowUp") {
      if (at === 0) {
        this.#actions.leave();
      } else {
        this.#focus(at - 1);
      }
    } else if (event.key === "Escape") {
      this.#actions.leave();
    } else if (event.key === "Enter" && hit) {
      this.#actions.more(hit);
    } else if (event.key === "Delete" && hit) {
      this.#actions.remove(hit);
    } else {
      return;
    }
    event.preventDefault();
  }

  #click(event: MouseEvent): void {
    const button = event.target instanceof Element ? event.target.closest("button") : null;
    const row = button?.closest("li");
    const hit = row ? this.#hits[[...this.#list.children].indexOf(row)] : undefined;
    if (hit && button?.dataset.action === "more") {
      this.#actions.more(hit);
    } else if (hit && button?.dataset.action === "remove") {
      this.#actions.remove(hit);
    }
  }
}

function item(hit: Hit<Entry>, isFirst: boolean): HTMLLIElement {
  const entry = hit.metadata;
  const [lemma = "", ...synonyms] = entry?.lemmas ?? [];
  const { definition, examples } = splitGloss(entry?.gloss ?? "");
  const li = h(
    "li",
    { class: "result", tabindex: isFirst ? "0" : "-1", "data-testid": "result", "data-id": String(hit.id) },
    h(
      "div",
      { class: "hit-head" },
      h("strong", { class: "hit-lemma", "data-testid": "hit-lemma" }, lemma),
      synonyms.length > 0 ? h("span", { class: "synonyms" }, synonyms.join(", ")) : undefined,
    ),
    h("p", { class: "gloss", "data-testid": "hit-gloss" }, definition),
    examples === "" ? undefined : h("p", { class: "usage" }, examples),
    h(
      "div",
      { class: "hit-foot" },
      h("span", { class: "chip", "data-testid": "hit-lexname" }, topicOf(entry?.lexname ?? "")),
      entry?.added
        ? h("span", { class: "chip mine" }, "yours")
        : h("span", { class: "chip", "data-testid": "hit-depth" }, `depth ${entry?.depth ?? 0}`),
      h("span", { class: "spacer" }),
      h("button", { type: "button", class: "link", "data-action": "more", "data-testid": "more" }, "More like this"),
      h(
        "button",
        {
          type: "button",
          class: "link danger",
          "data-action": "remove",
          "data-testid": "delete",
          "aria-label": `Delete ${lemma}`,
        },
        "Delete",
      ),
    ),
    h(
      "div",
      { class: "distance" },
      h("span", { "data-testid": "hit-distance" }, hit.distance.toFixed(4)),
      h("meter", { min: "0", max: "1", value: String(1 - hit.distance), "aria-hidden": "true" }),
    ),
  );
  return li;
}
