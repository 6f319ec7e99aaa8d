/** The worker: one engine, driven by messages. Any failure that nobody caught ends it, loudly. */

import { HyperspaceError, toShape } from "./errors.js";
import { EngineHost } from "./host.js";
import type { Request, Response } from "./protocol.js";

interface Scope {
  postMessage(message: Response, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Request>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "unhandledrejection", listener: (event: PromiseRejectionEvent) => void): void;
}

const scope = globalThis as unknown as Scope;
const host = new EngineHost((response, transfer = []) => scope.postMessage(response, transfer));

function fatal(thrown: unknown): void {
  host.fail(new HyperspaceError("internal", `the engine failed: ${toShape(thrown).message}`));
}

scope.addEventListener("message", (event) => void host.handle(event.data));
scope.addEventListener("error", (event) => fatal(event.error ?? event.message));
scope.addEventListener("unhandledrejection", (event) => fatal(event.reason));
