//! How the dashboard is drawn, compared with the text files beside this one. `HS_SNAPSHOTS=write` writes them anew.

use std::fs;
use std::path::PathBuf;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use super::*;
use crate::cli::dashboard::view::draw;

/// A window with the dashboard in it.
fn window(dashboard: &Dashboard, width: u16, height: u16) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, dashboard)).unwrap();
    terminal.backend().clone()
}

/// Its lines, without the spaces at their ends.
fn text(dashboard: &Dashboard, width: u16, height: u16) -> String {
    let window = window(dashboard, width, height);
    let rows = window.buffer().content().chunks(width.into());
    let lines = rows.map(|row| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned() + "\n");
    lines.collect()
}

/// Compares a window with the file of this name.
fn assert_drawn(name: &str, dashboard: &Dashboard, width: u16, height: u16) {
    let file = format!("src/cli/dashboard/tests/drawn/{name}_{width}x{height}.txt");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file);
    let drawn = text(dashboard, width, height);
    if std::env::var("HS_SNAPSHOTS").is_ok_and(|value| value == "write") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &drawn).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(drawn == expected, "{name} is drawn\n{drawn}and not\n{expected}");
}

#[test]
fn every_pane_is_drawn_as_it_was_looked_at() {
    let names = ["overview", "collections", "segments", "replication", "tenants", "log"];
    let mut dashboard = watched();
    press(&mut dashboard, &[Key::Down]);
    for (at, name) in names.into_iter().enumerate() {
        press(&mut dashboard, &typed(&(at + 1).to_string()));
        assert_drawn(name, &dashboard, 80, 24);
        assert_drawn(name, &dashboard, 120, 40);
    }
    assert_drawn("log", &dashboard, 30, 8);
}

#[test]
fn dialogs_and_what_they_bring_are_drawn_as_they_were_looked_at() {
    let mut dashboard = watched();
    press(&mut dashboard, &typed("2v"));
    assert_drawn("vacuum", &dashboard, 80, 24);
    press(&mut dashboard, &typed("y"));
    assert_drawn("under_way", &dashboard, 80, 24);
    dashboard.handle(Message::Done(Ok("vacuumed `faces`: 1 segments rewritten".into())));
    press(&mut dashboard, &[Key::Char('e'), Key::Char('x'), Key::Enter]);
    assert_drawn("ef_search", &dashboard, 80, 24);
    press(&mut dashboard, &[Key::Escape, Key::Char('?')]);
    assert_drawn("help", &dashboard, 80, 24);
}

#[test]
fn what_is_missing_or_old_or_refused_is_said_in_words() {
    let mut dashboard = Dashboard::new("http://127.0.0.1:50051");
    assert_drawn("nothing_yet", &dashboard, 80, 24);
    let follows = Replication {
        term: 3,
        leader: "http://10.0.0.1:50051".into(),
        stale_ms: Some(95_000),
        trouble: "the leader refuses this server's key".into(),
        ..Replication::default()
    };
    let empty = Stats { writable: false, reason: "it follows".into(), replication: Some(follows), ..busy(9) };
    dashboard.handle(Message::Stats(Box::new(Stats { collections: Vec::new(), tenants: Vec::new(), ..empty })));
    for (keys, name) in [("2", "no_collections"), ("4", "follows"), ("5", "no_tenants")] {
        press(&mut dashboard, &typed(keys));
        assert_drawn(name, &dashboard, 80, 24);
    }
    dashboard.handle(Message::LogRefused("this needs the scope `admin`, which the credential does not have".into()));
    press(&mut dashboard, &typed("6"));
    assert_drawn("log_refused", &dashboard, 80, 24);
}

#[test]
fn old_figures_are_marked_by_a_word_and_dimmed() {
    let mut dashboard = watched();
    let is_dim = |dashboard: &Dashboard| window(dashboard, 80, 24).buffer()[(2, 3)].modifier.contains(Modifier::DIM);
    assert!(!is_dim(&dashboard));
    lose(&mut dashboard, NOON, "cannot reach it");
    assert!(is_dim(&dashboard));
    let drawn = text(&dashboard, 80, 24);
    assert!(drawn.lines().next().unwrap().contains("disconnected since 13:05:09 UTC, old figures"));
    assert!(drawn.trim_end().ends_with("trying again: cannot reach it"), "{drawn}");
    assert!(drawn.contains("8 730/s"), "the last figures stay:\n{drawn}");
}

#[test]
fn no_window_is_too_small_or_too_wide() {
    let mut dashboards = vec![watched(), Dashboard::new("s")];
    for keys in ["v", "e", "?", "s"] {
        let mut dashboard = watched();
        press(&mut dashboard, &typed(keys));
        dashboards.push(dashboard);
    }
    for dashboard in &mut dashboards {
        let dialog = dashboard.dialog.take();
        for pane in crate::cli::dashboard::model::Pane::ALL {
            dashboard.pane = pane;
            for (width, height) in [(1, 1), (2, 2), (1, 50), (50, 1), (3, 3), (5, 4), (9, 7), (20, 5), (700, 3)] {
                text(dashboard, width, height);
            }
        }
        dashboard.dialog = dialog;
        for (width, height) in [(1, 1), (2, 9), (9, 2), (6, 6)] {
            text(dashboard, width, height);
        }
    }
}

#[test]
fn what_moves_a_cursor_is_not_drawn_whoever_sent_it() {
    let mut dashboard = watched();
    let evil = "\u{1b}[2J\u{7}\r\n\u{9b}31m";
    let mut stats = busy(31);
    stats.collections[0].name = format!("{evil}name");
    stats.tenants[0].name = format!("{evil}tenant");
    stats.reason = evil.into();
    stats.writable = false;
    dashboard.handle(Message::Stats(Box::new(stats)));
    dashboard.handle(Message::Line(line(99, "INFO", &format!("{evil}line"))));
    lose(&mut dashboard, NOON, evil);
    for pane in "123456".chars() {
        press(&mut dashboard, &[Key::Char(pane)]);
        let drawn = text(&dashboard, 120, 40).replace('\n', "");
        assert!(!drawn.contains(char::is_control), "pane {pane}: {drawn:?}");
    }
}

#[test]
fn colour_says_nothing_that_words_do_not() {
    let lines = |level: &str| {
        let mut dashboard = watched();
        dashboard.handle(Message::Line(line(99, level, "something")));
        press(&mut dashboard, &typed("6"));
        (text(&dashboard, 80, 24), window(&dashboard, 80, 24))
    };
    let ((plain, _), (error, coloured)) = (lines("INFO"), lines("ERROR"));
    let red = |cell: &Cell| cell.fg == Color::Red;
    assert!(coloured.buffer().content().iter().any(red), "an error is red");
    assert_ne!(plain, error, "and a word");
}
