//! Going through all live points, page by page, while writes, seals and merges go on.
//!
//! Pages follow the order of [`IdKey`], which depends on nothing but the id: a point that is live throughout is met
//! exactly once, wherever it is when its turn comes. A page is a merge of runs (Knuth, TAOCP 3, 5.4.1): the sorted keys
//! of each segment, and the rows of the memtable, whose order a heap finds as far as it is needed. It costs about its
//! points times the logarithm of the runs, and one look at each row of the memtable.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::filter::Filter;
use crate::types::{IdKey, Offset};

use super::snapshot::{Place, Point, Snapshot};

/// Points that one page evaluates its filter for at most, unless more are asked for: a page takes a bounded time,
/// however few points match.
const MAX_EXAMINED: usize = 10_000;

/// Some live points in the order of their keys.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollPage {
    /// Those of the examined points that match; there may be none although more follow.
    pub points: Vec<Point>,
    /// Where the next page begins: behind the last point that was examined. `None` when the end is reached.
    pub next: Option<IdKey>,
}

/// The first point of a run that has not been taken; `rank` is its place among the sorted keys of its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Head {
    Sealed { segment: u32, rank: u32 },
    Memtable { block: u32, at: u32 },
}

impl Snapshot {
    /// Gives up to `limit` (at least 1) live points that match, in the order of their keys, from behind `after` on.
    pub fn scroll(&self, after: Option<IdKey>, limit: usize, filter: &Filter) -> ScrollPage {
        let mut heads: BinaryHeap<Reverse<(IdKey, Head)>> = self.memtable_heads(after).collect();
        heads.extend((0..self.segments.len()).filter_map(|segment| {
            let (keys, _) = self.segments[segment].segment.keys();
            let behind = keys.partition_point(|key| after.is_some_and(|after| *key <= after));
            self.sealed_head(segment as u32, behind)
        }));
        let mut page = ScrollPage { points: Vec::new(), next: after };
        let (limit, mut examined) = (limit.max(1), 0);
        while page.points.len() < limit && examined < MAX_EXAMINED.max(limit) {
            let Some(Reverse((key, head))) = heads.pop() else { break };
            let place = match head {
                Head::Memtable { block, at } => Place::Memtable { block, at },
                Head::Sealed { segment, rank } => {
                    heads.extend(self.sealed_head(segment, rank as usize + 1));
                    let (_, offsets) = self.segments[segment as usize].segment.keys();
                    Place::Sealed { segment, offset: Offset(offsets[rank as usize]) }
                }
            };
            if filter.matches(self.metadata_at(place)) {
                page.points.push(self.point_at(place));
            }
            page.next = Some(key);
            examined += 1;
        }
        page.next = page.next.filter(|_| !heads.is_empty());
        page
    }

    fn memtable_heads(&self, after: Option<IdKey>) -> impl Iterator<Item = Reverse<(IdKey, Head)>> + '_ {
        self.blocks.iter().enumerate().flat_map(move |(number, block)| {
            let behind = block.live().filter(move |&at| after.is_none_or(|after| block.key(at) > after));
            behind.map(move |at| Reverse((block.key(at), Head::Memtable { block: number as u32, at: at as u32 })))
        })
    }

    /// The first live point of a segment from a rank on.
    fn sealed_head(&self, segment: u32, from: usize) -> Option<Reverse<(IdKey, Head)>> {
        let sealed = &self.segments[segment as usize];
        let (keys, offsets) = sealed.segment.keys();
        let rank = (from..keys.len()).find(|&rank| sealed.live.is_live(Offset(offsets[rank])))?;
        Some(Reverse((keys[rank], Head::Sealed { segment, rank: rank as u32 })))
    }
}
