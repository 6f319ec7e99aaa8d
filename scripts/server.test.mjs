import assert from "node:assert/strict";
import { test } from "node:test";
import { listeningUrl } from "./server.mjs";

test("the URL is read from the line with which the server says that it listens, and from no other", () => {
  const line = "hyperspace-server 0.1.0 listening on http://127.0.0.1:40123 (data: ./a b)";
  assert.equal(listeningUrl(line), "http://127.0.0.1:40123");
  assert.equal(listeningUrl("2026 INFO listening on http://127.0.0.1:1 (data: x)"), undefined);
});
