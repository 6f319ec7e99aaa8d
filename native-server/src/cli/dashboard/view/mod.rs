//! What is known, drawn. Says nothing by colour alone: every state is a word, and what is old is marked as such.
//!
//! Draws into whatever room there is, down to a single cell. Characters that would move a terminal's cursor are left out
//! by ratatui, whoever sent them.

mod collections;
mod dialogs;
mod log;
mod overview;
mod replication;
mod segments;
mod tenants;

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Table, TableState, Wrap};

use super::model::{Dashboard, Notice, Pane};
use crate::cli::output::duration;

/// How wide a window is before it has room for figures that are needed seldom.
const WIDE: u16 = 100;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, dashboard: &Dashboard) {
    let [head, tabs, body, foot] =
        Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(heading(dashboard), head);
    frame.render_widget(panes(dashboard.pane), tabs);
    match dashboard.pane {
        Pane::Overview => overview::draw(frame, body, dashboard),
        Pane::Collections => collections::draw(frame, body, dashboard),
        Pane::Segments => segments::draw(frame, body, dashboard),
        Pane::Replication => replication::draw(frame, body, dashboard),
        Pane::Tenants => tenants::draw(frame, body, dashboard),
        Pane::Log => log::draw(frame, body, dashboard),
    }
    if dashboard.lost.is_some() {
        frame.buffer_mut().set_style(body, Style::new().add_modifier(Modifier::DIM));
    }
    frame.render_widget(footing(dashboard), foot);
    dialogs::draw(frame, body, dashboard);
}

/// The server, and whether it is there.
fn heading(dashboard: &Dashboard) -> Line<'_> {
    let server = dashboard.server.trim_start_matches("http://");
    let mut parts = vec![" HyperspaceDB ".bold(), format!("{server}  ").into()];
    if let Some(lost) = &dashboard.lost {
        let text = format!(" disconnected since {} UTC, old figures ", clock(lost.at_ms));
        parts.push(text.bold().reversed().fg(Color::Red));
        return Line::from(parts);
    }
    let Some(stats) = &dashboard.stats else {
        parts.push("connected, no figures yet".into());
        return Line::from(parts);
    };
    let uptime = duration(Duration::from_millis(stats.uptime_ms));
    parts.push(format!("{}, up {uptime}  ", stats.version).into());
    parts.push(if stats.writable {
        "ready".fg(Color::Green)
    } else {
        format!(" WRITES ARE REFUSED: {} ", stats.reason).bold().reversed().fg(Color::Red)
    });
    if stats.reopenings > 0 {
        parts.push(format!("  opened again {} times", stats.reopenings).fg(Color::Yellow));
    }
    Line::from(parts)
}

fn panes(shown: Pane) -> Line<'static> {
    let each = Pane::ALL.into_iter().enumerate().map(|(at, pane)| {
        let (open, close) = if pane == shown { ("[", "]") } else { (" ", " ") };
        let text = Span::from(format!("{open}{} {}{close}", at + 1, pane.title()));
        if pane == shown { text.bold().fg(Color::Cyan) } else { text }
    });
    each.collect()
}

fn footing(dashboard: &Dashboard) -> Line<'_> {
    match (&dashboard.notice, &dashboard.lost) {
        (None, Some(lost)) => Line::from(format!(" trying again: {}", lost.why)).bold().fg(Color::Red),
        (None, None) => Line::from(" q quit  ? help  1-6 pane  s snapshot  v vacuum  e ef_search").dim(),
        (Some(Notice::UnderWay(what)), _) => Line::from(format!(" {what} ...")).fg(Color::Yellow),
        (Some(Notice::Done(what)), _) => Line::from(format!(" done: {what}")).fg(Color::Green),
        (Some(Notice::Failed(why)), _) => Line::from(format!(" failed: {why}")).bold().fg(Color::Red),
    }
}

/// A box with a title.
fn panel(title: String) -> Block<'static> {
    Block::bordered().title(title)
}

/// Draws words where a list would be.
fn say(frame: &mut Frame<'_>, area: Rect, title: String, text: &str) {
    let words = Paragraph::new(text.to_owned()).wrap(Wrap { trim: true });
    frame.render_widget(words.block(panel(title)), area);
}

/// A column of a list: what it is called, how wide it is, and whether its cells are numbers.
struct Column {
    title: &'static str,
    width: Constraint,
    is_number: bool,
}

const fn words(title: &'static str, width: Constraint) -> Column {
    Column { title, width, is_number: false }
}

const fn number(title: &'static str, width: u16) -> Column {
    Column { title, width: Constraint::Length(width), is_number: true }
}

/// Draws rows under a heading; of the chosen one, if there is any, as much is seen as there is room for.
fn list(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>>,
    chosen: Option<usize>,
) {
    let row = |cells: Vec<String>| {
        let cells = cells.into_iter().zip(columns).map(|(cell, column)| {
            let side = if column.is_number { Alignment::Right } else { Alignment::Left };
            Cell::from(Line::from(cell).alignment(side))
        });
        Row::new(cells)
    };
    let heading = row(columns.iter().map(|column| column.title.to_owned()).collect()).bold();
    let table = Table::new(rows.map(row), columns.iter().map(|column| column.width))
        .header(heading)
        .block(panel(title))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .highlight_symbol("> ");
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(chosen));
}

/// A time of day in UTC: `13:05:09`.
fn clock(ms: u64) -> String {
    let seconds = ms / 1_000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
