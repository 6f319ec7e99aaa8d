//! What keys and news make of the dashboard.

use super::*;
use crate::cli::dashboard::model::{Dialog, Notice, Pane};

#[test]
fn digits_and_arrows_turn_to_panes_and_arrows_go_round() {
    let mut dashboard = watched();
    for (at, pane) in Pane::ALL.into_iter().enumerate() {
        press(&mut dashboard, &typed(&(at + 1).to_string()));
        assert_eq!(dashboard.pane, pane);
    }
    press(&mut dashboard, &[Key::Right]);
    assert_eq!(dashboard.pane, Pane::Overview);
    press(&mut dashboard, &[Key::Left, Key::Left]);
    assert_eq!(dashboard.pane, Pane::Tenants);
}

#[test]
fn a_vacuum_is_asked_for_and_only_a_yes_is_one() {
    let mut dashboard = watched();
    assert_eq!(press(&mut dashboard, &[Key::Down, Key::Char('v')]), None);
    let Some(Dialog::Confirm { question, .. }) = &dashboard.dialog else { panic!("{:?}", dashboard.dialog) };
    assert_eq!(question, "Vacuum `notes`: rewrite its segments without their 72 dead points?");
    for no in [Key::Char('n'), Key::Enter, Key::Escape, Key::Char('v'), Key::Char('q')] {
        dashboard.dialog = None;
        assert_eq!(press(&mut dashboard, &[Key::Char('v'), no]), None, "{no:?}");
        assert!(dashboard.dialog.is_none() && dashboard.notice.is_none() && !dashboard.has_ended, "{no:?}");
    }
    let effect = press(&mut dashboard, &[Key::Char('v'), Key::Char('y')]);
    assert_eq!(effect, Some(Effect::Vacuum("notes".into())));
}

#[test]
fn one_thing_is_done_after_the_other_and_its_end_is_told() {
    let mut dashboard = watched();
    assert_eq!(press(&mut dashboard, &typed("s")), Some(Effect::Snapshot));
    assert!(matches!(dashboard.notice, Some(Notice::UnderWay(_))));
    assert_eq!(press(&mut dashboard, &typed("s")), None, "one is under way");
    assert_eq!(press(&mut dashboard, &typed("vy")), None, "one is under way");
    dashboard.handle(Message::Done(Err("the disk is full".into())));
    assert_eq!(dashboard.notice, Some(Notice::Failed("the disk is full".into())));
    assert_eq!(press(&mut dashboard, &typed("s")), Some(Effect::Snapshot), "it can be tried again");
}

#[test]
fn ef_search_is_typed_and_nothing_but_a_number_in_range_or_auto_is_taken() {
    let mut dashboard = watched();
    let tuned = |ef_search| Some(Effect::TuneSearch { collection: "faces".into(), ef_search });
    press(&mut dashboard, &typed("e"));
    let begun = Dialog::Tune { collection: "faces".into(), text: "128".into(), wrong: None };
    assert_eq!(dashboard.dialog, Some(begun), "it begins with what is");
    press(&mut dashboard, &[&[Key::Backspace; 3], &typed("5000")[..], &[Key::Enter]].concat());
    let Some(Dialog::Tune { wrong: Some(wrong), text, .. }) = &dashboard.dialog else { panic!("5000 was taken") };
    assert!(wrong.contains("4096") && text == "5000", "{wrong}");
    let rest = [&[Key::Backspace; 9], &typed("64")[..], &[Key::Enter]].concat();
    assert_eq!(press(&mut dashboard, &rest), tuned(64));
    dashboard.handle(Message::Done(Ok("ef_search is 64".into())));
    let auto = [&typed("e")[..], &[Key::Backspace; 3], &typed("auto"), &[Key::Enter]].concat();
    assert_eq!(press(&mut dashboard, &auto), tuned(0));
    dashboard.handle(Message::Done(Ok("ef_search is auto".into())));
    assert_eq!(press(&mut dashboard, &[&typed("e9")[..], &[Key::Escape]].concat()), None);
    assert_eq!(dashboard.dialog, None);
}

