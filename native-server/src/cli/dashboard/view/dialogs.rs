//! What lies over a pane: help, a question, a number to be typed.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph, Wrap};

use super::panel;
use crate::cli::dashboard::keys::HELP;
use crate::cli::dashboard::model::{Dashboard, Dialog};

/// How wide a dialog is where there is room.
const WIDTH: u16 = 76;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let Some(dialog) = &dashboard.dialog else { return };
    let (title, lines) = match dialog {
        Dialog::Help => ("Keys", HELP.map(|(keys, what)| format!("{keys:<25}{what}")).to_vec()),
        Dialog::Confirm { question, .. } => {
            ("Sure?", vec![question.clone(), String::new(), "y does it, any other key does not".into()])
        }
        Dialog::Tune { collection, text, wrong } => {
            let hint = "1 to 4096, or auto; Enter applies, Esc leaves".to_owned();
            ("ef_search", vec![format!("{collection}: {text}_"), String::new(), wrong.clone().unwrap_or(hint)])
        }
    };
    // Two lines of room for what is longer than one, and the border.
    let height = lines.len() as u16 + 4;
    let place = area.centered(Constraint::Max(WIDTH), Constraint::Max(height));
    let text: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: false }).block(panel(title.to_owned())), place);
}
