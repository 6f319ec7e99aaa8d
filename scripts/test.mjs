// `npm test`: installs and builds what the tests need, runs every suite, and ends with `N passed, N failed, N skipped`.
//
//   npm test [-- rust package ...]    all suites, or the named ones

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { environment, root, SetupError, say, seconds, shown, stop } from "./lib.mjs";
import { SERVER } from "./server.mjs";
import { findChromium, PYTHON, setUp } from "./setup.mjs";
import { closingLine, countCargo, countNode, countPytest, verdict, withSkips } from "./summary.mjs";

/** A suite that takes longer hangs: it is ended, with everything that it started. */
const MOST_MINUTES = 30;
const RESULTS = join(root, "target", "test-results");
/** Where Rust's tests name those that could not run; see tests/integration/support.rs. */
const SKIPS = join(RESULTS, "skips.txt");
/** Where Rust's tests leave the collections that they sealed, for the wasm build to open. */
const SEALED = join(RESULTS, "congruence");

/** Every suite: what has to be there, what runs, and how its output is counted. */
const SUITES = {
  scripts: { needs: [], command: () => nodeTests("scripts"), count: countNode },
  rust: {
    needs: ["programs", "terminal"],
    command: () => ["cargo", "test", "--workspace", "--no-fail-fast"],
    count: (text) => withSkips(countCargo(text), existsSync(SKIPS) ? readFileSync(SKIPS, "utf8") : ""),
  },
  package: { needs: ["build"], command: () => ["npm", "test", "-w", "hyperspace-db"], count: countNode },
  python: {
    needs: ["programs", "server", "python"],
    command: () => [PYTHON, "-m", "pytest", "--color=no", "sdks/python"],
    count: countPytest,
  },
  congruence: { needs: ["build", "server"], command: () => nodeTests("tests/congruence"), count: countNode },
  browser: {
    needs: ["build", "model", "server", "browser"],
    command: () => nodeTests("tests/browser"),
    count: countNode,
  },
};

/** Node's runner over the `*.test.mjs` of a folder, one file at a time: they share two cores with a browser. */
function nodeTests(folder) {
  const path = join(root, folder);
  const files = existsSync(path) ? readdirSync(path).filter((name) => name.endsWith(".test.mjs")) : [];
  if (files.length === 0) throw new SetupError(`${folder} has no *.test.mjs`, "restore the tests");
  return [
    "node",
    "--test",
    "--test-concurrency=1",
    "--test-force-exit",
    ...files.sort().map((name) => `${folder}/${name}`),
  ];
}

/** Runs a command, shows its output and keeps the standard one. */
function runSuite([command, ...args]) {
  return new Promise((resolve) => {
    const options = { cwd: root, env: environment, stdio: ["ignore", "pipe", "inherit"], detached: true };
    const child = spawn(command, args, options);
    const end = () => {
      try {
        process.kill(-child.pid, "SIGKILL"); // the whole group: a browser outlives the test that started it
      } catch {} // it has ended already
    };
    const watchdog = setTimeout(() => {
      console.error(`the suite has not ended after ${MOST_MINUTES} minutes: ending it`);
      end();
    }, MOST_MINUTES * 60_000);
    const interrupted = () => {
      end();
      process.exit(130);
    };
    process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part) => {
      text += part;
      process.stdout.write(part);
    });
    const finish = (exitCode) => {
      clearTimeout(watchdog);
      process.off("SIGINT", interrupted).off("SIGTERM", interrupted);
      resolve({ text, exitCode });
    };
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`);
      finish(127);
    });
    child.on("exit", end); // what it left behind would hold its output open
    child.on("close", (code) => finish(code ?? 1));
  });
}

async function test(name) {
  const { needs, command, count } = SUITES[name];
  const from = Date.now();
  try {
    await setUp(needs);
    if (needs.includes("browser")) environment.CHROMIUM_PATH = findChromium();
    const words = command();
    console.log();
    say(`suite ${name}: ${shown(words[0], words.slice(1))}`);
    const started = Date.now();
    const { text, exitCode } = await runSuite(words);
    return { name, ...verdict(count(text), exitCode), took: seconds(started) };
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    const problem = error.remedy ? `${error.message}; what to do: ${error.remedy}` : error.message;
    return {
      name,
      passed: 0,
      failed: 1,
      skipped: 0,
      reasons: [],
      problem: `could not run: ${problem}`,
      took: seconds(from),
    };
  }
}

function report(results) {
  console.log("\nsuite       time       passed  failed  skipped");
  for (const { name, took, passed, failed, skipped } of results) {
    console.log(
      [
        name.padEnd(10),
        took.padStart(9),
        `${passed}`.padStart(8),
        `${failed}`.padStart(7),
        `${skipped}`.padStart(8),
      ].join(" "),
    );
  }
  for (const { name, problem } of results) if (problem) console.log(`${name} ${problem}`);
  for (const { name, reasons } of results) for (const reason of reasons) console.log(`skipped in ${name}: ${reason}`);
  console.log();
  console.log(closingLine(results));
}

async function main() {
  const named = process.argv.slice(2);
  const unknown = named.find((name) => !Object.hasOwn(SUITES, name));
  if (unknown) throw new SetupError(`no suite is called ${unknown}`, `one of: ${Object.keys(SUITES).join(", ")}`);
  const names = named.length > 0 ? named : Object.keys(SUITES);
  rmSync(SKIPS, { force: true });
  if (names.includes("rust")) rmSync(SEALED, { recursive: true, force: true });
  mkdirSync(SEALED, { recursive: true });
  Object.assign(environment, { HS_SKIPS: SKIPS, HS_CONGRUENCE: SEALED, HS_SERVER: SERVER });
  const results = [];
  for (const name of names) results.push(await test(name));
  report(results);
  process.exitCode = results.some(({ failed }) => failed > 0) ? 1 : 0;
}

await main().catch(stop);
