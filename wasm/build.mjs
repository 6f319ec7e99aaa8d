// Builds the npm package: the engine to wasm (pkg/), the TypeScript to JavaScript (dist/).
//
// Needs the Rust target wasm32-unknown-unknown, wasm-pack and the wasm-bindgen of Cargo.lock (looked for in
// target/tools/bin first), and the npm packages binaryen, rolldown and typescript. `npm run setup` in the repository's root
// installs all of them. Fails when the result is over its size budget.

import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { rolldown } from "rolldown";
import { named } from "./order.mjs";

const folder = dirname(fileURLToPath(import.meta.url));
const root = dirname(folder);
const WASM_BUDGET = 200 * 1024; // bytes, brotli
const JS_BUDGET = 15 * 1024; // gzip, page and worker as an app ships them: bundled and minified, the glue included

const environment = {
  ...process.env,
  PATH: [join(root, "target", "tools", "bin"), join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
  CARGO_TARGET_DIR: join(root, "target", "wasm"),
  CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS: ["-Ctarget-feature=+simd128", ...remapped()].join(" "),
  CARGO_PROFILE_RELEASE_LTO: "fat",
  CARGO_PROFILE_RELEASE_CODEGEN_UNITS: "1",
  CARGO_PROFILE_RELEASE_DEBUG: "0",
  CARGO_PROFILE_RELEASE_PANIC: "abort",
};
// It would replace the flags above.
delete environment.RUSTFLAGS;

/** The compiler has inlined what pays; more of it costs 4 KB of download and makes nothing quicker. */
const NO_INLINING = ["-aimfs", "2", "-fimfs", "0", "-ocimfs", "0"];

/** Panic messages name source files: without the folders of this machine they are shorter, and the same everywhere. */
function remapped() {
  const sources = join(process.env.CARGO_HOME ?? join(homedir(), ".cargo"), "registry", "src");
  const registries = existsSync(sources) ? readdirSync(sources).map((name) => join(sources, name)) : [];
  return registries.filter((path) => !path.includes(" ")).map((path) => `--remap-path-prefix=${path}/=`);
}

/**
 * Everything for size, the engine's inner loops a little less: smaller still, scans and builds take up to a half longer. The
 * kernels are unrolled by hand and lose nothing.
 */
const PROFILE = [
  "profile.release.opt-level='z'",
  "profile.release.package.hyperspace-inner.opt-level='s'",
  "profile.release.package.blake3.opt-level='s'",
];

/** Runs a command and returns what it says, if that is asked for. */
function run(command, args, output = "inherit") {
  console.log(`> ${command} ${args.join(" ")}`);
  const stdio = ["inherit", output, "inherit"];
  const { status, error, stdout } = spawnSync(command, args, {
    cwd: folder,
    env: environment,
    stdio,
    encoding: "utf8",
  });
  if (error?.code === "ENOENT") fail(`${command} is not installed: run \`npm run setup\` in the repository's root`);
  if (status !== 0) fail(`${command} failed`);
  return stdout;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

function buildWasm() {
  const configs = PROFILE.flatMap((setting) => ["--config", setting]);
  const options = ["--release", "--target", "web", "--out-dir", "../pkg", "--out-name", "hyperspace_wasm"];
  run("wasm-pack", ["build", ...options, "--no-pack", "--no-opt", "module", "--", "--locked", ...configs]);
  const module = join("pkg", "hyperspace_wasm_bg.wasm");
  run("wasm-opt", ["-O2", ...NO_INLINING, "--enable-simd", "--strip-debug", "--strip-producers", module, "-o", module]);
  trim(module, join("pkg", "hyperspace_wasm.js"));
  rmSync(join(folder, "pkg", ".gitignore"), { force: true }); // it would keep npm from packing the folder
}

/**
 * The compiler's order of functions compresses badly (`order.mjs`). What WebAssembly and its glue call each other has names
 * with hashes in them, which nobody reads and nothing compresses, and the glue holds what is never run.
 */
function trim(module, glue) {
  writeFileSync(join(folder, module), named(readFileSync(join(folder, module))));
  const order = ["--reorder-functions-by-name", "--strip-debug", "--strip-target-features"];
  const passes = ["--enable-simd", ...order, "--minify-imports-and-exports-and-modules"];
  const { imports, exports } = JSON.parse(run("wasm-opt", [...passes, module, "-o", module], "pipe"));
  const path = join(folder, glue);
  let text = readFileSync(path, "utf8");
  const replace = (pattern, by) => {
    const replaced = text.replace(pattern, by);
    if (replaced === text) fail(`${glue} has no ${pattern}: it is written in another way than before`);
    text = replaced;
  };
  for (const [pattern, by] of [...UNUSED, ...SHORTER]) replace(pattern, by);
  for (const [from, name, short] of imports) {
    replace(new RegExp(`^( +)${name}:`, "m"), `$1${short}:`);
    text = text.replace(`"${from}": import0`, "a: import0");
  }
  replace(/^( {8}[\w$]+): function(\([^)]*\)) \{(?! return handleError)/gm, "$1: $2 => {");
  replace(/function\(\) \{ return handleError\(function (\([^)]*\)) \{/g, "(...all) => handleError($1 => {");
  replace(/\}, arguments\); \},/g, "}, all),");
  // Only of classes that are there whenever somebody asks.
  replace(
    /let result;\s+try \{\s+result = (arg0 instanceof \w+);[\s\S]*?const ret = result;\s+return ret;/g,
    "return $1;",
  );
  for (const [name, short] of exports) text = text.replaceAll(new RegExp(`\\bwasm\\.${name}\\b`, "g"), `wasm.${short}`);
  writeFileSync(path, text);
}

const LOADER = `let wasm;
export function initSync({ module }) {
    if (wasm !== undefined) return;
    wasm = new WebAssembly.Instance(module, __wbg_get_imports()).exports;
    wasm.__wbindgen_start();
}
`;

/** Ways of loading that are not ours (`load.ts`), what is for browsers older than modules in workers, freeing by hand. */
const UNUSED = [
  [/let wasmModule,[\s\S]*/, LOADER],
  [/\nif \(!\('encodeInto' in cachedTextEncoder\)\) \{\n[\s\S]*?\n\}\n/, ""],
  [/ {4}if \(realloc === undefined\) \{\n[\s\S]*?\n {4}\}\n/, ""],
  [/ {4}__destroy_into_raw\(\) \{[\s\S]*?free\(\) \{[\s\S]*?\n {4}\}\n/, ""],
  [/\nif \(Symbol\.dispose\).*/, ""],
  [/\(typeof FinalizationRegistry === 'undefined'\)\n.*\n {4}: /g, ""],
  [/ +__proto__: null,\n/g, ""], // No name that is asked for is one of every object's.
  [/\btypeof globalThis === 'undefined' \? undefined : /, ""],
  // Asked for where there is no `globalThis`.
  [/const ret = typeof (?:self|window|global) === .*\n\s+return .*/g, "return 0;"],
];

/** The same in fewer words. Views of the memory are made when they are used, unless that is for every character. */
const SHORTER = [
  [/\w+\.prototype\.set\.call\((\w+\(arg0, arg1\)), arg2\)/g, "$1.set(arg2)"],
  [/cachedDataViewMemory0 === null \|\| .*(!== wasm\.memory\.buffer)\)\)/, "cachedDataViewMemory0?.buffer $1)"],
  [/let cachedFloat\w+ = null;\nfunction \w+\(\) \{\n[\s\S]*?\n\}\n\n/g, ""],
  [
    /ptr = ptr >>> 0;\n {4}return get(\w+Array)Memory0\(\)\.subarray\(ptr \/ \d, ptr \/ \d \+ len\)/g,
    "return new $1(wasm.memory.buffer, ptr >>> 0, len)",
  ],
  [/ptr = ptr >>> 0;\n {4}return decodeText\(.*/, "return decodeText(getArrayU8FromWasm0(ptr, len));"],
  [/ \+ 4 \* 0\b| \* 1\b/g, ""],
];

function buildTypeScript() {
  rmSync(join(folder, "dist"), { recursive: true, force: true });
  // Declarations keep their comments, for editors; the code that is downloaded does not.
  run("tsc", ["-p", ".", "--emitDeclarationOnly"]);
  run("tsc", ["-p", ".", "--declaration", "false", "--removeComments"]);
}

function kib(bytes) {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}

/** The scripts that an app ships: one for the page, one for the worker. */
async function shipped() {
  const bundles = ["index.js", "worker.js"].map(async (entry) => {
    const bundle = await rolldown({ input: join(folder, "dist", entry) });
    const { output } = await bundle.generate({ minify: true });
    await bundle.close();
    return output[0].code;
  });
  return Promise.all(bundles);
}

async function measure() {
  const wasm = readFileSync(join(folder, "pkg", "hyperspace_wasm_bg.wasm"));
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: wasm.length } };
  const brotli = brotliCompressSync(wasm, quality).length;
  const scripts = await shipped();
  const length = scripts.reduce((sum, text) => sum + text.length, 0);
  const gzip = scripts.reduce((sum, text) => sum + gzipSync(text, { level: 9 }).length, 0);
  console.log(`wasm: ${kib(wasm.length)}, brotli ${kib(brotli)} of ${kib(WASM_BUDGET)}`);
  console.log(`JavaScript of page and worker, minified: ${kib(length)}, gzip ${kib(gzip)} of ${kib(JS_BUDGET)}`);
  if (brotli > WASM_BUDGET) fail("the wasm is over its budget");
  if (gzip > JS_BUDGET) fail("the JavaScript is over its budget");
}

// The package carries the licences; the repository has them once.
const LICENCES = ["LICENSE-MIT", "LICENSE-APACHE"];

if (process.argv.includes("--licences")) {
  for (const name of LICENCES) copyFileSync(join(root, name), join(folder, name));
} else if (process.argv.includes("--no-licences")) {
  for (const name of LICENCES) rmSync(join(folder, name), { force: true });
} else {
  buildWasm();
  buildTypeScript();
  await measure();
}
