//! The fuzz targets on stable Rust: over every input of the corpus, and over mutations of it from a seed that is printed.
//!
//! `HS_TEST_LEVEL=nightly` mutates more, `HS_FUZZ_SEED` repeats a run. The real fuzzing is described in
//! `tests/fuzz/README.md`.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stdout, reason = "tests print what they measured")]

mod mutate;
#[path = "../../sim/random.rs"]
#[allow(dead_code, reason = "the simulations use the rest")]
mod random;
mod seeds;
#[path = "../targets/mod.rs"]
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use mutate::mutate;
use random::Random;
use targets::{TARGETS, Target};

/// The longest mutated input: a graph of many nodes takes long to search and shows nothing new.
const MOST_BYTES: usize = 64 << 10;
/// Bytes that the mutations of a target add up to, and how many there are at least and at most.
const CI_BYTES: usize = 16 << 20;
const CI_MUTATIONS: [usize; 2] = [2_000, 20_000];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a target with the names of their files, in order.
fn corpus(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs one input; when it fails, keeps it and says where.
fn run(target: &Target, input: &[u8], name: impl FnOnce() -> String) -> Result<bool, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.check)(input)));
    outcome.map_err(|_| {
        let path = std::env::temp_dir().join(format!("hyperspace-fuzz-{}-{:08x}", target.name, fingerprint(input)));
        fs::write(&path, input).unwrap();
        format!("target {} fails for {}, kept as {}", target.name, name(), path.display())
    })
}

/// Every target is looked at, also behind one that fails.
fn for_each_target(check: impl Fn(&Target) -> Result<(), String>) {
    let failures: Vec<_> = TARGETS.iter().filter_map(|target| check(target).err()).collect();
    assert!(failures.is_empty(), "\n  {}", failures.join("\n  "));
}

fn fingerprint(input: &[u8]) -> u32 {
    hyperspace_core::bytes::crc32c(input)
}

#[test]
fn the_seeds_are_what_the_encoders_write() {
    seeds::check_or_write(&folder());
}

#[test]
fn cargo_fuzz_has_a_binary_for_every_target() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/Cargo.toml")).unwrap();
    let (_, binaries) = manifest.split_once("[[bin]]").unwrap();
    let names: Vec<_> = binaries.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"')).collect();
    assert_eq!(names, TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
}

#[test]
fn every_input_of_the_corpus_passes_and_every_seed_is_accepted() {
    for_each_target(|target| {
        let inputs = corpus(target);
        assert!(!inputs.is_empty(), "target {} has no corpus", target.name);
        for (name, input) in inputs {
            let is_accepted = run(target, &input, || name.clone())?;
            assert!(is_accepted || !name.starts_with("seed-"), "{}/{name} reaches no decoder", target.name);
        }
        Ok(())
    });
}

#[test]
fn no_mutation_of_the_corpus_breaks_a_decoder() {
    let seed = std::env::var("HS_FUZZ_SEED").map_or(0x4859_5045, |seed| seed.parse().unwrap());
    let factor = if std::env::var("HS_TEST_LEVEL").is_ok_and(|level| level != "ci") { 100 } else { 1 };
    println!("HS_FUZZ_SEED={seed}");
    for_each_target(|target| {
        let since = Instant::now();
        let inputs = corpus(target);
        let mut random = Random::new(seed ^ u64::from(fingerprint(target.name.as_bytes())));
        let average = inputs.iter().map(|(_, input)| input.len() + 256).sum::<usize>() / inputs.len();
        let count = (CI_BYTES / average).clamp(CI_MUTATIONS[0], CI_MUTATIONS[1]) * factor;
        let mut accepted = 0;
        for number in 0..count {
            let (name, input) = &inputs[random.below(inputs.len())];
            let (_, other) = &inputs[random.below(inputs.len())];
            let mut mutated = input.clone();
            mutate(&mut mutated, other, &mut random);
            mutated.truncate(MOST_BYTES);
            accepted += usize::from(run(target, &mutated, || format!("mutation {number} of {name}, seed {seed}"))?);
        }
        println!("{:<16} {count:>6} mutations, {accepted:>6} accepted, {:.1?}", target.name, since.elapsed());
        Ok(())
    });
}
