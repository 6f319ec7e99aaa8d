//! Runs histories by their seeds, all or some of them twice: a run is a function of its seed, or it could not be repeated.
//!
//! `HS_SIM_SEEDS=100000 npm run sim` runs so many seeds of every simulation, `HS_SIM_SEED=17 npm run sim` runs one, and
//! `HS_SIM=tab` only those of one simulation.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::random::effort;
use crate::{server, sync, system, tab};

/// What a run did, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Of everything that was done to the storage and everything that was answered, in order.
    pub(crate) hash: u64,
    /// What happened how often.
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// A host, its faults and its model, run by a seed.
pub(crate) struct Simulation {
    pub(crate) name: &'static str,
    pub(crate) run: fn(u64) -> Result<Trace, Violation>,
    pub(crate) effort: Effort,
    /// What has to happen how often in as many seeds as are run on every change: a fault that never comes tests nothing.
    pub(crate) expected: &'static [(&'static str, u64)],
}

/// How much of a simulation is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Seeds on every change, every night, before a release.
    pub(crate) seeds: [usize; 3],
    /// One seed in so many is run twice.
    pub(crate) repeats: u64,
}

impl Effort {
    /// Short histories.
    pub(crate) const SHORT: Self = Self { seeds: [2_000, 100_000, 1_000_000], repeats: 1 };
}

const SIMULATIONS: &[Simulation] = &[server::SIMULATION, sync::SIMULATION, system::SIMULATION, tab::SIMULATION];

impl Simulation {
    /// Runs a seed; a panic is a violation as well.
    pub(crate) fn run(&self, seed: u64) -> Result<Trace, Violation> {
        catch_unwind(AssertUnwindSafe(|| (self.run)(seed))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
            Err(Violation(format!("it panicked: {}", text.unwrap_or("without a message"))))
        })
    }

    /// Runs a seed, and again if it is its turn.
    fn run_and_repeat(&self, seed: u64) -> Result<Trace, Violation> {
        let first = self.run(seed)?;
        if !seed.is_multiple_of(self.effort.repeats) {
            return Ok(first);
        }
        let second = self.run(seed)?;
        if first == second {
            return Ok(first);
        }
        Err(Violation(format!("two runs differ: {first:?} and {second:?}")))
    }

    /// Runs all seeds of a range on all cores; answers with what happened in all of them, or with the first violation.
    fn run_all(&self, seeds: std::ops::Range<u64>) -> Result<BTreeMap<&'static str, u64>, (u64, Violation)> {
        let (next, began) = (AtomicU64::new(seeds.start), Instant::now());
        let totals = Mutex::new(BTreeMap::new());
        let found: Mutex<Option<(u64, Violation)>> = Mutex::new(None);
        let work = || {
            while found.lock().unwrap().is_none() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                match self.run_and_repeat(seed) {
                    Ok(trace) => add(&mut totals.lock().unwrap(), &trace.counts),
                    Err(violation) => {
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(earlier, _)| seed < *earlier) {
                            *found = Some((seed, violation));
                        }
                    }
                }
                let done = seed + 1 - seeds.start;
                if done.is_multiple_of(1_000) {
                    println!("{}: {done} seeds in {} s", self.name, began.elapsed().as_secs());
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, Into::into) {
                scope.spawn(work);
            }
        });
        found.into_inner().unwrap().map_or_else(|| Ok(totals.into_inner().unwrap()), Err)
    }
}

fn add(totals: &mut BTreeMap<&'static str, u64>, counts: &BTreeMap<&'static str, u64>) {
    counts.iter().for_each(|(what, count)| *totals.entry(what).or_default() += count);
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not `{text}`")))
}

#[test]
fn every_seed_keeps_all_promises_and_can_be_repeated() {
    let only = std::env::var("HS_SIM").ok();
    for simulation in SIMULATIONS.iter().filter(|simulation| only.as_ref().is_none_or(|only| simulation.name == only)) {
        let (name, [ci, nightly, release]) = (simulation.name, simulation.effort.seeds);
        let count = number("HS_SIM_SEEDS").unwrap_or(effort(ci, nightly, release) as u64);
        let seeds = number("HS_SIM_SEED").map_or(0..count, |seed| seed..seed + 1);
        match simulation.run_all(seeds.clone()) {
            Ok(totals) => {
                let (run, repeats) = (seeds.end - seeds.start, simulation.effort.repeats);
                println!("{name}: {run} seeds, one in {repeats} run twice, no violation");
                totals.iter().for_each(|(what, count)| println!("{name}: {what}: {count}"));
                for (what, least) in simulation.expected.iter().filter(|_| run >= ci as u64) {
                    let happened = totals.get(what).copied().unwrap_or(0);
                    assert!(happened >= *least, "{name}: {what}: {happened} times in {run} seeds, not {least}");
                }
            }
            Err((seed, Violation(what))) => {
                panic!("{name}, seed {seed}: {what}\nto see it again: HS_SIM={name} HS_SIM_SEED={seed} npm run sim")
            }
        }
    }
}

/// Hash maps and addresses differ from process to process, though not within one.
#[test]
fn a_seed_gives_the_same_trace_in_another_process() {
    const TOLD: &str = "the trace of ";
    let tell = |simulation: &Simulation| format!("{TOLD}{}: {:?}", simulation.name, simulation.run(7));
    let told: Vec<String> = SIMULATIONS.iter().map(tell).collect();
    if std::env::var_os("HS_SIM_TELL").is_some() {
        told.iter().for_each(|line| println!("{line}"));
        return;
    }
    let this = "seeds::a_seed_gives_the_same_trace_in_another_process";
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this, "--nocapture"])
        .env("HS_SIM_TELL", "1")
        .output()
        .unwrap();
    let output = String::from_utf8(again.stdout).unwrap();
    let told_again: Vec<&str> = output.lines().filter_map(|line| line.find(TOLD).map(|at| &line[at..])).collect();
    assert_eq!(told_again, told);
}
