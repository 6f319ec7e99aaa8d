// `npm run fuzz`: libFuzzer over every target of tests/fuzz, one after the other, each from its committed corpus.
//
//   npm run fuzz [-- --seconds 60] [target ...]    an hour each, all targets

import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ask, must, root, run, SetupError, say, stop } from "./lib.mjs";

const FOLDER = join(root, "tests", "fuzz");
/** What libFuzzer finds on its way stays here; what broke a target is to be made small and committed. */
const WORK = join(root, "target", "fuzz");
const CARGO_FUZZ = ["+nightly", "fuzz"];
const PLACES = ["--fuzz-dir", FOLDER, "--target-dir", WORK];
const LIMITS = ["-max_len=65536", "-rss_limit_mb=3000", "-timeout=20", "-print_final_stats=1"];

async function fuzz() {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: "string", default: "3600" } },
    allowPositionals: true,
  });
  if (!ask("cargo", [...CARGO_FUZZ, "--version"])) {
    const tools = "cargo install cargo-fuzz --locked --root target/tools";
    throw new SetupError("there is no cargo-fuzz", `rustup toolchain install nightly; ${tools}`);
  }
  // The versions that the product is built with.
  copyFileSync(join(root, "Cargo.lock"), join(FOLDER, "Cargo.lock"));
  await must("building the targets", "cargo", [...CARGO_FUZZ, "build", ...PLACES]);
  const known = readdirSync(join(FOLDER, "corpus")).sort();
  const unknown = positionals.find((name) => !known.includes(name));
  if (unknown) throw new SetupError(`no target is called ${unknown}`, `one of: ${known.join(", ")}`);
  const broken = [];
  for (const name of positionals.length > 0 ? positionals : known) {
    const [corpus, artifacts] = ["corpus", "artifacts"].map((folder) => join(WORK, folder, name));
    for (const folder of [corpus, artifacts]) mkdirSync(folder, { recursive: true });
    const limits = [...LIMITS, `-max_total_time=${values.seconds}`, `-artifact_prefix=${artifacts}/`];
    const inputs = [corpus, join(FOLDER, "corpus", name)];
    say(`fuzzing ${name} for ${values.seconds} s`);
    const code = await run("cargo", [...CARGO_FUZZ, "run", ...PLACES, name, ...inputs, "--", ...limits]);
    if (code !== 0) broken.push(`${name}: see ${artifacts}`);
  }
  if (broken.length > 0) throw new SetupError(`broken targets:\n  ${broken.join("\n  ")}`, "tests/fuzz/README.md");
}

await fuzz().catch(stop);
