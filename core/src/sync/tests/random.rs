//! Random histories in several weathers. `HS_TEST_LEVEL=nightly` runs a hundred times as many, `HS_SIM_SEED=17` one.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::check::{caught, check, lines, shorten};
use super::op::{Fate, Most, Op, Place};
use super::world::{Rule, World};
use crate::types::PointId;

/// A generator of numbers (splitmix64).
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn percent(&mut self, n: usize) -> bool {
        self.below(100) < n
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// What happens beside writes, pulls, pushes and collections of tombstones; lost and doubled answers are always there.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each weather comes with each other one")]
pub(super) struct Weather {
    pub(super) power_losses: bool,
    pub(super) failovers: bool,
    /// Clients are copied, and come back from copies.
    pub(super) forks: bool,
    /// Clocks jump by up to ten minutes.
    pub(super) wrong_clocks: bool,
    /// Pushes arrive long after they were sent.
    pub(super) late_pushes: bool,
    /// Rows are silently lost or altered.
    pub(super) rot: bool,
}

/// Draws the operations of a history, by what there is in the world.
struct History {
    random: Random,
    weather: Weather,
    world: World,
    ops: Vec<Op>,
    ids: u64,
}

impl History {
    fn new(seed: u64, weather: Weather, without: Option<Rule>) -> Self {
        Self { random: Random(seed), weather, world: World::new(without), ops: Vec::new(), ids: 0 }
    }

    fn run(&mut self, op: Op) {
        self.ops.push(op);
        self.world.run(&self.ops[self.ops.len() - 1]);
    }

    fn live(&mut self, at: usize) -> Option<u64> {
        let live: Vec<PointId> = self.world.clients[at].store.live().into_keys().collect();
        let id = (!live.is_empty()).then(|| &live[self.random.below(live.len())])?;
        let PointId::Int(id) = id else { panic!("ids are numbers here") };
        Some(*id)
    }

    fn all(&mut self) {
        let clients = if self.weather.failovers { 3 + self.random.below(4) } else { 3 };
        (0..clients).for_each(|_| self.run(Op::Join));
        if self.weather.failovers {
            self.run(Op::Follow);
        }
        for _ in 0..20 + self.random.below(100) {
            self.step();
        }
    }

    fn step(&mut self) {
        let steps = self.random.below(4) as u64;
        self.run(Op::Wait(steps));
        let at = self.random.below(self.world.clients.len());
        self.weather(at);
        match self.random.below(1_000) {
            0..250 => {
                self.ids += 1;
                self.run(Op::Put(at, self.ids));
            }
            250..400 => {
                if let Some(id) = self.live(at) {
                    self.run(Op::Put(at, id));
                }
            }
            400..550 => {
                if let Some(id) = self.live(at) {
                    self.run(Op::Delete(at, id));
                }
            }
            550..720 => {
                let limit = self.random.pick(&[Most::All, Most::Some(1), Most::Some(2), Most::Some(5)]);
                self.run(Op::Pull(at, limit));
            }
            720..900 => {
                let most = self.random.pick(&[Most::Some(1), Most::Some(2), Most::All, Most::All]);
                let times = if self.random.percent(30) { 2 } else { 1 };
                let fate = match self.random.below(100) {
                    0..30 => Fate::AnswerLost,
                    30..40 if self.weather.late_pushes => Fate::OffersLost,
                    _ => Fate::Arrives,
                };
                self.run(Op::Push { at, most, times, fate });
            }
            900..985 => self.forget(),
            _ if self.weather.failovers => self.run(Op::Failover),
            _ => {}
        }
    }

    fn forget(&mut self) {
        let graves = self.world.server.store.0.values().filter(|rec| rec.body.is_none());
        let mut graves: Vec<_> = graves.map(|rec| (rec.seq, rec.id.clone())).collect();
        if graves.is_empty() {
            return;
        }
        graves.sort_unstable();
        graves.truncate(1 + self.random.below(graves.len()));
        let ids = graves.into_iter().map(|(_, id)| if let PointId::Int(id) = id { id } else { 0 });
        self.run(Op::Forget(ids.collect()));
    }

    fn weather(&mut self, at: usize) {
        let Weather { power_losses, failovers, forks, wrong_clocks, late_pushes, rot } = self.weather;
        if self.random.percent(2) {
            let most = if wrong_clocks && self.random.percent(50) { 600_000_u32 } else { 200 };
            let skew = i64::from(self.random.below(2 * most as usize + 1) as u32) - i64::from(most);
            self.run(Op::Skew(at, skew));
        }
        if power_losses || forks {
            match self.random.below(100) {
                0..6 => self.run(Op::Save(at)),
                6..9 if power_losses => self.run(Op::LosePower(at)),
                9..10 if forks => self.run(Op::Restore(at)),
                10..12 if forks && self.world.clients.len() < 6 => self.run(Op::Copy(at)),
                _ => {}
            }
        }
        if failovers && self.random.percent(10) {
            self.run(Op::Follow);
        }
        if late_pushes && self.random.percent(6) {
            let before = self.random.below(12);
            self.run(Op::Late(before));
        }
        if rot && self.random.percent(6) {
            let place = if self.random.percent(50) { Place::Server } else { Place::Client(at) };
            let id = 1 + self.random.below(self.ids as usize + 1) as u64;
            let op = if self.random.percent(50) { Op::Lose(place, id) } else { Op::Alter(place, id) };
            self.run(op);
        }
    }
}

/// One random history: its operations, and what happened or is wrong.
pub(super) fn history(seed: u64, weather: Weather, without: Option<Rule>) -> (Vec<Op>, Result<World, String>) {
    let mut history = History::new(seed, weather, without);
    let result = caught(|| {
        history.all();
        check(&mut history.world)
    });
    (history.ops, result.map(|()| history.world))
}

type Counts = BTreeMap<&'static str, usize>;

#[expect(clippy::disallowed_methods, reason = "a test is told by its environment how much to do")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Runs so many seeds, a hundred times as many at night, or the one that is asked for.
fn run(test: &str, seeds: u64, weather: Weather) -> Counts {
    let factor = match setting("HS_TEST_LEVEL").as_deref() {
        Some("nightly" | "release") => 100,
        _ => 1,
    };
    let one = setting("HS_SIM_SEED").map(|seed| seed.parse::<u64>().unwrap());
    let seeds = one.map_or(0..seeds * factor, |seed| seed..seed + 1);
    let mut counts = Counts::new();
    for seed in seeds.clone() {
        let (ops, result) = history(seed, weather, None);
        match result {
            Ok(world) => world.counts.into_iter().for_each(|(what, count)| *counts.entry(what).or_default() += count),
            Err(wrong) => {
                let short = lines(&shorten(ops, &wrong));
                panic!(
                    "{wrong}\nrepeat it with: HS_SIM_SEED={seed} cargo test -p hyperspace-core --lib {test}\n\
                     the same happens with:\n{short}"
                );
            }
        }
    }
    std::println!("seeds {seeds:?}: {counts:?}");
    counts
}

/// Whether these things happened often enough for the test to say something; one seed says nothing of that.
fn assert_happened(counts: &Counts, least: &[(&str, usize)]) {
    if setting("HS_SIM_SEED").is_none() {
        for (what, least) in least {
            let count = counts.get(what).copied().unwrap_or(0);
            assert!(count >= *least, "{what}: {count}, {least} at least: {counts:?}");
        }
    }
}

macro_rules! weathers {
    ($($name:ident: $seeds:literal seeds of $weather:expr, $least:expr;)*) => { $(
        #[test]
        fn $name() {
            let weather = $weather;
            assert_happened(&run(stringify!($name), $seeds, weather), &$least);
        }
    )* };
}

pub(super) const CALM: Weather = Weather {
    power_losses: false,
    failovers: false,
    forks: false,
    wrong_clocks: false,
    late_pushes: false,
    rot: false,
};

weathers! {
    replicas_agree_and_lose_nothing_whatever_is_lost_doubled_or_forgotten: 4_000 seeds of CALM,
        [("resyncs", 1_000), ("lost", 300), ("stale", 300), ("restamped", 100)];
    a_loss_of_power_at_a_replica_loses_nothing_that_was_answered:
        4_000 seeds of Weather { power_losses: true, ..CALM }, [("power losses", 1_000), ("interrupted resyncs", 10)];
    a_change_of_leaders_loses_nothing_that_any_replica_has:
        4_000 seeds of Weather { failovers: true, ..CALM }, [("failovers", 1_000), ("rewinds", 1_000)];
    a_push_that_arrives_late_changes_nothing:
        2_000 seeds of Weather { late_pushes: true, power_losses: true, ..CALM }, [("late pushes", 1_000)];
    replicas_agree_whatever_their_clocks_say:
        1_500 seeds of Weather { wrong_clocks: true, ..CALM }, [("restamped", 1_000)];
    a_copied_replica_takes_another_name_and_loses_nothing:
        2_000 seeds of Weather { forks: true, ..CALM }, [("copies", 1_000), ("renames", 500), ("restored copies", 300)];
    rows_that_are_silently_lost_or_altered_are_found_and_repaired:
        1_000 seeds of Weather { rot: true, ..CALM }, [("rows lost", 300), ("rows altered", 300), ("repairs", 100)];
    replicas_agree_in_all_weathers_at_once:
        1_500 seeds of Weather { power_losses: true, failovers: true, forks: true, wrong_clocks: true, late_pushes: true, rot: true },
        [("failovers", 200), ("renames", 100), ("late pushes", 300), ("repairs", 100), ("interrupted resyncs", 3)];
}
