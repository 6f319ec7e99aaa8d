// Starts the native server, for `npm start` and for tests.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { environment, root } from "./lib.mjs";

/** The built program. */
export const SERVER = join(root, "target", "release", "hyperspace-server");

/** How long a test waits for a server to listen. */
const PATIENCE_MS = 30_000;

/** The line with which the server says that it listens, and where. */
export function listeningUrl(line) {
  return line.match(/^hyperspace-server \S+ listening on (http:\/\/\S+) /)?.[1];
}

/**
 * Starts a server on a free port of this machine, with data of its own, that serves a folder at `/`.
 * @returns its URL, and `close`, which ends it at once: how tests cut the network
 */
export async function serveFolder(folder) {
  const data = mkdtempSync(join(tmpdir(), "hyperspace-data-"));
  const args = ["--listen", "127.0.0.1:0", "--data-dir", data, "--demo-dir", folder];
  const child = spawn(SERVER, args, { env: environment, stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => child.on("close", resolve));
  const close = async () => {
    child.kill("SIGKILL");
    await ended;
    rmSync(data, { recursive: true, force: true });
  };
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error("the server did not say that it listens")), PATIENCE_MS);
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`the server ended with code ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const url = listeningUrl(line);
      if (!url) return;
      clearTimeout(late);
      resolve(`${url}/`);
    });
  }).catch(async (error) => {
    await close();
    throw error;
  });
  return { url, close };
}
