// `npm run lint`: formatting, lints, types, and that core builds where there is no operating system. Runs all of
// them, says which failed, and exits 1 when one did.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { environment, readJson, root, run, say, seconds, shown, stop } from "./lib.mjs";
import { BARE_TARGET, PYTHON, setUp, WASM_TARGET } from "./setup.mjs";

const DENY_WARNINGS = ["--", "-D", "warnings"];
const CORE = ["-p", "hyperspace-core", "--no-default-features"];
const WASM = ["-p", "hyperspace-wasm", "--target", WASM_TARGET];

/** A workspace that has several TypeScript projects says in its script `check` how to go through them. */
function typeChecks() {
  const folders = readJson("package.json").workspaces;
  return folders.flatMap((folder) => {
    const { name, scripts } = readJson(`${folder}/package.json`);
    if (scripts?.check) return [["npm", "run", "check", "-w", name]];
    return existsSync(join(root, folder, "tsconfig.json")) ? [["tsc", "--noEmit", "-p", folder]] : [];
  });
}

const CHECKS = [
  ["cargo", "fmt", "--all", "--check"],
  ["biome", "ci", "--error-on-warnings", "."],
  ...typeChecks(),
  ["cargo", "clippy", "--workspace", "--all-targets", ...DENY_WARNINGS],
  ["cargo", "clippy", ...CORE, ...DENY_WARNINGS],
  ["cargo", "clippy", ...WASM, ...DENY_WARNINGS],
  ["cargo", "doc", "--workspace", "--no-deps", "--document-private-items"],
  ["cargo", "build", ...CORE, "--target", BARE_TARGET],
  ["cargo", "build", ...CORE, "--target", WASM_TARGET],
];

/** Python's settings are in the folder that they are for. */
const PYTHON_FOLDER = join(root, "sdks", "python");
const RUFF = [
  [PYTHON, "-m", "ruff", "format", "--check"],
  [PYTHON, "-m", "ruff", "check"],
];

async function lint() {
  await setUp(["build", "bare-target", "python"]); // the demo's types are those of the built package
  environment.RUSTDOCFLAGS = "-D warnings";
  environment.CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS = "-Ctarget-feature=+simd128"; // as the package is built
  const lines = [];
  let failed = 0;
  const checks = [
    ...CHECKS.map((words) => [words, root]),
    ...[...RUFF, [PYTHON, "-m", "mypy"]].map((words) => [words, PYTHON_FOLDER]),
    ...RUFF.map((words) => [words, join(root, "bench", "compare")]),
  ];
  for (const [[command, ...args], cwd] of checks) {
    say(shown(command, args));
    const from = Date.now();
    const good = (await run(command, args, { cwd })) === 0;
    failed += good ? 0 : 1;
    lines.push(`${good ? "ok    " : "FAILED"} ${seconds(from).padStart(8)}  ${shown(command, args)}`);
  }
  console.log(`\n${lines.join("\n")}`);
  process.exitCode = failed > 0 ? 1 : 0;
}

await lint().catch(stop);
