// gRPC-web over fetch, against a server that says what a test wants: whole and in pieces, and in every way that fails.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { ask, messages } from "../dist/rpc.js";

let server;
let url;
/** What the server answers to the next request. */
let answer;

before(async () => {
  server = createServer((request, response) => answer(request, response));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  url = `http://127.0.0.1:${server.address().port}/a.Service/Method`;
});

after(() => {
  server.closeAllConnections();
  server.close();
});

const call = (more) => ({
  url,
  body: Uint8Array.of(1, 2, 3),
  token: undefined,
  signal: new AbortController().signal,
  patienceMs: 20_000,
  ...more,
});

function frame(flag, bytes) {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt8(flag);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, Buffer.from(bytes)]);
}

const message = (...bytes) => frame(0, bytes);
const outcome = (...lines) => frame(0x80, Buffer.from(lines.map((line) => `${line}\r\n`).join("")));
const GRPC = { "content-type": "application/grpc-web+proto" };

function answerWith(...chunks) {
  answer = (_, response) => {
    response.writeHead(200, GRPC);
    response.end(Buffer.concat(chunks));
  };
}

async function collect(options) {
  const found = [];
  for await (const one of messages(call(options))) found.push([...one]);
  return found;
}

const failure = (promise) =>
  promise.then(
    () => assert.fail("it was answered"),
    ({ code, message, retryable }) => ({ code, message, retryable }),
  );

test("a call is one frame with its length, its type and its token", async () => {
  const seen = [];
  answer = async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    seen.push([...Buffer.concat(chunks)], request.headers["content-type"], request.headers.authorization);
    response.writeHead(200, GRPC);
    response.end(Buffer.concat([message(7), outcome("grpc-status:0")]));
  };
  assert.deepEqual([...(await ask(call({ token: "secret" })))], [7]);
  await ask(call());
  const type = "application/grpc-web+proto";
  assert.deepEqual(seen, [[0, 0, 0, 0, 3, 1, 2, 3], type, "Bearer secret", [0, 0, 0, 0, 3, 1, 2, 3], type, undefined]);
});

test("messages come whole, however the bytes are cut", async () => {
  const long = Array.from({ length: 3_000 }, (_, at) => at % 251);
  const bytes = Buffer.concat([message(1, 2), message(), message(...long), outcome("grpc-status: 0")]);
  for (const size of [1, 4, 5, 7, 1_000, bytes.length]) {
    answer = async (_, response) => {
      response.writeHead(200, GRPC);
      for (let at = 0; at < bytes.length; at += size) {
        if (!response.write(bytes.subarray(at, at + size))) await new Promise((done) => response.once("drain", done));
        if (size > 5) await new Promise((done) => setImmediate(done));
      }
      response.end();
    };
    assert.deepEqual(await collect(), [[1, 2], [], long], `in pieces of ${size}`);
  }
});

test("of several messages the first is the answer, and the others are not waited for", async () => {
  const gone = new Promise((resolve) => {
    answer = (request, response) => {
      request.socket.once("close", resolve);
      response.writeHead(200, GRPC);
      response.write(Buffer.concat([message(1), message(2)]));
    };
  });
  assert.deepEqual([...(await ask(call()))], [1]);
  await gone;
});

test("an error has the server's words, whether it comes behind messages or instead of them", async () => {
  const words = ["grpc-message: caf%C3%A9 %25", "hyperspace-error: limit_exceeded", "hyperspace-retryable: true"];
  const expected = { code: "limit_exceeded", message: "café %", retryable: true };
  answerWith(message(1), outcome("grpc-status: 8", ...words));
  assert.deepEqual(await failure(ask(call())), expected);
  answer = (_, response) => {
    const headers = Object.fromEntries(words.map((line) => line.split(": ")));
    response.writeHead(200, { ...GRPC, "grpc-status": "8", ...headers }).end();
  };
  assert.deepEqual(await failure(ask(call())), expected);
});

test("whoever stands between and has no words of ours refuses, or else the server cannot be had", async () => {
  for (const [status, code] of [
    [16, "unauthenticated"],
    [7, "permission_denied"],
    [14, "unavailable"],
    [13, "unavailable"],
  ]) {
    answerWith(outcome(`grpc-status: ${status}`));
    assert.equal((await failure(ask(call()))).code, code);
  }
  answer = (_, response) => response.writeHead(502, { "content-type": "text/html" }).end("<p>bad gateway");
  const { code, message, retryable } = await failure(ask(call()));
  assert.deepEqual([code, retryable], ["unavailable", true]);
  assert.match(message, /answered 502 instead of gRPC-web/);
});

test("what is cut off, empty, silent or not there is unavailable, and says how", async () => {
  const cases = [
    [/was cut off/, () => answerWith(message(1))],
    [/was cut off/, () => answerWith(message(1, 2, 3).subarray(0, 6))],
    [/answered nothing/, () => answerWith(outcome("grpc-status: 0"))],
    [/was silent for 0.05 s/, () => (answer = () => {})],
    [/was silent for 0.05 s/, () => (answer = (_, response) => response.writeHead(200, GRPC).write(message(1)))],
    [/cannot be reached/, () => (answer = (request) => request.socket.destroy())],
  ];
  for (const [pattern, arrange] of cases) {
    arrange();
    const { code, message, retryable } = await failure(ask(call({ patienceMs: 50 })));
    assert.match(message, pattern);
    assert.deepEqual([code, retryable], ["unavailable", true]);
  }
});

test("who gives a call up gets the own reason, also in the middle of messages", async () => {
  const round = new AbortController();
  answer = (_, response) => response.writeHead(200, GRPC).write(Buffer.concat([message(1), message(2)]));
  const seen = [];
  const listening = (async () => {
    for await (const one of messages(call({ signal: round.signal }))) {
      seen.push([...one]);
      round.abort("enough");
    }
  })();
  await assert.rejects(listening, (reason) => reason === "enough");
  assert.deepEqual(seen, [[1]]);
});
