//! The histories can fail: without any one of the rules they go wrong, or need repairs that they do not need with it.
//!
//! R9, R10 and R13 have tests of their own in [`super::directed`]. R14 saves a round and R15 is for hosts.

use super::check::run;
use super::random::{CALM, Weather, history};
use super::recorded::{HISTORIES, ops};
use super::world::Rule;

const SEEDS: u64 = 2_000;

/// The first recorded or random history that goes wrong without a rule.
fn assert_needed(rule: Rule, weather: Weather) {
    let recorded = HISTORIES.iter().filter_map(|(name, text)| Some((*name, run(&ops(text), Some(rule)).err()?)));
    recorded.for_each(|(name, wrong)| std::println!("without {rule:?}, {name}: {wrong}"));
    let mut random = (0..SEEDS).filter_map(|seed| Some((seed, history(seed, weather, Some(rule)).1.err()?)));
    let Some((seed, wrong)) = random.next() else {
        panic!("{rule:?} is switched off, and none of the seeds 0..{SEEDS} goes wrong in {weather:?}");
    };
    std::println!("without {rule:?}, seed {seed}: {wrong}");
    assert!(history(seed, weather, None).1.is_ok(), "seed {seed} goes wrong with {rule:?} as well");
}

/// How often something happens in random histories.
fn counted(what: &str, rule: Option<Rule>, weather: Weather) -> usize {
    (0..SEEDS / 4).map(|seed| history(seed, weather, rule).1.map_or(0, |world| world.counted(what))).sum()
}

macro_rules! needed {
    ($($name:ident: $rule:ident, $weather:expr;)*) => { $(
        #[test]
        fn $name() {
            assert_needed(Rule::$rule, $weather);
        }
    )* };
}

needed! {
    who_stands_below_the_floor_has_to_take_the_whole_state_anew: R1, CALM;
    // Rows alone would not show it: what comes again below the floor is refused or stamped anew (R4). The chain does.
    what_was_answered_has_to_be_passed_over: R2, CALM;
    what_was_answered_has_to_be_remembered: R3, CALM;
    an_offer_below_the_floor_has_to_be_refused_or_stamped_anew: R4, CALM;
    a_write_that_follows_one_that_was_sent_has_to_say_so: R5, CALM;
    a_new_stamp_has_to_be_for_the_newest_write: R7, CALM;
    // A replica that uses counters again is found out: it is taken for a copy, and has to take another name.
    counters_have_to_stay_reserved: R8, Weather { power_losses: true, ..CALM };
    tombstones_have_to_be_kept_for_followers_and_after_a_change_of_leaders: R11, Weather { failovers: true, ..CALM };
    // Without it rows differ until a reconciliation finds them, and nothing else should have to.
    what_was_answered_unheard_has_to_be_settled: R16, CALM;
}

/// A resync ends with a reconciliation. It finds what lives here and nowhere else, and its fetch brings the tombstone.
#[test]
fn tombstones_in_a_resync_only_save_its_reconciliation_from_finding_them() {
    let what = "resyncs that found something";
    let (with, without) = (counted(what, None, CALM), counted(what, Some(Rule::R6), CALM));
    std::println!("{what}: {with}, {without} without R6");
    assert!(without > with * 3 / 2, "{what}: {with}, {without} without R6");
    assert!((0..SEEDS / 4).all(|seed| history(seed, CALM, Some(Rule::R6)).1.is_ok()));
}

/// The digests differ once a replica stands where the new leader does. The reconciliation finds what only the replica has,
/// which is offered again because its number is above the floor, and what only the leader has.
#[test]
fn going_back_after_a_change_of_leaders_only_saves_reconciliations_from_having_to_repair() {
    let weather = Weather { failovers: true, ..CALM };
    let (with, without) = (counted("repairs", None, weather), counted("repairs", Some(Rule::R12), weather));
    std::println!("repairs: {with}, {without} without R12");
    assert!(without > 10 + 10 * with, "repairs: {with}, {without} without R12");
    assert!((0..SEEDS / 4).all(|seed| history(seed, weather, Some(Rule::R12)).1.is_ok()));
}
