/**
 * What tabs of one database say to each other. Every tab listens to two channels: one for all, where it calls for the
 * owner, and one between it and the owner, where requests go and answers come back, in order.
 *
 * The owner opens its end of a tab's channel before it says there who it is: a tab that hears it is heard by it.
 * The shapes of `Hello` and `Presence` and the names of the channels are the same in every version of the package: by
 * them two versions in two tabs find out about each other.
 */

import type { Request, Response } from "./protocol.js";

/** Raised when what tabs say to each other changes. */
export const TABS_VERSION = 2;

/** A tab calls for the owner. */
export interface Hello {
  type: "hello";
  tab: number;
}

/** The owner says to a tab who it is; of two owners the one of the higher epoch is the later one. */
export interface Presence {
  type: "owner";
  version: number;
  epoch: number;
  paused: boolean;
}

/** To all: a call; whoever will be the owner is opening the database; the owner's engine failed; the database is gone. */
export type ToAll = Hello | { type: "opening" } | { type: "failed"; epoch: number } | { type: "destroyed" };

/** From the owner to one tab. */
export type ToTab = Presence | { type: "response"; epoch: number; response: Response };

/** From a tab to the owner of an epoch; the tab waits for no answer to a call below `since`. */
export interface ToOwner {
  epoch: number;
  since: number;
  request: Request;
}
