// `npm start`: installs and builds what is missing, then serves the demo page on this machine.
//
//   npm start [-- --port 8080]        the port: --port, else the environment's PORT, else 50051

import { join } from "node:path";
import { parseArgs } from "node:util";
import { root, SetupError, stop } from "./lib.mjs";
import { setUp } from "./setup.mjs";
import { DEFAULT_PORT, serve } from "./static-server.mjs";

function wantedPort() {
  const { values } = parseArgs({ options: { port: { type: "string" } } });
  const text = values.port ?? process.env.PORT ?? String(DEFAULT_PORT);
  const port = Number(text);
  if (!/^\d+$/.test(text) || port > 65535) throw new SetupError(`${text} is no port`, "npm start -- --port 8080");
  return port;
}

async function start() {
  const port = wantedPort();
  await setUp(["start"]);
  const { url, close } = await serve(join(root, "web-demo", "dist"), { port }).catch((error) => {
    if (error.code !== "EADDRINUSE") throw error;
    throw new SetupError(`port ${port} is taken`, `npm start -- --port ${port + 1}`);
  });
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.once(signal, async () => {
      await close();
      process.exit(0);
    });
  }
  console.log(`\nThe demo runs in the browser tab; this process only hands out its files. Ctrl-C stops it.\n${url}`);
}

await start().catch((error) =>
  stop(error.code?.startsWith("ERR_PARSE_ARGS") ? new SetupError(error.message, "npm start -- --port 8080") : error),
);
