/**
 * Building graphs in a worker of their own, so that searches do not wait for it. A job gets a worker and the worker ends with
 * it: the memory of WebAssembly never shrinks, that of a worker that is gone is free.
 */

import { build, initSync } from "../pkg/hyperspace_wasm.js";

/** A worker of this name is a builder. */
const BUILDER = "hyperspace-builder";

interface Scope {
  name: string;
  location: { href: string };
  postMessage(message: unknown, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent<[WebAssembly.Module, Uint8Array<ArrayBuffer>]>) => void) | null;
}

let script: string | undefined;

/** Makes a builder of the worker that this script is, if that is what it was started for; otherwise it may start some. */
export function isBuilder(scope: Scope): boolean {
  script = scope.location.href;
  if (scope.name !== BUILDER) return false;
  scope.onmessage = ({ data: [module, rows] }) => {
    initSync({ module });
    const built = build(rows, (left: number) => scope.postMessage(left));
    scope.postMessage(built, [built.buffer]);
  };
  return true;
}

/** Whether this thread may start builders. */
export const hasBuilders = () => script !== undefined;

/**
 * Has rows built by a worker, and says what it says: a number while insertions are left, the segment, or nothing when it failed.
 * Answers how to end it.
 */
export function lend(module: WebAssembly.Module, rows: Uint8Array, hear: (said: unknown) => void): () => void {
  try {
    const worker = new Worker(script as string, { type: "module", name: BUILDER });
    worker.onmessage = ({ data }) => hear(data);
    worker.onerror = (event) => {
      event.preventDefault();
      hear(undefined);
    };
    worker.postMessage([module, rows], [rows.buffer]);
    return () => worker.terminate();
  } catch {
    queueMicrotask(() => hear(undefined));
    return () => {};
  }
}
