/** The one error class: a stable code that says what to do, and a message for a person. */

export type ErrorCode =
  | "invalid_argument"
  | "not_found"
  | "already_exists"
  | "unauthenticated"
  | "permission_denied"
  | "conflict"
  | "limit_exceeded"
  | "unavailable"
  | "corrupted"
  | "unsupported"
  | "closed"
  | "internal";

/** An error as data: how it crosses from the worker, and stands in a status. */
export interface ErrorShape {
  code: string;
  message: string;
  retryable: boolean;
}

export class HyperspaceError extends Error {
  /** One of {@link ErrorCode}; a string, so that a later version may add one. */
  readonly code: ErrorCode | (string & {});
  /** Whether the same call may succeed later without any change. */
  readonly retryable: boolean;

  constructor(code: ErrorCode | (string & {}), message: string, options?: { retryable?: boolean; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause });
    this.name = "HyperspaceError";
    this.code = code;
    this.retryable = options?.retryable ?? code === "unavailable";
  }
}

function isShape(value: unknown): value is ErrorShape {
  if (typeof value !== "object" || value === null) return false;
  const { code, message } = value as Partial<ErrorShape>;
  return typeof code === "string" && typeof message === "string";
}

/** What is sent across for anything that was thrown. */
export function toShape(thrown: unknown): ErrorShape {
  if (thrown instanceof HyperspaceError || (isShape(thrown) && !(thrown instanceof DOMException))) {
    return { code: String(thrown.code), message: thrown.message, retryable: thrown.retryable };
  }
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { code: "internal", message, retryable: false };
}

export function fromShape(shape: ErrorShape): HyperspaceError {
  return new HyperspaceError(shape.code, shape.message, { retryable: shape.retryable });
}
