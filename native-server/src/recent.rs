//! The newest lines of this program's own log, kept in memory for whoever watches the server from outside.
//!
//! Invariants: at most `MOST_LINES` lines of at most `LONGEST` bytes are kept, and numbers only grow. Takes lines of
//! this crate alone: what other crates tell is for standard error. As little as the log does it hold vectors, metadata,
//! ids of points or keys. One for the process, as the log itself is; knows nothing of streams or callers.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines that are kept.
const MOST_LINES: usize = 500;
/// Bytes of a line; what is longer is cut.
const LONGEST: usize = 1 << 10;
/// Whose lines are taken.
const OURS: &str = "hyperspace_server";

static RECENT: LazyLock<Recent> = LazyLock::new(Recent::new);

/// The lines of this process.
pub(crate) fn recent() -> &'static Recent {
    &RECENT
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counts from 1.
    pub(crate) number: u64,
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// The newest lines, and who waits for more.
#[derive(Debug)]
pub(crate) struct Recent {
    lines: Mutex<VecDeque<Line>>,
    /// The newest number.
    told: watch::Sender<u64>,
}

impl Recent {
    fn new() -> Self {
        Self { lines: Mutex::default(), told: watch::Sender::new(0) }
    }

    /// The lines behind the one with this number, oldest first.
    pub(crate) fn behind(&self, number: u64) -> Vec<Line> {
        self.lines().iter().filter(|line| line.number > number).cloned().collect()
    }

    /// Tells the newest number whenever there is a new one.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    fn add(&self, level: Level, mut text: String) {
        text.truncate(text.floor_char_boundary(LONGEST));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let mut lines = self.lines();
        let number = *self.told.borrow() + 1;
        if lines.len() == MOST_LINES {
            lines.pop_front();
        }
        lines.push_back(Line { number, at_ms, level, text });
        self.told.send_replace(number);
    }

    fn lines(&self) -> MutexGuard<'_, VecDeque<Line>> {
        // A line is there or it is not.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what is told, beside whatever else becomes of it.
#[derive(Debug)]
pub struct Keeping;

impl<S: Subscriber> Layer<S> for Keeping {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if meta.target().split("::").next() == Some(OURS) {
            let mut text = Text::default();
            event.record(&mut text);
            recent().add(*meta.level(), text.0);
        }
    }
}

/// The message, and behind it the fields, as standard error has them.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.0, "{space}{value:?}"),
            name => write!(self.0, "{space}{name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn the_newest_lines_are_kept_and_numbered() {
        let recent = Recent::new();
        let watch = recent.watch();
        for number in 1..=MOST_LINES + 3 {
            recent.add(Level::INFO, format!("line {number}"));
        }
        let all = recent.behind(0);
        assert_eq!((all.len(), all[0].number, all[0].text.as_str()), (MOST_LINES, 4, "line 4"));
        let newest = MOST_LINES as u64 + 3;
        assert_eq!(*watch.borrow(), newest);
        assert_eq!(recent.behind(newest - 1), [all[MOST_LINES - 1].clone()]);
        assert_eq!(recent.behind(newest), []);
    }

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let recent = Recent::new();
        recent.add(Level::WARN, "\u{20ac}".repeat(400));
        assert_eq!(recent.behind(0)[0].text, "\u{20ac}".repeat(341));
    }

    #[test]
    fn what_this_program_tells_is_kept_and_what_others_tell_is_not() {
        let before = *recent().watch().borrow();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Keeping), || {
            tracing::info!(target: "hyperspace_server_like", "a stranger");
            tracing::info!(target: "h2::codec", "a frame");
            tracing::warn!(bytes = 7, "the log was cut");
        });
        let texts: Vec<_> = recent().behind(before).into_iter().map(|line| (line.level, line.text)).collect();
        assert_eq!(texts, [(Level::WARN, "the log was cut bytes=7".to_owned())]);
    }
}
