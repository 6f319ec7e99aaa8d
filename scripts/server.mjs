// Starts the native server, for `npm start` and for tests.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { environment, root } from "./lib.mjs";

/** The built programs. */
export const SERVER = join(root, "target", "release", "hyperspace-server");
export const CLI = join(root, "target", "release", "hyperspace-cli");

/** How long a test waits for a server to listen. */
const PATIENCE_MS = 30_000;

/** The line with which the server says that it listens, and where. */
export function listeningUrl(line) {
  return line.match(/^hyperspace-server \S+ listening on (http:\/\/\S+) /)?.[1];
}

/**
 * Starts a server on a free port of this machine, for a test.
 * @param data its data directory
 * @param flags more of its command line; `--listen` among them names the port
 * @returns its URL; `stop`, which ends it in order and fails unless it exits with 0; and `kill`, which ends it at once
 */
export async function startServer(data, ...flags) {
  const listen = flags.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
  const args = [...listen, "--data-dir", data, "--log", "warn", ...flags];
  const child = spawn(SERVER, args, { env: environment, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("close", (code, signal) => resolve(code ?? signal)));
  const end = (signal) => {
    child.kill(signal);
    return ended;
  };
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the server did not say that it listens")), PATIENCE_MS);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the server ended with code ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = listeningUrl(line);
      if (!url) return;
      clearTimeout(late);
      resolve(url);
    });
  }).catch(async (error) => {
    await end("SIGKILL");
    throw error;
  });
  const stop = async () => {
    const code = await end("SIGTERM");
    if (code !== 0) throw new Error(`the server was asked to stop and ended with ${code}`);
  };
  return { url, stop, kill: () => end("SIGKILL") };
}

/**
 * Starts a server with data of its own that serves a folder at `/`.
 * @returns the URL of the folder, and `close`, which ends the server at once: how tests cut the network
 */
export async function serveFolder(folder) {
  const data = mkdtempSync(join(tmpdir(), "hyperspace-data-"));
  const remove = () => rmSync(data, { recursive: true, force: true });
  const server = await startServer(data, "--demo-dir", folder).catch((error) => {
    remove();
    throw error;
  });
  const close = async () => {
    await server.kill();
    remove();
  };
  return { url: `${server.url}/`, close };
}
