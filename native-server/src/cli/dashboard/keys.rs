//! What keys make of the dashboard. A dialog takes them first; what cannot be taken back is asked for.

use super::model::{Dashboard, Dialog, Effect, Key, Notice, Pane};
use crate::cli::args::parse_ef;
use crate::cli::output::count;

/// Rows that a page is.
const PAGE: usize = 10;
/// Characters that a number to be typed has at most.
const LONGEST: usize = 8;

/// Keys and what they do, for the help.
pub(super) const HELP: [(&str, &str); 9] = [
    ("1 to 6, Left, Right, Tab", "another pane"),
    ("Up, Down", "choose a collection"),
    ("Page up, Page down", "scroll segments, followers, tenants or the log"),
    ("s", "write a snapshot, on the server's disk"),
    ("v", "vacuum the chosen collection (asks first)"),
    ("e", "tune ef_search of the chosen collection, live"),
    ("?", "this help"),
    ("Esc", "leave a dialog, take a message away"),
    ("q, Ctrl-C", "quit"),
];

impl Dashboard {
    pub(super) fn press(&mut self, key: Key) -> Option<Effect> {
        if key == Key::Interrupt {
            self.has_ended = true;
            return None;
        }
        match self.dialog.take() {
            None => self.press_in_pane(key),
            Some(Dialog::Help) => None,
            Some(Dialog::Confirm { effect, .. }) => match key {
                Key::Char('y' | 'Y') => self.begin(effect),
                _ => None,
            },
            Some(Dialog::Tune { collection, text, .. }) => self.press_in_tuning(key, collection, text),
        }
    }

    fn press_in_pane(&mut self, key: Key) -> Option<Effect> {
        match key {
            Key::Char('q') => self.has_ended = true,
            Key::Char('?') => self.dialog = Some(Dialog::Help),
            Key::Char(digit @ '1'..='6') => self.turn_to(usize::from(digit as u8 - b'1')),
            Key::Left => self.turn_to(self.pane as usize + Pane::ALL.len() - 1),
            Key::Right => self.turn_to(self.pane as usize + 1),
            Key::Up => self.choose(self.chosen_row()?.saturating_sub(1)),
            Key::Down => self.choose(self.chosen_row()? + 1),
            Key::PageUp => self.scroll(self.pane == Pane::Log),
            Key::PageDown => self.scroll(self.pane != Pane::Log),
            Key::Escape => self.notice = None,
            Key::Char('s') => return self.begin(Effect::Snapshot),
            Key::Char('v') => self.dialog = self.ask_to_vacuum(),
            Key::Char('e') => self.dialog = self.ask_for_ef_search(),
            Key::Char(_) | Key::Enter | Key::Backspace | Key::Interrupt => {}
        }
        None
    }

    fn turn_to(&mut self, number: usize) {
        (self.pane, self.scrolled) = (Pane::ALL[number % Pane::ALL.len()], 0);
    }

    fn scroll(&mut self, away: bool) {
        let scrolled = if away { self.scrolled + PAGE } else { self.scrolled.saturating_sub(PAGE) };
        self.scrolled = scrolled.min(self.most_scrolled());
    }

    fn ask_to_vacuum(&self) -> Option<Dialog> {
        let collection = self.chosen()?;
        let (name, dead) = (&collection.name, count(collection.dead));
        let question = format!("Vacuum `{name}`: rewrite its segments without their {dead} dead points?");
        Some(Dialog::Confirm { question, effect: Effect::Vacuum(name.clone()) })
    }

    fn ask_for_ef_search(&self) -> Option<Dialog> {
        let collection = self.chosen()?;
        let ef_search = collection.config.as_ref().and_then(|config| config.ef_search);
        let text = ef_search.map_or_else(|| "auto".to_owned(), |ef| ef.to_string());
        Some(Dialog::Tune { collection: collection.name.clone(), text, wrong: None })
    }

    fn press_in_tuning(&mut self, key: Key, collection: String, mut text: String) -> Option<Effect> {
        let mut wrong = None;
        match key {
            Key::Escape => return None,
            Key::Enter => match parse_ef(&text) {
                Ok(ef_search) => return self.begin(Effect::TuneSearch { collection, ef_search }),
                Err(why) => wrong = Some(why),
            },
            Key::Backspace => drop(text.pop()),
            // The word stands for no number: who types one means that alone.
            Key::Char(digit @ '0'..='9') if text == "auto" => text = digit.to_string(),
            Key::Char(typed) if text.len() < LONGEST && typed.is_ascii_alphanumeric() => text.push(typed),
            _ => {}
        }
        self.dialog = Some(Dialog::Tune { collection, text, wrong });
        None
    }

    fn begin(&mut self, effect: Effect) -> Option<Effect> {
        if matches!(self.notice, Some(Notice::UnderWay(_))) {
            // One after the other, so that what is told at the end is told of the right one.
            return None;
        }
        self.notice = Some(Notice::UnderWay(match effect {
            Effect::Snapshot => "a snapshot is being written",
            Effect::Vacuum(_) => "segments are being rewritten",
            Effect::TuneSearch { .. } => "ef_search is being changed",
        }));
        Some(effect)
    }
}
