// What is being searched for, and how it is written in the page's address so that a reload finds it again.

import type { PointId } from "hyperspace-db";

export type Query = { kind: "text"; text: string } | { kind: "entry"; id: PointId; label: string };

/** The fragment of a query: `q=animal that barks`, or `id=2086723&q=dog`; strings and big numbers keep their type. */
export function toHash(query: Query | undefined): string {
  if (!query) {
    return "";
  }
  if (query.kind === "text") {
    return new URLSearchParams({ q: query.text }).toString();
  }
  const key = typeof query.id === "string" ? "key" : "id";
  return new URLSearchParams({ [key]: String(query.id), q: query.label }).toString();
}

export function fromHash(hash: string): Query | undefined {
  const fields = new URLSearchParams(hash.replace(/^#/, ""));
  const text = fields.get("q") ?? "";
  const key = fields.get("key");
  const id = fields.get("id");
  if (key !== null) {
    return { kind: "entry", id: key, label: text };
  }
  if (id !== null && /^\d{1,15}$/.test(id)) {
    return { kind: "entry", id: Number(id), label: text };
  }
  return text === "" ? undefined : { kind: "text", text };
}
