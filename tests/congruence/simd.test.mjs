// The shipped wasm computes distances with vector instructions, and stays within its size budget.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { brotliCompressSync } from "node:zlib";

const root = fileURLToPath(new URL("../..", import.meta.url));
const SHIPPED = process.env.HS_WASM ?? join(root, "wasm", "pkg", "hyperspace_wasm_bg.wasm");
const BUDGET = 200 * 1024;

function binaryen(tool, ...words) {
  const options = { encoding: "utf8", maxBuffer: 1 << 30 };
  return execFileSync(process.execPath, [join(root, "node_modules", "binaryen", "bin", tool), ...words], options);
}

/**
 * How many multiplications of four floats the distance kernels hold: functions that multiply in a loop and add up lanes
 * at its end. Names do not help, the shipped file has none.
 */
function multiplications(wasm) {
  const functions = binaryen("wasm-dis", "--enable-simd", wasm)
    .split(/^ \(func /m)
    .slice(1);
  const isKernel = (text) =>
    ["f32x4.mul", "f32x4.add", "f32x4.extract_lane", "(loop"].every((instruction) => text.includes(instruction));
  return functions.filter(isKernel).join("").split("f32x4.mul").length - 1;
}

test("the kernels in the shipped wasm multiply four floats at once", () => {
  const found = multiplications(SHIPPED);
  console.log(`${found} f32x4.mul in the kernels`);
  assert.ok(found >= 8, "four rows at once, by difference and by product");
});

test("the check sees the difference: a scalar kernel is none", () => {
  const folder = mkdtempSync(join(tmpdir(), "hyperspace-"));
  try {
    const scalar =
      '(module (func (export "f") (result f32) (loop (result f32) (f32.mul (f32.const 2) (f32.const 3)))))';
    writeFileSync(join(folder, "scalar.wat"), scalar);
    binaryen("wasm-as", join(folder, "scalar.wat"), "-o", join(folder, "scalar.wasm"));
    assert.equal(multiplications(join(folder, "scalar.wasm")), 0);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the shipped wasm is within its budget", () => {
  const size = brotliCompressSync(readFileSync(SHIPPED)).length;
  console.log(`${(size / 1024).toFixed(1)} KB brotli of ${BUDGET / 1024}`);
  assert.ok(size <= BUDGET, `${size} bytes`);
});
