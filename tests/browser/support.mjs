// What the browser tests share: a real Chromium, and a server for the demo and for pages that use the package.

import { existsSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serveFolder } from "../../scripts/server.mjs";

export { serveFolder };

export const root = fileURLToPath(new URL("../..", import.meta.url));
const ARGUMENTS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** Starts the browser that `npm test` found or installed. */
export function launch() {
  const executablePath = process.env.CHROMIUM_PATH || "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ARGUMENTS });
}

/** Serves the built package beside an empty page: what a web app without a bundler sees. */
export async function servePackage(scripts = {}) {
  const files = await serveFolder(join(root, "wasm"));
  const page = '<!doctype html><title>test</title><link rel="icon" href="data:,">';
  const server = createServer(async (request, response) => {
    if (request.url === "/") return response.writeHead(200, { "content-type": "text/html" }).end(page);
    const script = scripts[request.url];
    if (script) return response.writeHead(200, { "content-type": "text/javascript" }).end(script);
    const answer = await fetch(new URL(request.url.slice(1), files.url));
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain" });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await files.close();
  };
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}

/** Whether set-up has fetched the embedding model. */
export function hasModel() {
  return existsSync(join(root, "web-demo", "dist", "model", "model.onnx"));
}

/** Waits until a condition in the page holds. */
export function until(page, condition, argument, timeout = 60_000) {
  return page.waitForFunction(condition, argument, { timeout, polling: 100 });
}

/** Fails the test for anything that the page threw or logged as an error. */
export function watchErrors(page) {
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  return errors;
}
