// Keeps the page usable with the server stopped.
//
// Two caches. The shell (the page and its hashed files, named by the build) is fetched when a version installs and
// answered from the cache. Large hashed files, texts and the model have addresses that change with their content: they are
// kept when first asked for. The vectors are not kept here: after the first visit they are in the database.
// The page and the manifest come from the network while there is one.

export {};

declare const self: ServiceWorkerGlobalScope;
declare const __SHELL_FILES__: string[];
declare const __SHELL_VERSION__: string;

const PREFIX = "hyperspace-demo-";
const SHELL = `${PREFIX}shell-${__SHELL_VERSION__}`;
const DATA = `${PREFIX}data`;
const SCOPE = new URL("./", self.location.href);
const MANIFEST = new URL("assets/manifest.json", SCOPE).href;
const shellFiles = new Set(__SHELL_FILES__.map((file) => new URL(file, SCOPE).href));

self.addEventListener("install", (event) => {
  event.waitUntil(install());
});

self.addEventListener("activate", (event) => {
  event.waitUntil(activate());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || !request.url.startsWith(SCOPE.href)) {
    return;
  }
  if (request.mode === "navigate") {
    event.respondWith(page(request));
  } else if (url.href === MANIFEST) {
    event.respondWith(networkFirst(event));
  } else if (shellFiles.has(url.href)) {
    event.respondWith(cacheFirst(event, SHELL));
  } else if (isKept(url)) {
    event.respondWith(cacheFirst(event, DATA));
  }
});

async function install(): Promise<void> {
  const cache = await caches.open(SHELL);
  await cache.addAll([...shellFiles].map((url) => new Request(url, { cache: "no-cache" })));
  await self.skipWaiting();
}

async function activate(): Promise<void> {
  const names = await caches.keys();
  const old = names.filter((name) => name.startsWith(PREFIX) && name !== SHELL && name !== DATA);
  await Promise.all(old.map((name) => caches.delete(name)));
  await self.clients.claim();
}

/** Says whether an address is bound to its content and worth keeping. */
function isKept(url: URL): boolean {
  const isVectors = url.pathname.endsWith("/wordnet.vectors.bin");
  return !isVectors && (url.searchParams.has("v") || url.pathname.startsWith(`${SCOPE.pathname}app/`));
}

/** The page of the network, or the one that was installed together with the files it names. */
async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const kept = (await caches.match(request.url)) ?? (await caches.match(SCOPE.href));
    if (kept) {
      return kept;
    }
    throw error;
  }
}

async function cacheFirst(event: FetchEvent, name: string): Promise<Response> {
  const cache = await caches.open(name);
  const kept = await cache.match(event.request.url);
  if (kept) {
    return kept;
  }
  const response = await fetch(event.request);
  event.waitUntil(keep(cache, event.request.url, response));
  return response;
}

async function networkFirst(event: FetchEvent): Promise<Response> {
  const cache = await caches.open(DATA);
  try {
    const response = await fetch(event.request);
    event.waitUntil(keep(cache, event.request.url, response));
    return response;
  } catch (error) {
    const kept = await cache.match(event.request.url);
    if (kept) {
      return kept;
    }
    throw error;
  }
}

/** Keeps a good answer; a full disk costs the offline copy, never the answer. */
async function keep(cache: Cache, key: string, response: Response): Promise<void> {
  const isPage = (response.headers.get("content-type") ?? "").startsWith("text/html");
  if (response.ok && !isPage) {
    await cache.put(key, response.clone()).catch(() => undefined);
  }
}
