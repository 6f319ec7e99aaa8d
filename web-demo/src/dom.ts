// The few helpers over the DOM that the views share.

type Child = Node | string | undefined;
type Attributes = { [name: string]: string | boolean | undefined };

/** Finds an element that index.html must have. */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof type)) {
    throw new Error(`index.html has no ${type.name} #${id}`);
  }
  return element;
}

/** Makes an element: `h("li", { class: "hit" }, "text", child)`. A false or undefined attribute is left out. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

const integers = new Intl.NumberFormat("en");

/** 24000 -> "24,000". */
export function count(n: number): string {
  return integers.format(n);
}

/** 1536 -> "1.5 kB". */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  let value = n;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

/** Milliseconds with as many digits as a timer in a browser can bear. */
export function milliseconds(n: number): string {
  return `${n < 10 ? n.toFixed(1) : n.toFixed(0)} ms`;
}

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[sorted.length >> 1];
}
