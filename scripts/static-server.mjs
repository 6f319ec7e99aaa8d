// Serves the files of one folder on this machine, and nothing else: no listings, no way out of the folder, no page
// in place of a file that is missing (a .wasm answered by index.html is a bug hard to see).

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { realpath, stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, sep } from "node:path";
import { pipeline } from "node:stream/promises";

export const DEFAULT_PORT = 50051;

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".map": "application/json",
  ".mjs": "text/javascript; charset=utf-8",
  ".onnx": "application/octet-stream",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json",
  ".woff2": "font/woff2",
};

/** The path below the folder that a URL means; undefined for one that no file can have. */
export function pathOf(url) {
  let path;
  try {
    path = decodeURIComponent(url.split(/[?#]/, 1)[0]);
  } catch {
    return undefined;
  }
  const parts = path.split("/").slice(1);
  const refused = (part, at) => part.startsWith(".") || /[\\\0]/.test(part) || (part === "" && at < parts.length - 1);
  if (!path.startsWith("/") || parts.some(refused)) return undefined;
  return path.endsWith("/") ? `${path}index.html` : path;
}

async function find(folder, url) {
  const path = pathOf(url);
  if (path === undefined) return undefined;
  try {
    const real = await realpath(join(folder, path));
    if (!real.startsWith(folder + sep)) return undefined; // a link that leads out
    const { size, mtimeMs, isFile } = await stat(real).then((s) => ({
      size: s.size,
      mtimeMs: s.mtimeMs,
      isFile: s.isFile(),
    }));
    if (!isFile) return undefined;
    const etag = `"${createHash("sha256").update(`${path}\0${size}\0${mtimeMs}`).digest("base64url").slice(0, 22)}"`;
    return { real, size, etag, type: TYPES[extname(real).toLowerCase()] ?? "application/octet-stream" };
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP"].includes(error.code)) return undefined;
    throw error;
  }
}

async function answer(folder, request, response) {
  const plain = (status, text, headers = {}) => {
    response.writeHead(status, {
      "content-type": TYPES[".txt"],
      "content-length": Buffer.byteLength(text),
      ...headers,
    });
    response.end(request.method === "HEAD" ? undefined : text);
  };
  response.setHeader("x-content-type-options", "nosniff");
  if (request.method !== "GET" && request.method !== "HEAD")
    return plain(405, "only GET and HEAD\n", { allow: "GET, HEAD" });
  const file = await find(folder, request.url ?? "");
  if (!file) return plain(404, "not found\n");
  // Always asked again, hardly ever sent again: a new build is seen at once.
  const headers = { "cache-control": "no-cache", etag: file.etag };
  const known = request.headers["if-none-match"]?.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
  if (known?.includes(file.etag) || known?.includes("*")) {
    response.writeHead(304, headers);
    return response.end();
  }
  response.writeHead(200, { ...headers, "content-type": file.type, "content-length": file.size });
  if (request.method === "HEAD") return response.end();
  await pipeline(createReadStream(file.real), response);
}

/**
 * Serves a folder on 127.0.0.1.
 * @param options.port 0 for any free one
 * @returns the URL, ending in `/`, and how to stop: `close()` ends open connections too
 */
export async function serve(folder, { port = DEFAULT_PORT } = {}) {
  const real = await realpath(folder);
  const server = createServer((request, response) => {
    answer(real, request, response).catch((error) => {
      if (error.code !== "ERR_STREAM_PREMATURE_CLOSE")
        console.error(`${request.method} ${request.url}: ${error.message}`);
      if (response.headersSent) response.destroy();
      else response.writeHead(500).end();
    });
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ port, host: "127.0.0.1" }, resolve);
  });
  const close = () =>
    new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  return { url: `http://127.0.0.1:${server.address().port}/`, close };
}
