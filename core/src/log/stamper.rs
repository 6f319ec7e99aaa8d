//! Hybrid logical clock (Kulkarni et al., 2014) and the writer's own counter.
//!
//! One stamper serves all collections of a database. Its invariant: no stamp is ever given twice, not even after a
//! crash that loses the last writes. The host therefore makes a reservation durable *before* the counter may pass it,
//! and continues behind the reservation after any restart.

use alloc::format;

use crate::error::{Error, Result};
use crate::types::Stamp;

/// How far the logical clock may run ahead of the host's before a write is refused: a year.
pub const MAX_CLOCK_LEAD_MS: u64 = 366 * 24 * 3600 * 1000;

/// Gives out stamps: rising, unique to one writer.
#[derive(Clone, Debug)]
pub struct Stamper {
    writer: u64,
    last_hlc: u64,
    first_cseq: u64,
    next_cseq: u64,
    reserved: u64,
}

impl Stamper {
    /// Continues a writer: `last_hlc` is at least the newest stamp that any stored row carries, and `reserved` is the
    /// newest durable reservation (0 for a new writer). Counters below it count as used; the first one is 1, so that 0 can
    /// stand for none.
    pub const fn new(writer: u64, last_hlc: u64, reserved: u64) -> Self {
        let reserved = if reserved == 0 { 1 } else { reserved };
        Self { writer, last_hlc, first_cseq: reserved, next_cseq: reserved, reserved }
    }

    /// Who writes.
    pub const fn writer(&self) -> u64 {
        self.writer
    }

    /// The first counter that it could give: those below it were given by earlier ones, or not at all.
    pub const fn first_cseq(&self) -> u64 {
        self.first_cseq
    }

    /// The counter of the next stamp.
    pub const fn next_cseq(&self) -> u64 {
        self.next_cseq
    }

    /// The newest hybrid logical time given or seen.
    pub const fn last_hlc(&self) -> u64 {
        self.last_hlc
    }

    /// The least reservation that must be made durable before `count` more stamps are given; `None` when it is high
    /// enough. A host adds what saves it from doing so for every write.
    pub fn reservation_for(&self, count: usize) -> Option<u64> {
        let needed = self.next_cseq.saturating_add(count as u64);
        (needed > self.reserved).then_some(needed)
    }

    /// Takes note that counters below `reserved` are durably reserved.
    pub fn reserve(&mut self, reserved: u64) {
        self.reserved = self.reserved.max(reserved);
    }

    /// Takes note of a stamp that came from elsewhere, so that the next local one is newer.
    pub fn observe(&mut self, stamp: Stamp) {
        self.last_hlc = self.last_hlc.max(stamp.hlc);
    }

    /// Takes note that no row is newer than this time any more: what a wrong clock stamped gets new stamps.
    pub fn turn_back(&mut self, hlc: u64) {
        self.last_hlc = self.last_hlc.min(hlc);
    }

    /// Gives the first of `count` stamps: same time, rising `cseq`.
    ///
    /// A full 16-bit counter moves to the next millisecond by plain addition.
    ///
    /// # Errors
    /// `Internal` when the host did not reserve enough; `Unavailable` when the clock of this machine stands more than
    /// a year behind the stamps that are stored.
    pub fn stamp(&mut self, now_ms: u64, count: usize) -> Result<Stamp> {
        if self.reservation_for(count).is_some() {
            return Err(Error::internal(format!(
                "{count} stamps asked for, {} reserved",
                self.reserved - self.next_cseq
            )));
        }
        let last_ms = self.last_hlc >> 16;
        if last_ms > now_ms.saturating_add(MAX_CLOCK_LEAD_MS) {
            return Err(Error::unavailable(format!(
                "the clock says {now_ms} ms, stored writes say {last_ms} ms: set the clock"
            )));
        }
        self.last_hlc = (now_ms << 16).max(self.last_hlc + 1);
        let first = Stamp { hlc: self.last_hlc, writer: self.writer, cseq: self.next_cseq };
        self.next_cseq += count as u64;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_even_when_the_clock_stands_still_or_goes_back() {
        let mut stamper = Stamper::new(7, 0, 0);
        stamper.reserve(200_000);
        let mut last = Stamp::default();
        for now in [1000, 1000, 999, 5, 1000, 1001] {
            let stamp = stamper.stamp(now, 3).unwrap();
            assert!(stamp > last, "{stamp:?} after {last:?} at {now}");
            last = Stamp { cseq: stamp.cseq + 2, ..stamp };
        }
        for _ in 0..70_000 {
            stamper.stamp(1001, 1).unwrap();
        }
        assert_eq!(stamper.last_hlc() >> 16, 1002, "65 536 writes in a millisecond move to the next one");
    }

    #[test]
    fn nothing_is_stamped_beyond_the_reservation_and_a_restart_continues_behind_it() {
        let mut stamper = Stamper::new(7, 0, 0);
        assert!(stamper.stamp(1, 1).is_err());
        assert_eq!(stamper.reservation_for(3), Some(4));
        stamper.reserve(10);
        assert_eq!((stamper.reservation_for(9), stamper.reservation_for(10)), (None, Some(11)));
        assert_eq!(stamper.stamp(1, 4).unwrap().cseq, 1);
        assert!(stamper.stamp(1, 6).is_err());
        let mut restarted = Stamper::new(7, stamper.last_hlc(), 10);
        restarted.reserve(restarted.reservation_for(1).unwrap());
        assert_eq!(restarted.stamp(1, 1).unwrap().cseq, 10);
    }

    #[test]
    fn a_clock_that_lost_years_is_refused() {
        let mut stamper = Stamper::new(7, (MAX_CLOCK_LEAD_MS + 10) << 16, 10);
        stamper.reserve(20);
        assert!(stamper.stamp(5, 1).is_err());
        assert!(stamper.stamp(11, 1).is_ok());
    }
}
