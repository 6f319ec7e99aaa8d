//! What a person sees while an import runs: a bar on a terminal, a line now and then elsewhere, nothing beside JSON.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::send::Acknowledged;
use crate::cli::output::{Console, bytes, count, rate};

/// How often a line is written where there is no bar.
const BETWEEN_LINES: Duration = Duration::from_secs(5);

const ROWS: &str = "{wide_bar} {percent:>3}%  {msg}  {binary_bytes} of {binary_total_bytes}  {eta} left";
const SPINNER: &str = "{spinner} {msg}";

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
    /// Begins a file of `length` bytes.
    pub(super) fn new(console: &Console<'_>, length: u64) -> Self {
        let form = if console.json {
            Form::Silent
        } else if console.terminals.err {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
            bar.set_style(style(ROWS));
            Form::Bar(bar)
        } else {
            Form::Lines { last: Instant::now() }
        };
        Self { form, start: Instant::now(), rows: 0, bytes: 0, position: 0, length }
    }

    /// Passes over what is not sent.
    pub(super) fn begin_at(&mut self, position: u64) {
        self.position = self.position.max(position);
        if let Form::Bar(bar) = &self.form {
            bar.set_position(self.position);
            // Otherwise the rows of an earlier import would count as speed.
            bar.reset_eta();
        }
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

/// Work of which the end is not known: a spinner, or a line now and then.
pub(crate) struct Spinner {
    form: Form,
    start: Instant,
}

impl Spinner {
    pub(crate) fn new(console: &Console<'_>) -> Self {
        let form = if console.json {
            Form::Silent
        } else if console.terminals.err {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            spinner.set_style(style(SPINNER));
            Form::Bar(spinner)
        } else {
            Form::Lines { last: Instant::now() }
        };
        Self { form, start: Instant::now() }
    }

    /// Says how far it is; the text is given the time since the beginning.
    pub(crate) fn tell(&mut self, text: impl FnOnce(Duration) -> String, console: &mut Console<'_>) {
        match &mut self.form {
            Form::Bar(spinner) => {
                spinner.set_message(text(self.start.elapsed()));
                spinner.tick();
            }
            Form::Lines { last } if last.elapsed() >= BETWEEN_LINES => {
                *last = Instant::now();
                console.remark(&text(self.start.elapsed()));
            }
            Form::Lines { .. } | Form::Silent => {}
        }
    }

    /// Takes the spinner away and answers how long it took.
    pub(crate) fn end(&self) -> Duration {
        if let Form::Bar(spinner) = &self.form {
            spinner.finish_and_clear();
        }
        self.start.elapsed()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}
