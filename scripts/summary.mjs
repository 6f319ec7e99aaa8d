// Counts tests by what their runners print. They have no common machine-readable output, Rust's none at all on a stable
// toolchain, so this reads the lines meant for people; summary.test.mjs holds samples of each.

/** @typedef {{ passed: number, failed: number, skipped: number, reasons: string[] }} Counts */

const all = (text, pattern) => [...text.matchAll(pattern)];
const sum = (matches, group) => matches.reduce((total, match) => total + Number(match[group]), 0);
const because = (name, reason) => `${name.trim()}: ${reason?.trim() || "no reason given"}`;

/** Counts what `cargo test` printed. */
export function countCargo(text) {
  const results = all(text, /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;/gm);
  const ignored = all(text, /^test (.+?) \.\.\. ignored(?:, (.*))?$/gm);
  return {
    passed: sum(results, 1),
    failed: sum(results, 2),
    skipped: sum(results, 3),
    reasons: ignored.map((match) => because(match[1], match[2])),
  };
}

/** Counts what `node --test` printed, by its reporters `tap` and `spec`. A test marked todo was not shown to pass. */
export function countNode(text) {
  const count = (...names) => sum(all(text, new RegExp(`^(?:#|ℹ) (?:${names.join("|")}) (\\d+)$`, "gm")), 1);
  const tap = all(text, /^\s*(?:not )?ok \d+ - (.*?) # (?:SKIP|TODO)\b(.*)$/gm);
  const spec = all(text, /^\s*﹣ (.+?) \([\d.]+ms\)(?: #(.*))?$/gm);
  return {
    passed: count("pass"),
    failed: count("fail", "cancelled"),
    skipped: count("skipped", "todo"),
    reasons: [...tap, ...spec].map((match) => because(match[1], match[2]?.replace(/^\s*SKIP\b/, ""))),
  };
}

/** Counts what `pytest -ra` printed. A test that was expected to fail was not shown to pass. */
export function countPytest(text) {
  const closing = text.match(/^=+ (?:.* )?in [\d.]+s.* =+$|^\d+ \w+.* in [\d.]+s.*$/gm)?.at(-1) ?? "";
  const count = (...names) => sum(all(closing, new RegExp(`(\\d+) (?:${names.join("|")})\\b`, "g")), 1);
  const skipped = all(text, /^(?:SKIPPED|XFAIL) (?:\[\d+\] )?(\S+?):? (?:- )?(.*)$/gm);
  return {
    passed: count("passed"),
    failed: count("failed", "errors?", "xpassed"),
    skipped: count("skipped", "xfailed"),
    reasons: skipped.map((match) => because(match[1], match[2])),
  };
}

/** Moves tests that ran, found that they could not, and said so in a list (lines `name TAB reason`) to the skipped. */
export function withSkips(counts, list) {
  const skips = new Map(
    list
      .split("\n")
      .filter(Boolean)
      .map((line) => line.split("\t", 2)),
  );
  const moved = Math.min(skips.size, counts.passed);
  return {
    ...counts,
    passed: counts.passed - moved,
    skipped: counts.skipped + moved,
    reasons: [...counts.reasons, ...[...skips].map(([name, reason]) => because(name, reason))],
  };
}

/** The verdict on one suite: a crash and a suite without a test are failures, whatever was counted. */
export function verdict(counts, exitCode) {
  if (exitCode !== 0 && counts.failed === 0) {
    return { ...counts, failed: 1, problem: `ended with exit code ${exitCode} and no failed test` };
  }
  if (counts.passed + counts.failed + counts.skipped === 0)
    return { ...counts, failed: 1, problem: "executed no test" };
  return counts;
}

/** The closing line. */
export function closingLine(suites) {
  const total = (key) => suites.reduce((n, suite) => n + suite[key], 0);
  return `${total("passed")} passed, ${total("failed")} failed, ${total("skipped")} skipped`;
}
