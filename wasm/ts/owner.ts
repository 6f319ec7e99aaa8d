/**
 * Who owns a database: one Web Lock per name, exclusive, held by the context that runs the engine for as long as it
 * lives. The browser releases it when that context dies, however it dies.
 *
 * The lock keeps honest tabs apart; what keeps two engines off one log is the owner's epoch, which every write
 * transaction checks.
 */

import { HyperspaceError } from "./errors.js";

/** A page that reloads finds the lock of its own past still held for a moment: its worker dies after it. */
const GRACE_MS = 1_000;

/**
 * Takes the ownership; resolves to what gives it back.
 *
 * @throws `unavailable` when another context owns the database and does not let go in time, `unsupported` where the
 * browser has no Web Locks (a page that is neither https nor localhost).
 */
export async function own(name: string, wait: boolean | number): Promise<() => void> {
  if (typeof navigator === "undefined" || navigator.locks === undefined) {
    throw new HyperspaceError(
      "unsupported",
      "the browser has no Web Locks here: serve the page over https or from localhost",
    );
  }
  const patience = wait === true ? undefined : Math.max(GRACE_MS, wait === false ? 0 : wait);
  const signal = patience === undefined ? undefined : AbortSignal.timeout(patience);
  return new Promise((resolve, reject) => {
    const options: LockOptions = signal === undefined ? {} : { signal };
    navigator.locks
      .request(`hyperspace:${name}`, options, () => new Promise<void>((release) => resolve(release)))
      .catch((reason: unknown) => {
        const message = `the database \`${name}\` is open in another tab of this origin; close it there, or open with \`wait\``;
        reject(
          signal?.aborted
            ? new HyperspaceError("unavailable", message)
            : new HyperspaceError("unavailable", `the lock of \`${name}\` cannot be had`, { cause: reason }),
        );
      });
  });
}
