// What the scripts share: where things are, running a command, and knowing whether a build is up to date.
// Nothing from npm: these run on a bare machine, before anything is installed.

import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("..", import.meta.url)).replace(/[\\/]$/, "");
export const tools = join(root, "target", "tools");

/** The environment of every command: our own tools come first. */
export const environment = {
  ...process.env,
  PATH: [join(tools, "bin"), join(root, "node_modules", ".bin"), process.env.PATH].join(delimiter),
};

// `npm test --silent` must not silence the errors of the npm commands that it runs.
delete environment.npm_config_loglevel;

/** A step that cannot go on. `remedy` is what a person can do about it, best an exact command. */
export class SetupError extends Error {
  constructor(message, remedy) {
    super(message);
    this.remedy = remedy;
  }
}

/** Ends a script with the message of its error, without a stack when the error was foreseen. */
export function stop(error) {
  if (error instanceof SetupError) {
    console.error(`\nerror: ${error.message}`);
    if (error.remedy) console.error(`what to do: ${error.remedy}`);
  } else {
    console.error(error);
  }
  process.exit(1);
}

export function say(text) {
  console.log(`» ${text}`);
}

/** A command as a person would type it. */
export function shown(command, args) {
  return [command, ...args].map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`)).join(" ");
}

/**
 * Runs a command in the repository, its output passed through, and waits for it.
 * @returns its exit code; 127 when it cannot be started
 */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: environment,
      stdio: ["ignore", "inherit", "inherit"],
      ...options,
    });
    child.on("error", (error) => {
      console.error(`${command}: ${error.message}`);
      resolve(127);
    });
    child.on("exit", (code, signal) => resolve(code ?? (signal ? 1 : 0)));
  });
}

/** Says what will run, runs it, and stops with the same command as the remedy when it fails. */
export async function must(what, command, args, remedy = shown(command, args)) {
  say(`${what}: ${shown(command, args)}`);
  const code = await run(command, args);
  if (code !== 0) throw new SetupError(`${what} failed with exit code ${code}`, remedy);
}

/** The standard output of a quick command, trimmed; undefined when it fails or is not there. */
export function ask(command, args) {
  const result = spawnSync(command, args, { cwd: root, env: environment, encoding: "utf8" });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

const NO_INPUT = new Set(["node_modules", "target", "dist", "pkg", "test-results", ".vite", "test", "tests"]);

/** All files at or below a path of the repository, but for tests and what tools made; sorted. */
function filesBelow(path) {
  const start = join(root, path);
  if (!existsSync(start)) return [];
  const found = [];
  const visit = (folder) => {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory() && !NO_INPUT.has(entry.name)) visit(join(folder, entry.name));
      else if (entry.isFile()) found.push(join(folder, entry.name));
    }
  };
  try {
    visit(start);
  } catch (error) {
    if (error.code !== "ENOTDIR") throw error;
    found.push(start);
  }
  return found.sort();
}

/** One hash of the names and contents of all files at or below the paths. */
export function digest(paths) {
  const hash = createHash("sha256");
  for (const file of paths.flatMap(filesBelow)) {
    const bytes = readFileSync(file);
    hash.update(`${relative(root, file)}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest("hex");
}

/**
 * Builds something unless its inputs are what they were at the last build and its outputs are there.
 * @param name of the stamp in target/stamps
 */
export async function unlessBuilt(name, { inputs, outputs, build }) {
  const stamp = join(root, "target", "stamps", name);
  const missing = () => outputs().filter((path) => !existsSync(join(root, path)));
  const now = digest(inputs);
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === now && missing().length === 0) return false;
  rmSync(stamp, { force: true });
  await build();
  const absent = missing();
  if (absent.length > 0) throw new SetupError(`the build of ${name} made no ${absent.join(", ")}`);
  mkdirSync(join(root, "target", "stamps"), { recursive: true });
  writeFileSync(stamp, now);
  return true;
}

export function readJson(path) {
  return JSON.parse(readFileSync(join(root, path), "utf8"));
}

export function seconds(sinceMs) {
  return `${((Date.now() - sinceMs) / 1000).toFixed(1)} s`;
}
