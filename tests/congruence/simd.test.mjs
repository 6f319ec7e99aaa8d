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
 * How many multiplications the kernels hold: functions that multiply in a loop and add up lanes at its end. Names do not help,
 * the shipped file has none.
 */
function multiplications(wasm, multiply, ...others) {
  const functions = binaryen("wasm-dis", "--enable-simd", wasm)
    .split(/^ \(func /m)
    .slice(1);
  const isKernel = (text) => [multiply, ...others, "(loop"].every((instruction) => text.includes(instruction));
  return functions.filter(isKernel).join("").split(multiply).length - 1;
}

const floats = (wasm) => multiplications(wasm, "f32x4.mul", "f32x4.add", "f32x4.extract_lane");
/** Codes are widened from eight bits to sixteen, and multiplied and added in pairs. */
const codes = (wasm) =>
  multiplications(
    wasm,
    "i32x4.dot_i16x8_s",
    "i16x8.extend_low_i8x16_s",
    "i16x8.extend_high_i8x16_s",
    "i32x4.add",
    "i32x4.extract_lane",
  );

test("the kernels in the shipped wasm multiply four floats at once", () => {
  const found = floats(SHIPPED);
  console.log(`${found} f32x4.mul in the kernels`);
  assert.ok(found >= 8, "four rows at once, by difference and by product");
});

test("the kernel over codes in the shipped wasm multiplies eight of them at once", () => {
  const found = codes(SHIPPED);
  console.log(`${found} i32x4.dot_i16x8_s in the kernel`);
  assert.ok(found >= 10, "four rows at once and one alone, sixteen components of each");
});

test("the checks see the difference: a scalar kernel is none", () => {
  const folder = mkdtempSync(join(tmpdir(), "hyperspace-"));
  try {
    const scalar = `(module
      (func (export "f") (result f32) (loop (result f32) (f32.mul (f32.const 2) (f32.const 3))))
      (func (export "i") (param i32) (result i32)
        (loop (result i32) (i32.mul (i32.load8_s (local.get 0)) (i32.load16_s (local.get 0)))))
      (memory 1))`;
    writeFileSync(join(folder, "scalar.wat"), scalar);
    binaryen("wasm-as", join(folder, "scalar.wat"), "-o", join(folder, "scalar.wasm"));
    assert.deepEqual([floats(join(folder, "scalar.wasm")), codes(join(folder, "scalar.wasm"))], [0, 0]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the shipped wasm is within its budget", () => {
  const size = brotliCompressSync(readFileSync(SHIPPED)).length;
  console.log(`${(size / 1024).toFixed(1)} KB brotli of ${BUDGET / 1024}`);
  assert.ok(size <= BUDGET, `${size} bytes`);
});
