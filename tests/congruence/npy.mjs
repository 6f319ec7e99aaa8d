// Reads `.npy` version 1.0 and `.npy.gz`, and writes the former; halves and bytes are widened to floats, which is exact.

import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const TYPES = { "<f4": Float32Array, "<f8": Float64Array, "<i4": Int32Array, "|u1": Uint8Array, "<f2": Uint16Array };

export function readNpy(path) {
  const file = readFileSync(path);
  const bytes = path.endsWith(".gz") ? gunzipSync(file) : file;
  if (bytes.toString("latin1", 0, 8) !== "\x93NUMPY\x01\x00") throw new Error(`${path} is not .npy 1.0`);
  const start = 10 + bytes.readUInt16LE(8);
  const header = bytes.toString("latin1", 10, start);
  const dtype = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/
    .exec(header)[1]
    .split(",")
    .filter((n) => n.trim())
    .map(Number);
  const data = new TYPES[dtype](bytes.buffer.slice(bytes.byteOffset + start, bytes.byteOffset + bytes.length));
  const values = dtype === "<f2" ? Float32Array.from(data, half) : dtype === "|u1" ? Float32Array.from(data) : data;
  return { rows: shape[0], columns: shape[1] ?? 1, values };
}

/** Writes a matrix of floats of the type that its values have. */
export function writeNpy(path, { rows, columns, values }) {
  const dtype = values instanceof Float64Array ? "<f8" : "<f4";
  const header = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${rows}, ${columns}), }`;
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`;
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  writeFileSync(
    path,
    Buffer.concat([
      Buffer.from("\x93NUMPY\x01\x00", "latin1"),
      length,
      Buffer.from(padded),
      Buffer.from(values.buffer),
    ]),
  );
}

export function row({ columns, values }, at) {
  return values.subarray(at * columns, (at + 1) * columns);
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** The recipe of `uniform-8`: a hash of the component's number. */
export function uniform(first, count, scale) {
  const values = Float32Array.from({ length: count * 8 }, (_, i) => {
    let x = (8001 + Math.imul(0x9e3779b9, first * 8 + i + 1)) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad) >>> 0;
    x = Math.imul(x ^ (x >>> 15), 0xd35a2d97) >>> 0;
    x = (x ^ (x >>> 15)) >>> 0;
    return Math.fround(Math.fround((x >>> 8) * 2 ** -23 - 1) * Math.fround(scale));
  });
  return { rows: count, columns: 8, values };
}
