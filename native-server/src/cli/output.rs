//! How answers look: one JSON document, or text for a person.
//!
//! Answers go to standard output, remarks to standard error. Knows nothing of what the answers are about.

use std::io::{BufRead, Write};
use std::time::Duration;

use hyperspace_core::error::Error;
use serde_json::{Value, json};

use super::failure::Outcome;

/// The three streams of the process, and what is known about them.
pub(crate) struct Console<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) err: &'a mut dyn Write,
    pub(crate) input: &'a mut dyn BufRead,
    /// Which of them a person sits at.
    pub(crate) terminals: Terminals,
    /// Whether answers are read by a machine.
    pub(crate) json: bool,
}

/// Which streams are terminals.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminals {
    pub(crate) out: bool,
    pub(crate) err: bool,
    pub(crate) input: bool,
}

impl Console<'_> {
    /// Prints the answer in the form that was asked for.
    pub(crate) fn answer(&mut self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Outcome<()> {
        let answer = if self.json { json().to_string() } else { text() };
        writeln!(self.out, "{answer}")?;
        Ok(self.out.flush()?)
    }

    /// Tells a person something that is not part of the answer. Whether it arrives does not matter.
    pub(crate) fn remark(&mut self, text: &str) {
        if !self.json {
            let _ = writeln!(self.err, "{text}");
        }
    }

    /// Tells the error that ends the process.
    pub(crate) fn complain(&mut self, error: &Error) {
        let line = if self.json {
            json!({ "error": { "code": error.kind().code(), "message": error.message() } }).to_string()
        } else {
            format!("hyperspace-cli: {error}")
        };
        let _ = writeln!(self.err, "{line}");
    }

    /// Asks a person; everything but `y` and `yes` is a no.
    pub(crate) fn confirm(&mut self, question: &str) -> Outcome<bool> {
        write!(self.err, "{question} [y/N] ")?;
        self.err.flush()?;
        let mut answer = String::new();
        self.input.read_line(&mut answer)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
    }
}

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
}

/// Rows under a heading, each column as wide as its widest cell.
pub(crate) struct Table {
    sides: Vec<Side>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(columns: &[(&str, Side)]) -> Self {
        let heading = columns.iter().map(|(name, _)| (*name).to_string()).collect();
        Self { sides: columns.iter().map(|(_, side)| *side).collect(), rows: vec![heading] }
    }

    /// Adds a row, which has a cell for every column.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<_> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.sides.len(), "a row has a cell for every column");
        self.rows.push(cells);
    }

    /// The lines, without a line break at the end.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&self.sides).zip(&widths).map(|((cell, side), &width)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
        };
        self.rows.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A whole number in groups of three: `50 000`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A size in binary units: `3.4 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut size = number as f64 / 1024.0;
    let mut units = UNITS.into_iter();
    let mut unit = units.next();
    // What would be printed as 1024.0 belongs to the next unit.
    while size >= 1023.95 {
        let Some(larger) = units.next() else { break };
        (size, unit) = (size / 1024.0, Some(larger));
    }
    format!("{size:.1} {}", unit.unwrap_or_default())
}

/// A time with as many digits as matter: `2.3 ms`, `1.10 s`, `3 min 12 s`, `2 h 05 min`, `4 d 03 h`.
pub(crate) fn duration(time: Duration) -> String {
    let whole = time.as_secs();
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    match whole {
        0 => format!("{:.1} ms", time.as_secs_f64() * 1e3),
        1..10 => format!("{:.2} s", time.as_secs_f64()),
        10..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{minutes} min {:02} s", whole % 60),
        3600..86_400 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

/// How often a second: `8 130/s`, `1.5/s`.
pub(crate) fn rate(number: u64, time: Duration) -> String {
    per_second(number as f64 / time.as_secs_f64().max(1e-3))
}

/// The same for a rate that is known.
#[expect(clippy::cast_sign_loss, reason = "a rate is not negative")]
pub(crate) fn per_second(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}/s") } else { format!("{}/s", count(rate.round() as u64)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_in_groups_of_three() {
        let cases = [(0, "0"), (999, "999"), (1000, "1 000"), (50_000, "50 000"), (1_234_567, "1 234 567")];
        for (number, expected) in cases {
            assert_eq!(count(number), expected);
        }
        assert_eq!(count(u64::MAX).replace(' ', ""), u64::MAX.to_string());
    }

    #[test]
    fn sizes_never_show_more_than_1023_of_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1024 * 1024 - 1, "1.0 MiB"),
            (4 << 20, "4.0 MiB"),
            (3 << 30, "3.0 GiB"),
            (5 << 40, "5.0 TiB"),
            (5 << 50, "5120.0 TiB"),
        ];
        for (number, expected) in cases {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn times_have_as_many_digits_as_matter() {
        let cases = [
            (0, "0.0 ms"),
            (412, "412.0 ms"),
            (1096, "1.10 s"),
            (12_345, "12.3 s"),
            (60_000, "1 min 00 s"),
            (192_000, "3 min 12 s"),
            (7_500_000, "2 h 05 min"),
            (356_400_000, "4 d 03 h"),
        ];
        for (milliseconds, expected) in cases {
            assert_eq!(duration(Duration::from_millis(milliseconds)), expected);
        }
    }

    #[test]
    fn rates_survive_a_time_of_zero() {
        assert_eq!(rate(0, Duration::ZERO), "0.0/s");
        assert_eq!(rate(5, Duration::ZERO), "5 000/s");
        assert_eq!(rate(3, Duration::from_secs(2)), "1.5/s");
        assert_eq!(rate(16_260, Duration::from_secs(2)), "8 130/s");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("name", Side::Left), ("points", Side::Right)]);
        table.row(["a".to_string(), "5".to_string()]);
        table.row(["größer".to_string(), "50 000".to_string()]);
        assert_eq!(table.render(), "name    points\na            5\ngrößer  50 000");
    }
}
