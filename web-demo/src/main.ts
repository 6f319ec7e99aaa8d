// Starts the page: the database first, then what it needs to be filled, then the model for typed queries.
//
// Nothing waits for the network once the data is loaded: the database opens from disk, and the page is ready. The
// embedding model loads beside it in a worker of its own.

import type { OpenOptions } from "hyperspace-db";
import { assetUrl, fetchManifest, type Manifest } from "./data/assets.ts";
import { Lexicon } from "./data/lexicon.ts";
import { finishIndexing, inOneTab, isLoaded, loadMammals, loadWordnet, openStore, type Store } from "./data/store.ts";
import { byId, count } from "./dom.ts";
import { Embedder } from "./embedding/embedder.ts";
import { fillLexnames } from "./lexnames.ts";
import { MammalsView } from "./mammals/mammals-view.ts";
import { modelNote } from "./model-note.ts";
import { keepForOffline, startServiceWorker } from "./offline.ts";
import { Progress } from "./progress.ts";
import { AddForm } from "./search/add-form.ts";
import { SearchView } from "./search/search-view.ts";
import { Timings } from "./search/timings.ts";
import * as status from "./status.ts";
import { Tabs } from "./tabs.ts";

/** For the browser tests, which read the engine's counters: not an interface of the demo. */
export interface DemoHandle {
  db: Store["db"];
  wordnet: Store["wordnet"];
  mammals: Store["mammals"];
  embedder: Embedder;
  /** Resolves when all data is loaded and indexed (false: loading stopped, and the page says why). */
  ready: Promise<boolean>;
  /** Resolves when the page can start without its server (false: it cannot). */
  offline: Promise<boolean>;
}

declare global {
  interface Window {
    __demo?: DemoHandle;
  }
}

const progress = new Progress();
let manifest: Promise<Manifest> | undefined;
let lexicon: Promise<Lexicon> | undefined;

/** Once, and again after a failure. */
function getManifest(): Promise<Manifest> {
  manifest ??= fetchManifest();
  manifest.catch(() => {
    manifest = undefined;
  });
  return manifest;
}

/** The words of all entries: for loading, and for suggestions from the first key press on. */
function getLexicon(): Promise<Lexicon> {
  lexicon ??= getManifest().then((found) => Lexicon.load(found.wordnet.texts));
  lexicon.catch(() => {
    lexicon = undefined;
  });
  return lexicon;
}

async function start(options: OpenOptions): Promise<void> {
  byId("blocked", HTMLElement).hidden = true;
  const controlled = startServiceWorker();
  const opening = performance.now();
  let store: Store;
  try {
    store = await openStore(options);
  } catch (error) {
    showBlocked(error);
    return;
  }
  run(store, performance.now() - opening, controlled);
}

function run(store: Store, openMilliseconds: number, controlled: Promise<void>): void {
  byId("app", HTMLElement).hidden = false;
  const timings = new Timings(store, openMilliseconds);
  const embedder = new Embedder((state) => {
    modelNote(state);
    addForm.update();
    search.showExamples();
  });
  const search: SearchView = new SearchView({ store, embedder, lexicon: getLexicon, timings });
  const addForm: AddForm = new AddForm(store, embedder, (lemma) => {
    search.search({ kind: "text", text: lemma });
    status.say(`“${lemma}” is added: it is found from now on, also after a reload.`);
  });
  const mammals = new MammalsView(store);
  const tabs = new Tabs({ onMammals: () => void mammals.show() });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
    if (event.key === "/" && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      (tabs.current === "mammals" ? mammals : search).focus();
    }
  });
  store.db.on("error", (error) => status.complain(error));
  store.db.on("progress", ({ collection, indexed, pending, done }) => {
    if (collection === "wordnet") {
      progress.indexing(indexed, pending, done);
      void timings.show().catch(status.complain);
    }
  });

  const ready = load(store, timings, controlled, () => search.refresh());
  const offline = ready.then(() => keepOffline(embedder));
  window.__demo = { db: store.db, wordnet: store.wordnet, mammals: store.mammals, embedder, ready, offline };
  void controlled.then(() => embedder.start());
  search.restore();
  if (location.hash === "#mammals") {
    tabs.select("mammals");
  }
}

/** Fills the database if anything is missing; the views work meanwhile on what is there. */
async function load(store: Store, timings: Timings, controlled: Promise<void>, loaded: () => void): Promise<boolean> {
  try {
    await timings.show();
    if (!(await isLoaded(store))) {
      progress.loading(0, 1);
      await controlled;
      const found = await getManifest();
      await inOneTab(async () => {
        await loadMammals(store, found);
        await loadWordnet(store, found, getLexicon, (rows, total) => {
          progress.loading(rows, total);
          void timings.show().catch(status.complain);
        });
      });
      progress.loaded();
      status.say(`${count(found.wordnet.count)} entries are in the database. Search already works.`);
      loaded();
    }
    await finishIndexing(store);
    progress.finish();
    await timings.show();
    return true;
  } catch (error) {
    progress.stop(status.describe(error));
    status.complain(error);
    return false;
  }
}

async function keepOffline(embedder: Embedder): Promise<boolean> {
  await embedder.settled;
  let isKept = false;
  try {
    const { wordnet, mammals } = await getManifest();
    const urls = [
      "assets/manifest.json",
      "assets/WORDNET-LICENSE.txt",
      assetUrl(wordnet.texts),
      assetUrl(mammals.texts),
    ];
    const model = embedder.state.kind === "ready" ? Object.values(Embedder.urls()) : [];
    isKept = await keepForOffline([...urls, ...model]);
  } catch {
    // Without the manifest there is nothing more to keep; what was kept before stays.
  }
  const mark = byId("offline", HTMLElement);
  mark.dataset.state = isKept ? "kept" : "not-kept";
  mark.textContent = isKept ? "Works without its server now." : "";
  return isKept;
}

function showBlocked(error: unknown): void {
  byId("blocked-error", HTMLElement).textContent = status.describe(error);
  byId("blocked", HTMLElement).hidden = false;
  byId("retry", HTMLElement).focus();
}

fillLexnames(byId("filter-lexname", HTMLSelectElement));
fillLexnames(byId("add-lexname", HTMLSelectElement), "noun.artifact");
byId("retry", HTMLElement).addEventListener("click", () => void start({}));
byId("use-memory", HTMLElement).addEventListener("click", () => void start({ fallback: "memory" }));
void start({});
