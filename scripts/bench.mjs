// `npm run bench`: what the engine costs, beside its peers. Without arguments the short rows and the criterion benches, a few
// minutes; `npm run bench -- ROW [OPTIONS]` runs one row of bench/README.md, and `npm run bench -- engine` criterion
// alone. `browser` needs the built package and server (`npm run setup`).

import { existsSync } from "node:fs";
import { join } from "node:path";
import { environment, must, root, run, SetupError, say, shown, stop, unlessBuilt } from "./lib.mjs";
import { SERVER } from "./server.mjs";

const VENV = join(root, "target", "bench-venv");
const PYTHON = join(VENV, "bin", "python");
const REQUIREMENTS = "bench/compare/requirements.txt";
const SHORT = [
  ["search-8d"],
  ["poincare-8d"],
  ["build-8d", "--n", "20000"],
  ["search-384d", "--n", "20000"],
  ["quantised-384d", "--n", "20000"],
  ["build-384d", "--n", "5000"],
];
/** Rows that talk to a server, and run when one is built. */
const SERVED = [["grpc-overhead"], ["restart"], ["ingest", "--rounds", "1"]];

/** The peers go into an environment of their own. One that cannot be installed is left out by the rows that name it. */
async function peers() {
  await unlessBuilt("bench-venv", {
    inputs: [REQUIREMENTS, "sdks/python/pyproject.toml", "native-server/proto"],
    outputs: () => ["target/bench-venv/bin/python"],
    build: async () => {
      await must("making a virtual environment for the peers in target/bench-venv", "python3", ["-m", "venv", VENV]);
      const pip = ["-m", "pip", "install", "--quiet"];
      await must("installing numpy and our client", PYTHON, [...pip, "-c", REQUIREMENTS, "numpy", "./sdks/python"]);
      if ((await run(PYTHON, [...pip, "-r", REQUIREMENTS])) === 0) return;
      for (const peer of ["hnswlib", "faiss-cpu", "usearch", "pyglass-portable", "qdrant-edge-py"]) {
        if ((await run(PYTHON, [...pip, "-c", REQUIREMENTS, peer])) !== 0) say(`left out: ${peer} cannot be installed`);
      }
    },
  });
}

function engine(...filters) {
  const args = ["bench", "--package", "hyperspace-bench", "--bench", "rows", "--bench", "engine"];
  return must("timing the engine's parts", "cargo", [...args, "--", ...filters]);
}

/** The number after `--n`, if there is one. */
function points(options) {
  const at = options.indexOf("--n");
  return at < 0 ? undefined : Number(options[at + 1]);
}

async function row(args) {
  // One thread each: what the libraries do beside their own settings is not asked for either.
  Object.assign(environment, { OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" });
  const script = join("bench", "compare", "compare.py");
  say(shown("npm", ["run", "bench", "--", ...args]));
  const code = await run(PYTHON, [script, ...args]);
  if (code !== 0) throw new SetupError(`${args[0]} ended with exit code ${code}`);
}

async function bench([name, ...options]) {
  if (name === "engine") return engine(...options);
  if (name === "browser") return (await import("../bench/compare/browser.mjs")).browser(points(options));
  await must("building the program that is compared", "cargo", ["build", "--release", "--package", "hyperspace-bench"]);
  await peers();
  if (name) return row([name, ...options]);
  for (const args of SHORT) await row(args);
  if (existsSync(SERVER)) for (const args of SERVED) await row(args);
  else say("left out: the rows of the server, which is not built (cargo build --release --package hyperspace-server)");
  await engine("--quick");
}

await bench(process.argv.slice(2)).catch(stop);
