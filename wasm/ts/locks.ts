/**
 * The Web Locks of a database: one for its owner, one for each tab that uses it, one for whoever takes it from an owner
 * that does not answer. The browser releases a lock when the context that holds it dies, however it dies.
 *
 * The owner's lock keeps honest tabs apart; what keeps two engines off one log is the owner's epoch, which every write
 * transaction checks.
 */

import { HyperspaceError } from "./errors.js";

export const ownerLock = (name: string): string => `hyperspace:${name}`;
export const tabLock = (name: string, tab: number): string => `hyperspace-tab:${tab}:${name}`;
const stealLock = (name: string): string => `hyperspace-steal:${name}`;

/** The lock manager, or the reason why there can be no database that tabs share. */
export function checkShareable(): void {
  if (typeof navigator === "undefined" || navigator.locks === undefined) {
    throw new HyperspaceError(
      "unsupported",
      "the browser has no Web Locks here: serve the page over https or from localhost",
    );
  }
  if (typeof BroadcastChannel === "undefined") {
    throw new HyperspaceError("unsupported", "the browser has no BroadcastChannel here");
  }
}

/**
 * Takes a lock and resolves, once it is held, to what gives it back; `lost` is called when another context steals it.
 * Rejects when the signal aborts first.
 */
export function hold(lock: string, options: LockOptions = {}, lost: () => void = () => {}): Promise<() => void> {
  return new Promise((resolve, reject) => {
    let isHeld = false;
    const held = () =>
      new Promise<void>((release) => {
        isHeld = true;
        resolve(release);
      });
    navigator.locks.request(lock, options, held).catch((reason: unknown) => (isHeld ? lost() : reject(reason)));
  });
}

/** Runs the work unless another tab is at the same. */
export async function alone(name: string, work: () => Promise<void>): Promise<void> {
  await navigator.locks.request(stealLock(name), { ifAvailable: true }, async (lock) => {
    if (lock !== null) await work();
  });
}

/** The tabs that use a database now. */
export async function livingTabs(name: string): Promise<number[]> {
  const { held = [] } = await navigator.locks.query();
  return held.flatMap((lock) => {
    const tab = Number(lock.name?.split(":")[1]);
    return lock.name === tabLock(name, tab) ? [tab] : [];
  });
}

/** Whether the owner's lock is held by the context that this tab's engine runs in. */
export async function isOwner(name: string, tab: number): Promise<boolean> {
  const { held = [] } = await navigator.locks.query();
  const holder = (lock: string) => held.find((info) => info.name === lock)?.clientId;
  const owner = holder(ownerLock(name));
  return owner !== undefined && owner === holder(tabLock(name, tab));
}

/** Whether somebody waits for the owner's lock. */
export async function isWanted(name: string): Promise<boolean> {
  const { pending = [] } = await navigator.locks.query();
  return pending.some((info) => info.name === ownerLock(name));
}
