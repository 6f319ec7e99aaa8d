/**
 * One rpc as gRPC-web: a message goes as the body of a POST, and messages come back as frames, the last of which, or the
 * answer's headers, hold the outcome. Knows no message's meaning. A call that is silent for too long is given up.
 */

import { HyperspaceError } from "./errors.js";

const PREFIX = 5;
const OUTCOME = 0x80;
/** What an outcome's number means where the server does not say it in our own words: proxies speak too. */
const CODES: Record<string, string> = {
  4: "unavailable",
  7: "permission_denied",
  8: "limit_exceeded",
  12: "unsupported",
  14: "unavailable",
  16: "unauthenticated",
};

export interface Call {
  /** The server's address with the method's name. */
  url: string;
  body: Uint8Array;
  token: string | undefined;
  /** Gives it up; its reason is thrown. */
  signal: AbortSignal;
  /** How long the server may be silent. */
  patienceMs: number;
}

/** The messages of an answer, until the server has ended it well. */
export async function* messages({ url, body, token, signal, patienceMs }: Call): AsyncGenerator<Uint8Array> {
  const ending = new AbortController();
  const whole = AbortSignal.any([signal, ending.signal]);
  const patiently = async <T>(promise: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => ending.abort(), patienceMs);
    try {
      return await promise;
    } catch (cause) {
      signal.throwIfAborted();
      const why = ending.signal.aborted ? `was silent for ${patienceMs / 1000} s` : UNREACHABLE;
      throw new HyperspaceError("unavailable", `${url} ${why}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  };
  try {
    const headers = new Headers({ "content-type": "application/grpc-web+proto" });
    if (token !== undefined) headers.set("authorization", `Bearer ${token}`);
    const answer = await patiently(fetch(url, { method: "POST", headers, body: framed(body), signal: whole }));
    if (isOutcome(answer.headers)) return;
    const reader = answer.body?.getReader();
    const type = answer.headers.get("content-type");
    if (reader === undefined || !answer.ok || !type?.startsWith("application/grpc-web")) {
      throw new HyperspaceError("unavailable", `${url} answered ${answer.status} and ${type} instead of gRPC-web`);
    }
    let held: Uint8Array<ArrayBuffer> = new Uint8Array();
    for (;;) {
      const { value } = await patiently(reader.read());
      if (value === undefined) throw new HyperspaceError("unavailable", `${url} was cut off`);
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
  const answer = messages(call);
  const { value } = await answer.next();
  // The outcome of what is whole with it, or the next of several.
  await answer.next();
  await answer.return(undefined);
  if (value === undefined) throw new HyperspaceError("unavailable", `${call.url} answered nothing`);
  return value;
}

const UNREACHABLE = "cannot be reached, or does not allow this page's origin";

/** Whether these say how a call ended; throws when it failed. */
function isOutcome(headers: Headers): boolean {
  const status = headers.get("grpc-status");
  if (status === null || status === "0") return status !== null;
  const code = headers.get("hyperspace-error") ?? CODES[status] ?? "internal";
  const message = decodeURIComponent(headers.get("grpc-message") ?? code);
  throw new HyperspaceError(code, message, { retryable: headers.get("hyperspace-retryable") === "true" });
}

function trailers(frame: Uint8Array): Headers {
  const lines = new TextDecoder().decode(frame).split("\r\n").filter(Boolean);
  return new Headers(
    lines.map((line): [string, string] => {
      const at = line.indexOf(":");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}

function framed(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const prefix = new Uint8Array(PREFIX);
  new DataView(prefix.buffer).setUint32(1, body.length);
  return joined(prefix, body);
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}
