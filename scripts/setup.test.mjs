import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { after, test } from "node:test";
import { digest, root, SetupError, shown, unlessBuilt } from "./lib.mjs";
import { lockedVersion, setUp } from "./setup.mjs";

const scratch = mkdtempSync(join(tmpdir(), "hyperspace-setup-"));
const stamp = `of-a-test-${process.pid}`;
const inside = (name) => relative(root, join(scratch, name));

after(() => {
  rmSync(scratch, { recursive: true });
  rmSync(join(root, "target", "stamps", stamp), { force: true });
});

test("the version of wasm-bindgen is the locked one, not that of a crate with a longer name", () => {
  const lock = `version = 4

[[package]]
name = "wasm-bindgen-futures"
version = "0.4.9"

[[package]]
name = "wasm-bindgen"
version = "0.2.130"
`;
  assert.equal(lockedVersion(lock, "wasm-bindgen"), "0.2.130");
  assert.throws(() => lockedVersion(lock, "bindgen"), SetupError);
});

test("a build runs again when an input changed or an output is gone, and not otherwise", async () => {
  let builds = 0;
  const output = join(scratch, "out.js");
  const attempt = () =>
    unlessBuilt(stamp, {
      inputs: [inside("in.rs")],
      outputs: () => [inside("out.js")],
      build: () => {
        builds += 1;
        writeFileSync(output, "built");
      },
    });
  writeFileSync(join(scratch, "in.rs"), "one");
  assert.deepEqual([await attempt(), await attempt(), builds], [true, false, 1]);
  writeFileSync(join(scratch, "in.rs"), "two");
  assert.deepEqual([await attempt(), await attempt(), builds], [true, false, 2]);
  rmSync(output);
  assert.deepEqual([await attempt(), await attempt(), builds], [true, false, 3]);
});

test("a build that makes nothing is an error and is tried again", async () => {
  const attempt = () =>
    unlessBuilt(stamp, { inputs: [inside("in.rs")], outputs: () => [inside("never.js")], build: () => {} });
  await assert.rejects(attempt, /made no .*never\.js/);
  await assert.rejects(attempt, /made no .*never\.js/);
});

test("a digest depends on names and contents, not on times", () => {
  writeFileSync(join(scratch, "a"), "1");
  const first = digest([inside("a")]);
  writeFileSync(join(scratch, "a"), "1");
  assert.equal(digest([inside("a")]), first);
  writeFileSync(join(scratch, "b"), "1");
  assert.notEqual(digest([inside("b")]), first);
  assert.equal(digest([inside("a"), inside("missing")]), first);
});

test("a step that does not exist is refused", async () => {
  await assert.rejects(setUp(["everything"]), /no step is called everything/);
});

test("commands are shown as a person would type them", () => {
  assert.equal(shown("cargo", ["install", "--root", "a b", "x@1"]), "cargo install --root 'a b' x@1");
});
