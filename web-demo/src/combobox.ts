// A text field with a list of suggestions (the ARIA combobox pattern, list autocomplete with manual selection).
//
// Arrow keys move through the list while the focus stays in the field; Enter chooses, Escape closes the list. Keys that the
// list has no use for are handed on.

import { h } from "./dom.ts";

export interface Option<T> {
  value: T;
  label: string;
  detail: string;
  hint: string;
}

export interface ComboboxConfig<T> {
  input: HTMLInputElement;
  list: HTMLElement;
  optionTestId: string;
  suggest: (text: string) => Promise<Option<T>[]> | Option<T>[];
  choose: (value: T, label: string) => void;
  /** Keys that the list did not use. */
  onKey?: (event: KeyboardEvent) => void;
}

export class Combobox<T> {
  readonly #config: ComboboxConfig<T>;
  #options: Option<T>[] = [];
  #active = -1;
  #round = 0;

  constructor(config: ComboboxConfig<T>) {
    this.#config = config;
    const { input, list } = config;
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", list.id);
    list.setAttribute("role", "listbox");
    input.addEventListener("input", () => void this.#refresh());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.#key(event));
    // The field keeps the focus while an option is pressed.
    list.addEventListener("mousedown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target instanceof Element ? event.target.closest("[role=option]") : null;
      this.#choose(option ? [...list.children].indexOf(option) : -1);
    });
    this.#render();
  }

  close(): void {
    this.#round++;
    this.#options = [];
    this.#active = -1;
    this.#render();
  }

  async #refresh(): Promise<void> {
    const round = ++this.#round;
    const options = await this.#config.suggest(this.#config.input.value);
    if (round === this.#round) {
      this.#options = options;
      this.#active = -1;
      this.#render();
    }
  }

  #key(event: KeyboardEvent): void {
    const open = this.#options.length > 0;
    if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      const step = event.key === "ArrowDown" ? 1 : -1;
      const places = this.#options.length + 1;
      this.#active = ((this.#active + 1 + step + places) % places) - 1;
      this.#render();
      event.preventDefault();
    } else if (open && event.key === "Enter" && this.#active >= 0) {
      this.#choose(this.#active);
      event.preventDefault();
    } else if (open && event.key === "Escape") {
      this.close();
      event.preventDefault();
    } else {
      if (event.key === "Enter") {
        this.close();
      }
      this.#config.onKey?.(event);
    }
  }

  #choose(at: number): void {
    const option = this.#options[at];
    if (option) {
      this.close();
      this.#config.choose(option.value, option.label);
    }
  }

  #render(): void {
    const { input, list, optionTestId } = this.#config;
    list.hidden = this.#options.length === 0;
    input.setAttribute("aria-expanded", String(this.#options.length > 0));
    list.replaceChildren(
      ...this.#options.map((option, i) =>
        h(
          "li",
          {
            id: `${list.id}-${i}`,
            role: "option",
            "aria-selected": String(i === this.#active),
            "data-testid": optionTestId,
          },
          h("strong", {}, option.label),
          h("span", { class: "chip" }, option.detail),
          h("span", { class: "hint" }, option.hint),
        ),
      ),
    );
    if (this.#active >= 0) {
      input.setAttribute("aria-activedescendant", `${list.id}-${this.#active}`);
    } else {
      input.removeAttribute("aria-activedescendant");
    }
  }
}
