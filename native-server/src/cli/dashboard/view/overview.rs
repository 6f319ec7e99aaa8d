//! The pane that says how the server is: six figures, each with its last minutes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Stylize as _};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Sparkline};

use super::{panel, say};
use crate::cli::dashboard::history::History;
use crate::cli::dashboard::model::{Dashboard, backlog};
use crate::cli::output::{bytes, count, per_second};
use crate::proto::Stats;

/// What a bar of the full height is divided into, so that small rates are not rounded to nothing.
const STEPS: f64 = 1_000.0;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let Some(stats) = &dashboard.stats else {
        return say(frame, area, "Overview".into(), "no figures yet");
    };
    let histories = &dashboard.histories;
    let panels = [
        ("Searches", searches(stats), &histories.searches),
        ("Latency (p99 drawn)", latency(stats), &histories.p99),
        ("Ingest", ingest(stats), &histories.ingest),
        ("Indexing backlog", waiting(stats), &histories.backlog),
        ("Memory", memory(stats), &histories.memory),
        ("Disk", disk(stats), &histories.disk),
    ];
    let rows: [Rect; 3] = Layout::vertical([Constraint::Fill(1); 3]).areas(area);
    for (pair, row) in panels.chunks(2).zip(rows) {
        let places: [Rect; 2] = Layout::horizontal([Constraint::Fill(1); 2]).areas(row);
        for ((title, lines, history), place) in pair.iter().zip(places) {
            figure(frame, place, title, lines, history);
        }
    }
}

/// Lines of text, and below them a curve in what room is left.
fn figure(frame: &mut Frame<'_>, area: Rect, title: &str, lines: &[String; 2], history: &History) {
    let block = panel(title.to_owned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [text, curve] = Layout::vertical([Constraint::Length(2), Constraint::Fill(1)]).areas(inner);
    let [first, second] = lines.clone();
    frame.render_widget(Paragraph::new(vec![Line::from(first).bold(), Line::from(second)]), text);
    frame.render_widget(sparkline(history, curve.width), curve);
}

/// A curve from 0 up to the largest value that is seen, the newest at the right.
#[expect(clippy::cast_sign_loss, reason = "figures are not negative")]
fn sparkline(history: &History, width: u16) -> Sparkline<'static> {
    let values: Vec<f64> = history.newest(width.into()).collect();
    let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    let empty = usize::from(width) - values.len();
    let bars = values.iter().map(|value| (value / largest * STEPS) as u64);
    Sparkline::default().data(std::iter::repeat_n(0, empty).chain(bars)).max(STEPS as u64).fg(Color::Cyan)
}

fn searches(stats: &Stats) -> [String; 2] {
    [per_second(stats.searches_per_second), format!("{} since the start", count(stats.searches))]
}

fn latency(stats: &Stats) -> [String; 2] {
    [format!("p50 {:.2} ms  p99 {:.2} ms", stats.search_p50_ms, stats.search_p99_ms), "inside the server".into()]
}

fn ingest(stats: &Stats) -> [String; 2] {
    let (written, deleted) = (count(stats.points_written), count(stats.points_deleted));
    [per_second(stats.points_written_per_second), format!("{written} written, {deleted} deleted")]
}

fn waiting(stats: &Stats) -> [String; 2] {
    let busy: Vec<&str> = stats.collections.iter().filter(|c| c.indexing).map(|c| c.name.as_str()).collect();
    let busy = if busy.is_empty() { "idle".into() } else { format!("indexing {}", busy.join(", ")) };
    [format!("{} points wait for a graph", count(backlog(stats))), busy]
}

fn memory(stats: &Stats) -> [String; 2] {
    let resident = if stats.resident_bytes == 0 { "unknown".into() } else { bytes(stats.resident_bytes) };
    let unsealed = stats.collections.iter().map(|collection| collection.memtable_bytes).sum();
    [resident, format!("{} of it not sealed yet", bytes(unsealed))]
}

fn disk(stats: &Stats) -> [String; 2] {
    let free = if stats.disk_free_bytes == 0 { "unknown".into() } else { bytes(stats.disk_free_bytes) };
    let (log, syncs) = (bytes(stats.log_bytes), count(stats.log_syncs));
    [format!("{} used, {free} free", bytes(stats.disk_bytes)), format!("WAL {log}, {syncs} syncs")]
}
