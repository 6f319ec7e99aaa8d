//! The pane that shows the server's log, the newest line at the foot.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{clock, panel, say};
use crate::cli::dashboard::model::Dashboard;
use crate::cli::output::count;
use crate::proto::LogLine;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    if let Some(why) = &dashboard.log_refused {
        return say(frame, area, "Log".into(), &format!("the log cannot be shown: {why}"));
    }
    let back = dashboard.scrolled;
    let title = if back == 0 {
        "Log (UTC), as it comes".to_owned()
    } else {
        format!("Log (UTC), {} newer lines below", count(back as u64))
    };
    let block = panel(title);
    let height = usize::from(block.inner(area).height);
    let seen = dashboard.lines.len() - back;
    let lines = dashboard.lines.iter().take(seen).skip(seen.saturating_sub(height)).map(line);
    frame.render_widget(Paragraph::new(lines.collect::<Vec<_>>()).block(block), area);
}

fn line(line: &LogLine) -> Line<'_> {
    let level = Span::from(format!("{:<5} ", line.level));
    let level = match line.level.as_str() {
        "ERROR" => level.bold().fg(Color::Red),
        "WARN" => level.bold().fg(Color::Yellow),
        _ => level,
    };
    Line::from(vec![Span::from(format!("{} ", clock(line.at_ms))).dim(), level, Span::from(line.text.as_str())])
}
