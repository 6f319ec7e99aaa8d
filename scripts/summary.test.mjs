import assert from "node:assert/strict";
import { test } from "node:test";
import { closingLine, countCargo, countNode, countPytest, verdict, withSkips } from "./summary.mjs";

const CARGO = `
running 4 tests
test types::tests::ids_order ... ok
test hnsw::slow ... ignored, needs an hour
test hnsw::slower ... ignored
test hnsw::broken ... FAILED
test result: FAILED. 1 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.02s

running 1 test
test core/src/lib.rs - (line 3) ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.11s
`;

const TAP = `TAP version 13
# Subtest: loads
ok 1 - loads
  ---
  duration_ms: 1
  ...
    ok 1 - inner # SKIP no data
ok 2 - later # TODO not yet
not ok 3 - breaks
1..3
# tests 5
# suites 0
# pass 1
# fail 1
# cancelled 1
# skipped 1
# todo 1
# duration_ms 30
`;

const SPEC = `✔ loads (1.2ms)
﹣ inner (0.5ms) # no data
﹣ other (0.5ms) # SKIP
ℹ tests 3
ℹ suites 0
ℹ pass 1
ℹ fail 0
ℹ cancelled 0
ℹ skipped 2
ℹ todo 0
ℹ duration_ms 30
`;

test("cargo's binaries are added up, ignored tests named with their reasons", () => {
  assert.deepEqual(countCargo(CARGO), {
    passed: 2,
    failed: 1,
    skipped: 2,
    reasons: ["hnsw::slow: needs an hour", "hnsw::slower: no reason given"],
  });
});

test("both of node's reporters are understood", () => {
  assert.deepEqual(countNode(TAP), { passed: 1, failed: 2, skipped: 2, reasons: ["inner: no data", "later: not yet"] });
  assert.deepEqual(countNode(SPEC), {
    passed: 1,
    failed: 0,
    skipped: 2,
    reasons: ["inner: no data", "other: no reason given"],
  });
  assert.equal(countNode(TAP + TAP).passed, 2, "a suite may run node twice");
});

const PYTEST = `============================= test session starts ==============================
collected 5 items
sdks/python/tests/unit/test_ids.py ..F                                   [ 60%]
sdks/python/tests/e2e/test_server.py ss                                  [100%]
=========================== short test summary info ============================
SKIPPED [2] sdks/python/tests/e2e/conftest.py:9: HS_SERVER names no server
FAILED sdks/python/tests/unit/test_ids.py::test_big - assert 1 == 2
============== 1 failed, 2 passed, 2 skipped, 1 error in 0.12s (0:00:01) ==============
`;

test("pytest's closing line is read, and why tests were skipped", () => {
  assert.deepEqual(countPytest(PYTEST), {
    passed: 2,
    failed: 2,
    skipped: 2,
    reasons: ["sdks/python/tests/e2e/conftest.py:9: HS_SERVER names no server"],
  });
  assert.equal(countPytest("===== 12 passed in 3.20s =====").passed, 12);
  assert.equal(countPytest("12 passed in 3.20s").passed, 12);
  assert.equal(countPytest("nothing").passed, 0);
});

test("a test that listed itself as skipped did not pass", () => {
  const counts = withSkips(
    { passed: 5, failed: 0, skipped: 1, reasons: ["a: b"] },
    "recall::glove\tno data\nrecall::glove\tno data\n",
  );
  assert.deepEqual(counts, { passed: 4, failed: 0, skipped: 2, reasons: ["a: b", "recall::glove: no data"] });
});

test("a crash and a suite without tests are failures", () => {
  const none = { passed: 0, failed: 0, skipped: 0, reasons: [] };
  assert.equal(verdict({ ...none, passed: 3 }, 0).failed, 0);
  assert.equal(verdict({ ...none, passed: 3 }, 101).failed, 1);
  assert.equal(verdict({ ...none, failed: 2 }, 101).failed, 2);
  assert.equal(verdict(none, 0).failed, 1);
  assert.equal(verdict(none, 101).failed, 1);
});

test("the closing line adds the suites up", () => {
  const suites = [
    { passed: 1, failed: 0, skipped: 2 },
    { passed: 10, failed: 1, skipped: 0 },
  ];
  assert.equal(closingLine(suites), "11 passed, 1 failed, 2 skipped");
});
