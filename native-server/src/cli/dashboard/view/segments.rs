//! The pane that lists the sealed segments of the chosen collection.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};

use super::{list, number, say, words};
use crate::cli::dashboard::model::Dashboard;
use crate::cli::output::{bytes, count};
use crate::proto::SegmentStats;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let Some(collection) = dashboard.chosen() else {
        return say(frame, area, "Segments".into(), "no collections of this tenant (--user-id names another one)");
    };
    let title = format!(
        "Segments of {}: {}, {}; {} points ({}) not sealed",
        collection.name,
        count(collection.segments),
        bytes(collection.segment_bytes),
        count(collection.pending),
        bytes(collection.memtable_bytes),
    );
    if collection.sealed.is_empty() {
        return say(frame, area, title, "nothing is sealed yet: searches compare with every point");
    }
    let columns = [
        words("segment", Constraint::Fill(1)),
        number("points", 11),
        number("dead", 11),
        number("size", 10),
        words("graph over", Constraint::Length(10)),
        words("state", Constraint::Length(7)),
    ];
    let rows = collection.sealed.iter().skip(dashboard.scrolled).map(cells);
    list(frame, area, title, &columns, rows, None);
}

fn cells(segment: &SegmentStats) -> Vec<String> {
    vec![
        segment.id.chars().take(16).collect(),
        count(segment.points),
        count(segment.dead),
        bytes(segment.bytes),
        if segment.coded { "codes" } else { "vectors" }.into(),
        if segment.merging { "merging" } else { "sealed" }.into(),
    ]
}
