/**
 * The worker: a tab's seat at its database, driven by messages; any failure that nobody caught ends it, loudly. Or, started
 * by another one, a builder.
 */

import { isBuilder } from "./builder.js";
import { HyperspaceError, toShape } from "./errors.js";
import type { Request, Response } from "./protocol.js";
import { Seat } from "./seat.js";

interface Scope {
  postMessage(message: Response, transfer: Transferable[]): void;
  addEventListener(type: "message", listener: (event: MessageEvent<Request>) => void): void;
  addEventListener(type: "error", listener: (event: ErrorEvent) => void): void;
  addEventListener(type: "unhandledrejection", listener: (event: PromiseRejectionEvent) => void): void;
}

if (!isBuilder(globalThis as unknown as Parameters<typeof isBuilder>[0])) sit(globalThis as unknown as Scope);

function sit(scope: Scope): void {
  const seat = new Seat((response, transfer = []) => scope.postMessage(response, transfer));
  const fatal = (thrown: unknown) => {
    seat.fail(new HyperspaceError("internal", `the engine failed: ${toShape(thrown).message}`));
  };
  scope.addEventListener("message", (event) => void seat.handle(event.data));
  scope.addEventListener("error", (event) => fatal(event.error ?? event.message));
  scope.addEventListener("unhandledrejection", (event) => fatal(event.reason));
}
