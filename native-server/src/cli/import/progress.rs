//! What a person sees while an import runs: a bar on a terminal, a line now and then elsewhere, nothing beside JSON.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::send::Acknowledged;
use crate::cli::output::{Console, bytes, count, duration, rate};

/// How often a line is written where there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

const ROWS: &str = "{wide_bar} {percent:>3}%  {msg}  {binary_bytes} of {binary_total_bytes}  {eta} left";
const INDEXING: &str = "{spinner} {msg}";

/// How far an import is.
pub(super) struct Progress {
    form: Form,
    start: Instant,
    rows: u64,
    bytes: u64,
    position: u64,
    length: u64,
}

enum Form {
    Bar(ProgressBar),
    Lines { last: Instant },
    Silent,
}

impl Progress {
    /// Begins at `position` of a file of `length` bytes.
    pub(super) fn new(console: &Console<'_>, position: u64, length: u64) -> Self {
        let form = if console.json {
            Form::Silent
        } else if console.terminals.err {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            bar.set_style(style(ROWS));
            bar.set_position(position);
            // Otherwise the rows of an earlier import would count as speed.
            bar.reset_eta();
            Form::Bar(bar)
        } else {
            Form::Lines { last: Instant::now() }
        };
        Self { form, start: Instant::now(), rows: 0, bytes: 0, position, length }
    }

    /// Counts a batch.
    pub(super) fn add(&mut self, batch: &Acknowledged, console: &mut Console<'_>) {
        self.rows += batch.rows.end - batch.rows.start;
        self.bytes += batch.bytes;
        self.position = self.position.max(batch.position);
        let text = || format!("{} rows  {}", count(self.rows), rate(self.rows, self.start.elapsed()));
        match &mut self.form {
            Form::Bar(bar) => {
                bar.set_message(text());
                bar.set_position(self.position);
            }
            Form::Lines { last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                console.remark(&format!("{}  {} of {}", text(), bytes(self.position), bytes(self.length)));
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }

    /// Rows acknowledged since the beginning.
    pub(super) const fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of the messages that were acknowledged.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// How far the server's indexing is.
pub(super) struct Indexing {
    form: Form,
    start: Instant,
}

impl Indexing {
    pub(super) fn new(console: &Console<'_>) -> Self {
        let form = if console.json {
            Form::Silent
        } else if console.terminals.err {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            spinner.set_style(style(INDEXING));
            Form::Bar(spinner)
        } else {
            Form::Lines { last: Instant::now() }
        };
        Self { form, start: Instant::now() }
    }

    /// Says how many points wait for a graph.
    pub(super) fn tell(&mut self, pending: u64, console: &mut Console<'_>) {
        let text = || format!("indexing: {} points wait, {}", count(pending), duration(self.start.elapsed()));
        match &mut self.form {
            Form::Bar(spinner) => {
                spinner.set_message(text());
                spinner.tick();
            }
            Form::Lines { last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                console.remark(&text());
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    /// Takes the spinner away and answers how long it took.
    pub(super) fn end(&self) -> Duration {
        if let Form::Bar(spinner) = &self.form {
            spinner.finish_and_clear();
        }
        self.start.elapsed()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}