#[test]
fn the_chosen_collection_stays_chosen_when_others_come_and_the_first_one_is_when_it_goes() {
    let mut dashboard = watched();
    press(&mut dashboard, &[Key::Down, Key::Down]);
    assert_eq!(dashboard.chosen().map(|one| one.name.as_str()), Some("notes"), "the last one is the end");
    let mut stats = busy(31);
    stats.collections.insert(0, collection("books", Metric::Dot, 0, None, 0));
    dashboard.handle(Message::Stats(Box::new(stats.clone())));
    assert_eq!((dashboard.chosen_row(), dashboard.chosen().unwrap().name.as_str()), (Some(2), "notes"));
    stats.collections.pop();
    dashboard.handle(Message::Stats(Box::new(stats.clone())));
    assert_eq!(dashboard.chosen_row(), Some(0));
    stats.collections.clear();
    dashboard.handle(Message::Stats(Box::new(stats)));
    assert_eq!(dashboard.chosen_row(), None);
    assert_eq!(press(&mut dashboard, &typed("vey")), None, "nothing is chosen");
    press(&mut dashboard, &[Key::Up, Key::Down]);
}

#[test]
fn a_lost_server_keeps_its_figures_and_the_moment_it_was_lost_until_it_is_back() {
    let mut dashboard = watched();
    lose(&mut dashboard, NOON, "the stream broke");
    lose(&mut dashboard, NOON + 9_000, "cannot reach it");
    let lost = dashboard.lost.as_ref().unwrap();
    assert_eq!((lost.at_ms, lost.why.as_str()), (NOON, "cannot reach it"));
    assert_eq!(dashboard.stats.as_ref().unwrap().uptime_ms, 30_000);
    dashboard.handle(Message::Stats(Box::new(busy(1))));
    assert_eq!(dashboard.lost, None);
}

#[test]
fn rates_since_the_start_of_a_server_are_in_no_curve() {
    let mut dashboard = Dashboard::new("s");
    let lengths = |dashboard: &Dashboard| {
        let histories = &dashboard.histories;
        (histories.searches.newest(99).count(), histories.backlog.newest(99).count())
    };
    for expected in [(0, 1), (1, 2)] {
        dashboard.handle(Message::Stats(Box::new(busy(5))));
        assert_eq!(lengths(&dashboard), expected);
    }
    lose(&mut dashboard, NOON, "gone");
    dashboard.handle(Message::Stats(Box::new(busy(1))));
    assert_eq!(lengths(&dashboard), (1, 3), "the first rates of a stream are of another time");
}

#[test]
fn lines_that_come_again_are_there_once_and_older_ones_survive_a_restart() {
    let mut dashboard = watched();
    for number in 1..=31 {
        dashboard.handle(Message::Line(line(number, "INFO", &format!("collection {number} was sealed"))));
    }
    assert_eq!(dashboard.lines.len(), 32, "line 31 was another one");
    let again = LogLine { at_ms: NOON + 60_000, ..line(1, "INFO", "the database was opened in 3 ms") };
    dashboard.handle(Message::Line(again.clone()));
    assert_eq!((dashboard.lines.len(), dashboard.lines.back()), (33, Some(&again)));
}

#[test]
fn who_reads_old_lines_is_not_pushed_on_by_new_ones() {
    let mut dashboard = watched();
    press(&mut dashboard, &[Key::Char('6'), Key::PageUp]);
    assert_eq!(dashboard.scrolled, 10);
    dashboard.handle(Message::Line(line(40, "INFO", "another one")));
    assert_eq!(dashboard.scrolled, 11);
    press(&mut dashboard, &[Key::PageUp; 9]);
    assert_eq!(dashboard.scrolled, 31, "the oldest line stays in sight");
    press(&mut dashboard, &[Key::PageDown; 9]);
    assert_eq!(dashboard.scrolled, 0);
}

#[test]
fn the_program_ends_with_q_outside_of_dialogs_and_with_an_interrupt_everywhere() {
    let mut dashboard = watched();
    press(&mut dashboard, &typed("?q"));
    assert!(!dashboard.has_ended, "q closed the help");
    press(&mut dashboard, &typed("q"));
    assert!(dashboard.has_ended);
    let mut dashboard = watched();
    press(&mut dashboard, &[Key::Char('e'), Key::Interrupt]);
    assert!(dashboard.has_ended);
}
