//! The pane that lists collections; the chosen one is what keys are about.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};

use super::{Column, WIDE, list, number, say, words};
use crate::cli::collections::metric_name;
use crate::cli::dashboard::model::Dashboard;
use crate::cli::output::{bytes, count};
use crate::proto::CollectionStats;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let collections = dashboard.collections();
    let title = format!("Collections: {}", count(collections.len() as u64));
    if collections.is_empty() {
        return say(frame, area, title, "no collections of this tenant (--user-id names another one)");
    }
    let is_wide = area.width >= WIDE;
    let mut columns: Vec<Column> = vec![
        words("collection", Constraint::Fill(1)),
        number("points", 11),
        number("pending", 9),
        number("on disk", 9),
        number("ef", 4),
        number("searches", 11),
        words("state", Constraint::Length(8)),
    ];
    if is_wide {
        columns.extend([
            words("metric", Constraint::Length(8)),
            number("dimension", 9),
            number("segments", 8),
            number("dead", 9),
        ]);
    }
    let rows = collections.iter().map(|collection| cells(collection, is_wide));
    list(frame, area, title, &columns, rows, dashboard.chosen_row());
}

fn cells(collection: &CollectionStats, is_wide: bool) -> Vec<String> {
    let config = collection.config.clone().unwrap_or_default();
    let mut cells = vec![
        collection.name.clone(),
        count(collection.points),
        count(collection.pending),
        bytes(collection.segment_bytes),
        config.ef_search.map_or_else(|| "auto".into(), |ef| ef.to_string()),
        count(collection.searches),
        if collection.indexing { "indexing" } else { "idle" }.into(),
    ];
    if is_wide {
        cells.extend([
            metric_name(&config),
            config.dimension.to_string(),
            count(collection.segments),
            count(collection.dead),
        ]);
    }
    cells
}
