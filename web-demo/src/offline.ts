// Registers the service worker and makes sure that what the page needs is kept for the next visit without a server.

const DATA_CACHE = "hyperspace-demo-data";
/** How long a first visit waits for the service worker, so that the large files pass through it only once. */
const PATIENCE_MILLISECONDS = 3000;

/** Resolves when the service worker sees the page's requests, or when it is not to be had. */
export async function startServiceWorker(): Promise<void> {
  if (!import.meta.env.PROD || !("serviceWorker" in navigator)) {
    return;
  }
  try {
    const controlled = new Promise<void>((resolve) => {
      if (navigator.serviceWorker.controller) {
        resolve();
      }
      navigator.serviceWorker.addEventListener("controllerchange", () => resolve(), { once: true });
    });
    await navigator.serviceWorker.register("./sw.js", { scope: "./", updateViaCache: "none" });
    await Promise.race([controlled, new Promise((resolve) => setTimeout(resolve, PATIENCE_MILLISECONDS))]);
  } catch {
    // Private windows and odd hosts refuse service workers: the page works, only not without its server.
  }
}

/** Fetches what is not kept yet, drops what is no longer asked for; says whether the page can now start offline. */
export async function keepForOffline(urls: string[]): Promise<boolean> {
  if (!import.meta.env.PROD || !navigator.serviceWorker?.controller) {
    return false;
  }
  const wanted = new Set(urls.map((url) => new URL(url, document.baseURI).href));
  try {
    const cache = await caches.open(DATA_CACHE);
    for (const request of await cache.keys()) {
      if (!wanted.has(request.url)) {
        await cache.delete(request);
      }
    }
    for (const url of wanted) {
      if (!(await cache.match(url))) {
        await cache.add(url);
      }
    }
    return true;
  } catch {
    return false;
  }
}
