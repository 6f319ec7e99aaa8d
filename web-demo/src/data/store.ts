// The database of the page: its collections and how they are filled on the first visit.
//
// Collections: `wordnet` (cosine, 384), `mammals` (poincare, 5), `mammals-flat` (the same points, l2) and `meta`, whose
// points say how much of each asset has been loaded. A batch is written before its mark, so an interrupted load goes on
// where it stopped; repeating a batch changes nothing, because a row's id is WordNet's own number.

import { type Collection, Hyperspace, type OpenOptions } from "hyperspace-db";
import { type AssetGroup, fetchFloats, fetchTexts, type MammalTexts, type Manifest, readQuantized } from "./assets.ts";
import type { Entry, Mammal } from "./entry.ts";
import type { Lexicon } from "./lexicon.ts";

export const DATABASE = "hyperspace-demo";
const BATCH_ROWS = 1000;
/** A restart with more than this waiting, after the data was complete, was interrupted while indexing. */
const PENDING_WORTH_INDEXING = 1000;

/** How much of an asset is in the database. */
interface Mark {
  asset: string;
  next: number;
  done: boolean;
}

export interface Store {
  db: Hyperspace;
  wordnet: Collection<Entry>;
  mammals: Collection<Mammal>;
  flatMammals: Collection<Mammal>;
  meta: Collection<Mark>;
}

export async function openStore(options: OpenOptions): Promise<Store> {
  const db = await Hyperspace.open(DATABASE, options);
  try {
    return {
      db,
      wordnet: await db.collection<Entry>("wordnet", { dimension: 384, metric: "cosine" }),
      mammals: await db.collection<Mammal>("mammals", { dimension: 5, metric: "poincare" }),
      flatMammals: await db.collection<Mammal>("mammals-flat", { dimension: 5, metric: "l2" }),
      meta: await db.collection<Mark>("meta", { dimension: 1, metric: "l2" }),
    };
  } catch (error) {
    await db.close();
    throw error;
  }
}

/** Does something in one tab at a time: two that fill the database at once would clear what the other one wrote. */
export async function inOneTab(work: () => Promise<void>): Promise<void> {
  // Without Web Locks there is no database that tabs share.
  await (navigator.locks === undefined ? work() : navigator.locks.request(`${DATABASE}-load`, work));
}

/** Says, without asking the network, whether the data was loaded to its end. */
export async function isLoaded(store: Store): Promise<boolean> {
  const marks = await store.meta.get(["wordnet", "mammals"]);
  return marks.every((mark) => mark?.metadata.done === true);
}

export async function loadMammals(store: Store, manifest: Manifest): Promise<void> {
  const group = manifest.mammals;
  const mark = await readMark(store, "mammals", group);
  if (mark.done) {
    return;
  }
  const [texts, vectors] = await Promise.all([fetchTexts<MammalTexts>(group.texts), fetchFloats(group.vectors)]);
  const metadata = texts.lemmas.map((lemmas): Mammal => ({ lemma: lemmas.split("|")[0] ?? "" }));
  const columns = { ids: texts.offset, vectors, metadata };
  await store.mammals.upsert(columns);
  await store.flatMammals.upsert({ ...columns, vectors: Float32Array.from(vectors) });
  await writeMark(store, "mammals", { ...mark, next: group.count, done: true });
}

/** Loads what is missing of WordNet, reporting the rows that are in the database after each batch. */
export async function loadWordnet(
  store: Store,
  manifest: Manifest,
  lexicon: () => Promise<Lexicon>,
  report: (loaded: number, total: number) => void,
): Promise<void> {
  const group = manifest.wordnet;
  const mark = await readMark(store, "wordnet", group);
  if (mark.done) {
    return;
  }
  if (mark.next === 0) {
    // A new version of the asset: nothing of an older one may stay, but what the visitor added does.
    await store.wordnet.deleteWhere({ added: { $exists: false } });
  }
  const words = await lexicon();
  for await (const batch of readQuantized(group, mark.next, BATCH_ROWS)) {
    const rows = Array.from({ length: batch.count }, (_, i) => batch.first + i);
    await store.wordnet.upsert({
      ids: rows.map((row) => words.id(row)),
      vectors: batch.vectors,
      metadata: rows.map((row) => words.entry(row)),
    });
    mark.next = batch.first + batch.count;
    await writeMark(store, "wordnet", mark);
    report(mark.next, group.count);
  }
  await writeMark(store, "wordnet", { ...mark, done: true });
  await store.db.flush();
}

/** Waits until the loaded rows are indexed, if many are not. */
export async function finishIndexing(store: Store): Promise<void> {
  const { pending } = await store.wordnet.stats();
  if (pending >= PENDING_WORTH_INDEXING) {
    await store.wordnet.indexed();
  }
}

async function readMark(store: Store, name: string, group: AssetGroup): Promise<Mark> {
  const asset = group.vectors.sha256 + group.texts.sha256;
  const mark = (await store.meta.get(name))?.metadata;
  return mark?.asset === asset ? { ...mark } : { asset, next: 0, done: false };
}

async function writeMark(store: Store, name: string, mark: Mark): Promise<void> {
  await store.meta.upsert([{ id: name, vector: [0], metadata: mark }]);
}
