// `npm start`: installs and builds what is missing, then starts the native server, which also serves the demo page.
//
//   npm start [-- --port 8080]        the port: --port, else the environment's PORT, else 50051

import { spawn } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { environment, root, SetupError, stop } from "./lib.mjs";
import { SERVER } from "./server.mjs";
import { setUp } from "./setup.mjs";

const DEFAULT_PORT = 50051;

function wantedPort() {
  const { values } = parseArgs({ options: { port: { type: "string" } } });
  const text = values.port ?? process.env.PORT ?? String(DEFAULT_PORT);
  if (!/^\d+$/.test(text) || Number(text) > 65535)
    throw new SetupError(`${text} is no port`, "npm start -- --port 8080");
  return text;
}

async function start() {
  const port = wantedPort();
  await setUp(["start"]);
  const demo = join(root, "web-demo", "dist");
  const args = ["--listen", `127.0.0.1:${port}`, "--data-dir", join(root, "data"), "--demo-dir", demo];
  console.log("\nThe demo runs in the browser tab; the server hands out its files. Ctrl-C stops it.");
  const server = spawn(SERVER, args, { env: environment, stdio: ["ignore", "inherit", "inherit"] });
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => server.kill(signal));
  server.on("exit", (code) => process.exit(code ?? 1));
}

await start().catch((error) =>
  stop(error.code?.startsWith("ERR_PARSE_ARGS") ? new SetupError(error.message, "npm start -- --port 8080") : error),
);
