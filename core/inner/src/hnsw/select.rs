//! Which of many near nodes to link (Malkov & Yashunin, 2018, algorithm 4).
//!
//! A candidate is taken when no node taken before is as near to it as the node whose links are chosen: links then point
//! into different directions. Both keys hold the factors of both ends, so the comparison is one of distances.
//!
//! The paper asks each candidate about all nodes taken; here each node that is taken is scored against all candidates
//! still open, as one batch. Both look at the same pairs, but for those past the last one taken.

use alloc::vec::Vec;

use fearless_simd::Simd;

use super::beam::Met;
use crate::metric::{Batch, ProbeRoom, Rows};
use crate::sort::sort;

#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    /// What is chosen from, ascending; the caller fills it.
    pub(super) candidates: Vec<Met>,
    /// What was chosen: the diverse ones ascending, then the rest ascending.
    pub(super) chosen: Vec<Met>,
    open: Vec<Met>,
    dominated: Vec<Met>,
    batch: Batch,
    room: ProbeRoom,
    pub(super) distances: u64,
}

impl Selection {
    /// Chooses at most `limit` diverse candidates, then adds the nearest of the others up to `fill`.
    ///
    /// Never inlined, as walks.
    #[inline(never)]
    pub(super) fn choose<S: Simd, R: Rows>(&mut self, simd: S, rows: &R, limit: usize, fill: usize) {
        simd.vectorize(
            #[inline(always)]
            || {
                let Self { candidates, chosen, open, dominated, batch, room, distances } = self;
                chosen.clear();
                dominated.clear();
                open.clear();
                open.extend_from_slice(candidates);
                while !open.is_empty() && chosen.len() < limit {
                    let taken = open.remove(0);
                    chosen.push(taken);
                    if open.is_empty() || chosen.len() == limit {
                        break;
                    }
                    batch.clear();
                    batch.offsets.extend(open.iter().map(|met| met.offset()));
                    batch.score(simd, rows, rows.stored(taken.offset(), room));
                    *distances += batch.offsets.len() as u64;
                    let mut keys = batch.keys.iter();
                    open.retain(|&met| {
                        let keep = keys.next().is_some_and(|&between| between > met.key());
                        if !keep {
                            dominated.push(met);
                        }
                        keep
                    });
                }
                if chosen.len() < fill {
                    dominated.append(open);
                    sort(dominated);
                    chosen.extend(dominated.iter().take(fill - chosen.len()));
                }
            },
        );
    }
}
