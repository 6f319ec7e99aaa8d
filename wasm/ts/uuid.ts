/**
 * UUID version 7 (RFC 9562, 5.7): 48 bits of milliseconds, then a 12-bit counter that rises within one millisecond
 * (6.2, method 1), then 62 random bits. Ids made by one context sort in the order in which they were made.
 */

let lastMs = 0;
let counter = 0;

export function uuidv7(now: number = Date.now()): string {
  const [start = 0, variant = 0, ...rest] = crypto.getRandomValues(new Uint16Array(5));
  if (now > lastMs) {
    lastMs = now;
    // The top bit stays free, so that at least 2048 ids fit into the millisecond.
    counter = start & 0x7ff;
  } else {
    counter += 1;
    if (counter > 0xfff) {
      lastMs += 1;
      counter = 0;
    }
  }
  const time = lastMs.toString(16).padStart(12, "0");
  const words = [(variant & 0x3fff) | 0x8000, ...rest];
  const tail = words.map((word) => word.toString(16).padStart(4, "0")).join("");
  const version = (0x7000 | counter).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-${version}-${tail.slice(0, 4)}-${tail.slice(4)}`;
}
