// The order of a module's functions, for brotli: what resembles each other stands side by side.
//
// The compiler leaves thousands of small functions in the order in which it made them, and the copies of one generic
// function far apart. Compressed, a copy costs little more than its differences when the original came just before it, and
// functions that call the same others share the bytes of these calls: 4 % of the download, for nothing but the order.
//
// A greedy walk: after the largest function comes, again and again, the one that has most of its runs of RUN bytes in common
// with those placed before it, the last ones counting most, a common run more the rarer it is. wasm-opt can sort functions by
// their names, so the order is written as a section of names, which it strips afterwards. Deterministic; knows nothing of
// what the functions do.

const RUN = 4; // bytes
/** What a function counts for less with every one placed after it. */
const DECAY = 0.6;
/** Keeps the smallest functions from winning by one common run. */
const SMALL = 20; // bytes

const IMPORTS = 2;
const CODE = 10;
const CUSTOM = 0;
const FUNCTION_NAMES = 1;

/** The module, with its functions named so that sorting them by name puts them in order. */
export function named(module) {
  const { imported, bodies } = functions(module);
  const names = [];
  for (const [place, at] of walk(bodies).entries()) names[at] = String(place).padStart(6, "0");
  const entries = names.flatMap((name, at) => [...leb(imported + at), ...text(name)]);
  const list = [...leb(names.length), ...entries];
  const content = [...text("name"), FUNCTION_NAMES, ...leb(list.length), ...list];
  return Buffer.concat([module, Buffer.from([CUSTOM, ...leb(content.length), ...content])]);
}

/** How many functions a module imports, and the bytes of its own. */
function functions(module) {
  let at = 8; // behind the magic number and the version
  const byte = () => module[at++];
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const next = byte();
      value += (next & 127) << shift;
      if (next < 128) return value;
    }
  };
  const skip = () => {
    const length = number();
    at += length;
  };
  const bodies = [];
  let imported = 0;
  while (at < module.length) {
    const [section, length] = [byte(), number()];
    const end = at + length;
    if (section === IMPORTS) {
      imported = number();
      for (let i = 0; i < imported; i += 1) {
        skip();
        skip();
        if (byte() !== 0) throw new Error("the module imports something that is no function");
        number();
      }
    } else if (section === CODE) {
      for (let left = number(); left > 0; left -= 1) {
        const size = number();
        bodies.push(module.subarray(at, at + size));
        at += size;
      }
    }
    at = end;
  }
  return { imported, bodies };
}

/** The places of the functions in the order of the walk. */
function walk(bodies) {
  const { runs, holders } = shared(bodies);
  const likeness = new Float64Array(bodies.length);
  const left = new Set(bodies.keys());
  const order = [];
  let next = bodies.reduce((most, body, at) => (body.length > bodies[most].length ? at : most), 0);
  for (;;) {
    left.delete(next);
    order.push(next);
    if (left.size === 0) return order;
    for (let i = 0; i < likeness.length; i += 1) likeness[i] *= DECAY;
    for (const run of runs[next]) {
      const weight = 1 / Math.log2(1 + holders[run].length);
      for (const holder of holders[run]) likeness[holder] += weight;
    }
    let best = -1;
    for (const at of left) {
      const value = likeness[at] / Math.sqrt(bodies[at].length + SMALL);
      if (value > best) [best, next] = [value, at];
    }
  }
}

/** The runs of each function that others have too, by number, and who has each of them. */
function shared(bodies) {
  const numbers = new Map();
  const holders = [];
  for (const [at, body] of bodies.entries()) {
    for (let start = 0; start + RUN <= body.length; start += 1) {
      const run = body.readUInt32LE(start);
      let number = numbers.get(run);
      if (number === undefined) {
        number = holders.length;
        numbers.set(run, number);
        holders.push([]);
      }
      const list = holders[number];
      if (list.at(-1) !== at) list.push(at);
    }
  }
  const runs = bodies.map(() => []);
  for (const [run, list] of holders.entries()) {
    if (list.length > 1) for (const holder of list) runs[holder].push(run);
  }
  return { runs, holders };
}

function leb(number) {
  const bytes = [];
  for (let rest = number; ; rest >>>= 7) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest & 127) | 128);
  }
}

function text(string) {
  return [...leb(string.length), ...Buffer.from(string)];
}
