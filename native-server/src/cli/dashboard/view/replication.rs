//! The pane that says what the server is among others.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};

use super::{list, number, say, words};
use crate::cli::dashboard::model::Dashboard;
use crate::cli::output::{count, duration};
use crate::proto::Replication;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let Some(replication) = dashboard.stats.as_ref().and_then(|stats| stats.replication.as_ref()) else {
        return say(frame, area, "Replication".into(), "no figures yet");
    };
    if !replication.leads {
        return say(frame, area, format!("Replication: follows, term {}", replication.term), &following(replication));
    }
    let title = format!("Replication: leads, term {}", replication.term);
    if replication.followers.is_empty() {
        return say(frame, area, title, "nobody follows this server");
    }
    let columns =
        [words("follower", Constraint::Fill(1)), words("state", Constraint::Length(9)), number("writes behind", 15)];
    let rows = replication.followers.iter().skip(dashboard.scrolled).map(|follower| {
        let state = if follower.connected { "connected" } else { "away" };
        vec![follower.id.clone(), state.into(), count(follower.behind)]
    });
    list(frame, area, title, &columns, rows, None);
}

fn following(replication: &Replication) -> String {
    let lag = replication.stale_ms.map_or_else(
        || "never equal to it yet".to_owned(),
        |ms| format!("equal to it {} ago", duration(Duration::from_millis(ms))),
    );
    let state = if replication.connected { "connected" } else { "it does not answer" };
    let mut lines = vec![
        format!("leader    {}", replication.leader),
        format!("state     {state}"),
        format!("lag       {lag}"),
        format!("repaired  {} points", count(replication.repaired)),
    ];
    if !replication.trouble.is_empty() {
        lines.push(format!("trouble   {}", replication.trouble));
    }
    lines.join("\n")
}
