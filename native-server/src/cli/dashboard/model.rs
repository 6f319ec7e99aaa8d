//! What the dashboard knows, and what news make of it. What keys make of it is `keys`.
//!
//! Invariants: figures stay what the server last said, however long ago, and [`Dashboard::lost`] says so; a row is chosen
//! by its name, so that it stays the same when others come and go.

use std::collections::VecDeque;

use super::history::History;
use crate::proto::{CollectionStats, LogLine, Stats};

/// Lines of the log that are kept.
const MOST_LINES: usize = 1_000;

/// What a pane shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Overview,
    Collections,
    Segments,
    Replication,
    Tenants,
    Log,
}

impl Pane {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 6] =
        [Self::Overview, Self::Collections, Self::Segments, Self::Replication, Self::Tenants, Self::Log];

    /// What it is called.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Collections => "Collections",
            Self::Segments => "Segments",
            Self::Replication => "Replication",
            Self::Tenants => "Tenants",
            Self::Log => "Log",
        }
    }
}

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Left,
    Right,
    Up,
    Down,
    PageUp,
    PageDown,
    /// Ctrl-C.
    Interrupt,
}

/// News.
#[derive(Debug)]
pub(super) enum Message {
    Key(Key),
    /// The window has another size.
    Resized,
    Stats(Box<Stats>),
    Line(LogLine),
    /// The figures stopped, when and why.
    Lost {
        at_ms: u64,
        why: String,
    },
    /// No log can be had, and why.
    LogRefused(String),
    /// What became of an effect.
    Done(Result<String, String>),
}

/// What is to be done about the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Snapshot,
    Vacuum(String),
    /// 0 goes back to the number that adapts.
    TuneSearch {
        collection: String,
        ef_search: u64,
    },
}

/// What lies over the pane and takes the keys.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dialog {
    Help,
    Confirm { question: String, effect: Effect },
    Tune { collection: String, text: String, wrong: Option<String> },
}

/// What is told at the foot of the screen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    UnderWay(&'static str),
    Done(String),
    Failed(String),
}

/// When and why the figures stopped.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) at_ms: u64,
    pub(super) why: String,
}

/// The last minutes of what the overview draws.
#[derive(Debug, Default)]
pub(super) struct Histories {
    pub(super) searches: History,
    pub(super) p99: History,
    pub(super) ingest: History,
    pub(super) backlog: History,
    pub(super) memory: History,
    pub(super) disk: History,
}

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct Dashboard {
    pub(super) server: String,
    pub(super) pane: Pane,
    pub(super) stats: Option<Box<Stats>>,
    pub(super) lost: Option<Lost>,
    pub(super) histories: Histories,
    pub(super) lines: VecDeque<LogLine>,
    pub(super) log_refused: Option<String>,
    pub(super) dialog: Option<Dialog>,
    pub(super) notice: Option<Notice>,
    pub(super) has_ended: bool,
    /// How many rows a list is scrolled: the log up from its end, others down from their start.
    pub(super) scrolled: usize,
    chosen: Option<String>,
    /// The next rates are of a second and not of all the time since the server started.
    rates_are_new: bool,
}

impl Dashboard {
    pub(super) fn new(server: &str) -> Self {
        Self {
            server: server.to_owned(),
            pane: Pane::Overview,
            stats: None,
            lost: None,
            histories: Histories::default(),
            lines: VecDeque::new(),
            log_refused: None,
            dialog: None,
            notice: None,
            has_ended: false,
            scrolled: 0,
            chosen: None,
            rates_are_new: false,
        }
    }

    /// Takes news in; returns what is to be done.
    pub(super) fn handle(&mut self, message: Message) -> Option<Effect> {
        match message {
            Message::Key(key) => return self.press(key),
            Message::Resized => {}
            Message::Stats(stats) => self.learn(stats),
            Message::Line(line) => self.add(line),
            Message::Lost { at_ms, why } => {
                self.rates_are_new = false;
                // Since when it is so does not change with every attempt.
                let at_ms = self.lost.as_ref().map_or(at_ms, |lost| lost.at_ms);
                self.lost = Some(Lost { at_ms, why });
            }
            Message::LogRefused(why) => self.log_refused = Some(why),
            Message::Done(Ok(what)) => self.notice = Some(Notice::Done(what)),
            Message::Done(Err(why)) => self.notice = Some(Notice::Failed(why)),
        }
        None
    }

    fn learn(&mut self, stats: Box<Stats>) {
        if self.rates_are_new {
            self.histories.searches.push(stats.searches_per_second);
            self.histories.p99.push(stats.search_p99_ms);
            self.histories.ingest.push(stats.points_written_per_second);
        }
        self.rates_are_new = true;
        self.histories.backlog.push(backlog(&stats) as f64);
        self.histories.memory.push(stats.resident_bytes as f64);
        self.histories.disk.push(stats.disk_bytes as f64);
        self.lost = None;
        self.stats = Some(stats);
        self.scrolled = self.scrolled.min(self.most_scrolled());
    }

    fn add(&mut self, line: LogLine) {
        self.log_refused = None;
        // A stream begins with lines that the one before may have had.
        if self.lines.contains(&line) {
            return;
        }
        if self.lines.len() == MOST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
        if self.pane == Pane::Log && self.scrolled > 0 {
            // Who reads what was is not pushed on.
            self.scrolled = (self.scrolled + 1).min(self.most_scrolled());
        }
    }

    /// The collections, by name.
    pub(super) fn collections(&self) -> &[CollectionStats] {
        self.stats.as_ref().map_or(&[], |stats| &stats.collections)
    }

    /// Which collection is chosen: the first one until one is, and again when that is gone.
    pub(super) fn chosen_row(&self) -> Option<usize> {
        let collections = self.collections();
        let at = collections.iter().position(|collection| Some(&collection.name) == self.chosen.as_ref());
        at.or((!collections.is_empty()).then_some(0))
    }

    /// The collection that is chosen.
    pub(super) fn chosen(&self) -> Option<&CollectionStats> {
        self.collections().get(self.chosen_row()?)
    }

    pub(super) fn choose(&mut self, row: usize) {
        let name = self.collections().get(row).map(|collection| collection.name.clone());
        if name.is_some() {
            (self.chosen, self.scrolled) = (name, 0);
        }
    }

    /// How far the list of the pane can be scrolled.
    pub(super) fn most_scrolled(&self) -> usize {
        let rows = match self.pane {
            Pane::Log => self.lines.len(),
            Pane::Segments => self.chosen().map_or(0, |collection| collection.sealed.len()),
            Pane::Tenants => self.stats.as_ref().map_or(0, |stats| stats.tenants.len()),
            Pane::Replication => {
                let replication = self.stats.as_ref().and_then(|stats| stats.replication.as_ref());
                replication.map_or(0, |replication| replication.followers.len())
            }
            Pane::Overview | Pane::Collections => 0,
        };
        rows.saturating_sub(1)
    }
}

/// Points that wait for a graph, in all collections.
pub(super) fn backlog(stats: &Stats) -> u64 {
    stats.collections.iter().map(|collection| collection.pending).sum()
}
