// Our package beside hnswlib-wasm and edgevec in one page of Chromium: `npm run bench -- browser [--n POINTS]`. The peers come
// from npm into target/bench-npm. The page is loaded once; everything in it is done by turns.

import { createReadStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";
import { must, root, say } from "../../scripts/lib.mjs";
import { launch } from "../../tests/browser/support.mjs";

const PEERS = { edgevec: "0.9.0", "hnswlib-wasm": "0.8.2" };
const DATA = process.env.HS_DATA ?? join(root, "..", "shared", "data");
const FOLDER = join(root, "target", "bench-npm");
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };
const DIMENSION = 384;
const MORE = 1_000;
const QUERIES = 300;
const ROUNDS = 5;
const TARGET = 0.95;
const WIDTHS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];

async function peers() {
  const wanted = JSON.stringify({ private: true, dependencies: PEERS });
  const file = join(FOLDER, "package.json");
  if (existsSync(file) && readFileSync(file, "utf8") === wanted && existsSync(join(FOLDER, "node_modules"))) return;
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(file, wanted);
  await must("installing the peers into target/bench-npm", "npm", ["install", "--prefix", FOLDER, "--no-audit"]);
}

/** Rows of the shared set as f32: the first `count` and those that are added later, and held-out queries. */
async function vectors(count) {
  const { parseNpy } = await import(pathToFileURL(join(DATA, "scripts", "npy.mjs")));
  const read = (name) => Float32Array.from(parseNpy(readFileSync(join(DATA, "minilm-384", name))).data);
  const [base, queries] = [read("base.npy"), read("queries.npy")];
  const points = Math.min(count, base.length / DIMENSION - MORE);
  return {
    "/data/shape": JSON.stringify({ dimension: DIMENSION, count: points, more: MORE, queries: QUERIES }),
    "/data/base": Buffer.from(base.buffer, 0, (points + MORE) * DIMENSION * 4),
    "/data/queries": Buffer.from(queries.buffer, 0, QUERIES * DIMENSION * 4),
  };
}

async function serve(bodies) {
  const folders = {
    ours: join(root, "wasm"),
    npm: join(FOLDER, "node_modules"),
    bench: join(root, "bench", "compare"),
  };
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    const [, folder, ...rest] = path.split("/");
    const file = folders[folder] && join(folders[folder], ...rest);
    // An isolated page is told the time to 5 microseconds, others to 100.
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
    if (path in bodies) return response.end(bodies[path]);
    if (path === "/") return response.setHeader("content-type", "text/html").end("<!doctype html><title>bench</title>");
    if (!file || !existsSync(file)) return response.writeHead(404).end();
    response.setHeader("content-type", TYPES[extname(file)] ?? "text/plain");
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[numbers.length >> 1];

/** Compares everything and prints a line for each contestant. */
export async function browser(count = 50_000) {
  if (!existsSync(DATA)) return say(`left out: ${DATA} is not there (HS_DATA names the folder of the data sets)`);
  await peers();
  const server = await serve(await vectors(count));
  const chrome = await launch();
  try {
    const page = await chrome.newPage();
    page.on("pageerror", (error) => console.error(`in the page: ${error}`));
    await page.goto(server.url);
    const call = (name, ...args) =>
      page.evaluate(async ([f, a]) => (await import("/bench/browser-page.mjs"))[f](...a), [name, args]);
    const names = await page.evaluate(async () => (await import("/bench/browser-page.mjs")).names);
    say(`browser: minilm-384, ${count} points, ${QUERIES} held-out queries, recall@10 >= ${TARGET}`);
    const rates = [];
    for (const at of names.keys()) rates.push(await call("build", at));
    const widths = [];
    for (const at of names.keys()) widths.push(await width(call, at));
    const found = names.map(() => []);
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const at of names.keys()) found[at].push(await call("search", at, widths[at]));
    }
    for (const [at, name] of names.entries()) {
      const p50 = median(found[at].map((f) => f.median));
      const times = median(found[at].map((f, round) => f.median / found[0][round].median));
      const kept = await call("keep", at);
      const keeping = kept.failed ?? `save ${MORE} more ${kept.save.toFixed(0)} ms   open ${kept.open.toFixed(0)} ms`;
      console.log(
        `  ${name.padEnd(14)} built ${rates[at].toFixed(0).padStart(6)}/s   ef ${String(widths[at]).padStart(3)} recall ${found[at][0].recall.toFixed(4)}` +
          ` p50 ${p50.toFixed(3)} ms (${times.toFixed(2)} x ours)   ${keeping}`,
      );
    }
  } finally {
    await chrome.close();
    server.close();
  }
}

/** The least list of candidates that reaches the recall; the longest when none does. */
async function width(call, at) {
  for (const ef of WIDTHS) if ((await call("search", at, ef)).recall >= TARGET) return ef;
  return WIDTHS.at(-1);
}
