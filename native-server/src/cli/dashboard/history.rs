//! The last values of a figure, one a message.

use std::collections::VecDeque;

/// Values that are kept: more than any terminal has columns.
const MOST: usize = 512;

/// A ring of values.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<f64>);

impl History {
    /// Adds the newest value.
    pub(super) fn push(&mut self, value: f64) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The newest values, at most so many, oldest first.
    pub(super) fn newest(&self, most: usize) -> impl Iterator<Item = f64> {
        self.0.iter().skip(self.0.len().saturating_sub(most)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_values_make_room() {
        let mut history = History::default();
        (0..MOST + 2).for_each(|value| history.push(value as f64));
        assert_eq!(history.newest(usize::MAX).next(), Some(2.0));
        assert_eq!(history.newest(2).collect::<Vec<_>>(), [MOST as f64, (MOST + 1) as f64]);
        assert_eq!(history.newest(0).count(), 0);
    }
}
