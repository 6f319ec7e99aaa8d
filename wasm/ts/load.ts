/** Fetches and compiles the engine, and says what is wrong when what came is no WebAssembly. */

import { HyperspaceError } from "./errors.js";
import type { WasmSource } from "./protocol.js";

const MAGIC = [0x00, 0x61, 0x73, 0x6d];

const HINT = "serve the package's `hyperspace_wasm_bg.wasm` there, or pass its address as `wasmUrl`";

/**
 * Compiles the engine.
 *
 * @throws `unavailable` when nothing can be fetched, `invalid_argument` when the answer is not WebAssembly.
 */
export async function compile(source: WasmSource): Promise<WebAssembly.Module> {
  if ("module" in source) return source.module;
  const { url } = source;
  let response: Response;
  try {
    response = await fetch(url);
  } catch (cause) {
    throw new HyperspaceError("unavailable", `the engine cannot be fetched from ${url}`, { cause });
  }
  const type = response.headers.get("content-type") ?? "no content type";
  if (!response.ok) {
    throw new HyperspaceError("unavailable", `the engine's address ${url} answered ${response.status}: ${HINT}`);
  }
  if (type.startsWith("application/wasm")) return WebAssembly.compileStreaming(response);
  const bytes = new Uint8Array(await response.arrayBuffer());
  if (!MAGIC.every((byte, at) => bytes[at] === byte)) {
    throw new HyperspaceError(
      "invalid_argument",
      `the engine's address ${url} answered ${type} instead of WebAssembly (an index page?): ${HINT}`,
    );
  }
  return WebAssembly.compile(bytes);
}
