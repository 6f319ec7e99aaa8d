/**
 * One rpc as gRPC-web: a message goes as the body of a POST, and messages come back as frames, the last of which, or the
 * answer's headers, hold the outcome. Knows no message's meaning. A call that is silent for too long is given up.
 * A range of a file is asked for in the same way, and is the one message of its answer.
 */

import { HyperspaceError } from "./errors.js";

const PREFIX = 5;
const OUTCOME = 0x80;
/** What says an outcome not in our words stands in between: so it refuses, or else the server cannot be had. */
const REFUSALS: Record<string, string> = { 7: "permission_denied", 16: "unauthenticated" };

export interface Call {
  /** The server's address with the method's name. */
  url: string;
  /** The message, or the range. */
  body: Uint8Array | string;
  token: string | undefined;
  /** Gives it up; its reason is thrown. */
  signal: AbortSignal;
  /** How long the server may be silent. */
  patienceMs: number;
}

/** The messages of an answer, until the server has ended it well. */
export async function* messages({ url, body, token, signal, patienceMs }: Call): AsyncGenerator<Uint8Array> {
  const ending = new AbortController();
  const either = AbortSignal.any([signal, ending.signal]);
  const patiently = <T>(promise: Promise<T>): Promise<T> => {
    const silent = () => ending.abort(unavailable(`${url} was silent for ${patienceMs / 1000} s`));
    const timer = setTimeout(silent, patienceMs);
    const failed = (cause: unknown) => {
      either.throwIfAborted();
      throw unavailable(`${url} cannot be reached, or does not allow this page's origin`, cause);
    };
    return promise.catch(failed).finally(() => clearTimeout(timer));
  };
  try {
    const isRange = typeof body === "string";
    const headers = new Headers(isRange ? { range: body } : { "content-type": "application/grpc-web+proto" });
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    const call = isRange ? { cache: "no-store" as const } : { method: "POST", body: framed(body) };
    const answer = await patiently(fetch(url, { ...call, headers, signal: either }));
    if (isOutcome(answer.headers)) return;
    if (!answer.ok || answer.body === null) throw unavailable(`${url} answered ${answer.status} instead of gRPC-web`);
    if (isRange) return yield new Uint8Array(await patiently(answer.arrayBuffer()));
    const reader = answer.body.getReader();
    let held: Uint8Array<ArrayBuffer> = new Uint8Array();
    for (;;) {
      const { value } = await patiently(reader.read());
      if (value === undefined) throw unavailable(`${url} was cut off`);
      held = joined(held, value);
      while (held.length >= PREFIX) {
        const end = PREFIX + new DataView(held.buffer, held.byteOffset).getUint32(1);
        if (held.length < end) break;
        const frame = held.subarray(PREFIX, end);
        if ((held[0] as number) & OUTCOME && isOutcome(trailers(frame))) return;
        signal.throwIfAborted();
        yield frame;
        held = held.subarray(end);
      }
    }
  } finally {
    ending.abort();
  }
}

/** The one message of an answer, or the first of several, whose others are not waited for. */
export async function ask(call: Call): Promise<Uint8Array> {
  let first: Uint8Array | undefined;
  for await (const message of messages(call)) {
    if (first !== undefined) break;
    first = message;
  }
  if (first === undefined) throw unavailable(`${call.url} answered nothing`);
  return first;
}

function unavailable(message: string, cause?: unknown): HyperspaceError {
  return new HyperspaceError("unavailable", message, { cause });
}

/** Whether these say how a call ended; throws when it failed. */
function isOutcome(headers: Headers): boolean {
  const status = headers.get("grpc-status");
  if (status === null || status === "0") return status !== null;
  const code = headers.get("hyperspace-error") ?? REFUSALS[status] ?? "unavailable";
  const message = decodeURIComponent(headers.get("grpc-message") ?? code);
  throw new HyperspaceError(code, message, { retryable: headers.get("hyperspace-retryable") === "true" });
}

/** Lines of `name:value`. */
function trailers(frame: Uint8Array): Headers {
  const headers = new Headers();
  for (const [, name = "", value = ""] of new TextDecoder().decode(frame).matchAll(/(.+?):(.*)/g)) {
    headers.set(name, value);
  }
  return headers;
}

function framed(body: Uint8Array): Blob {
  const prefix = new DataView(new ArrayBuffer(PREFIX));
  prefix.setUint32(1, body.length);
  return new Blob([prefix, body as Uint8Array<ArrayBuffer>]);
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}
