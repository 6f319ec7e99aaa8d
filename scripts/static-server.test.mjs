import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathOf, serve } from "./static-server.mjs";

const base = mkdtempSync(join(tmpdir(), "hyperspace-serve-"));
const folder = join(base, "dist");
let server;

before(async () => {
  mkdirSync(join(folder, "assets"), { recursive: true });
  writeFileSync(join(folder, "index.html"), "<title>page</title>");
  writeFileSync(join(folder, "assets", "engine.wasm"), Buffer.from([0, 97, 115, 109]));
  writeFileSync(join(folder, "assets", "worker.mjs"), "export {};");
  writeFileSync(join(folder, "assets", "a name.onnx"), "model");
  writeFileSync(join(folder, ".env"), "hidden");
  writeFileSync(join(base, "secret.txt"), "secret");
  symlinkSync(join(base, "secret.txt"), join(folder, "link.txt"));
  server = await serve(folder, { port: 0 });
});

after(async () => {
  await server.close();
  rmSync(base, { recursive: true });
});

/** Sends a path as it is: fetch would tidy `..` away before it leaves. */
function get(path, { method = "GET", headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const { hostname, port } = new URL(server.url);
    request({ hostname, port, path, method, headers }, (response) => {
      const parts = [];
      response.on("data", (part) => parts.push(part));
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() }),
      );
    })
      .on("error", reject)
      .end();
  });
}

test("listens on the loopback address only", () => {
  assert.match(server.url, /^http:\/\/127\.0\.0\.1:\d+\/$/);
});

test("files come with the type that browsers insist on", async () => {
  const types = {
    "/": "text/html; charset=utf-8",
    "/index.html?x=1": "text/html; charset=utf-8",
    "/assets/engine.wasm": "application/wasm",
    "/assets/worker.mjs": "text/javascript; charset=utf-8",
    "/assets/a%20name.onnx": "application/octet-stream",
  };
  for (const [path, type] of Object.entries(types)) {
    const answer = await get(path);
    assert.equal(answer.status, 200, path);
    assert.equal(answer.headers["content-type"], type);
    assert.equal(answer.headers["x-content-type-options"], "nosniff");
    assert.equal(Number(answer.headers["content-length"]), Buffer.byteLength(answer.body));
  }
});

test("a file that is missing is 404, never the page", async () => {
  for (const path of ["/no.wasm", "/assets", "/assets/", "/index.html/x"]) {
    const answer = await get(path);
    assert.equal(answer.status, 404, path);
    assert.doesNotMatch(answer.body, /title/);
  }
});

test("no path leads out of the folder or to hidden files", async () => {
  const paths = [
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/assets/..%2f..%2fsecret.txt",
    "/..\\secret.txt",
    "//secret.txt",
    "/link.txt",
    "/.env",
    "/%00",
    "/%zz",
  ];
  for (const path of paths) {
    const answer = await get(path);
    assert.deepEqual([answer.status, answer.body], [404, "not found\n"], path);
  }
  assert.equal(pathOf("http://elsewhere/x"), undefined);
});

test("a file that the browser has already is not sent again, until it changes", async () => {
  const first = await get("/");
  const again = await get("/", { headers: { "if-none-match": `"other", W/${first.headers.etag}` } });
  assert.deepEqual([again.status, again.body], [304, ""]);
  writeFileSync(join(folder, "index.html"), "<title>another page</title>");
  const changed = await get("/", { headers: { "if-none-match": first.headers.etag } });
  assert.deepEqual([changed.status, changed.body], [200, "<title>another page</title>"]);
});

test("HEAD has the headers alone, other methods are refused", async () => {
  const head = await get("/assets/engine.wasm", { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.body], [200, "4", ""]);
  const post = await get("/", { method: "POST" });
  assert.deepEqual([post.status, post.headers.allow], [405, "GET, HEAD"]);
});

test("close ends connections that are kept alive", async () => {
  const other = await serve(folder, { port: 0 });
  await (await fetch(other.url)).text(); // leaves its connection open
  await other.close();
  await assert.rejects(fetch(other.url));
});

test("a port that is no port is refused before anything is installed", async () => {
  const script = new URL("./start.mjs", import.meta.url).pathname;
  for (const args of [["--port", "abc"], ["--port", "70000"], ["--unknown"]]) {
    const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "ignore", "pipe"] });
    let message = "";
    child.stderr.on("data", (part) => {
      message += part;
    });
    const code = await new Promise((resolve) => child.on("close", resolve));
    assert.equal(code, 1);
    assert.match(message, /what to do: npm start/);
  }
});
