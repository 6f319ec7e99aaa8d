//! What one hand of a crew does: it looks at the graph as it is, and notes what is to be written. `build.rs` writes it.
//!
//! Whichever worker takes a node, its note is the same.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

use fearless_simd::Simd;

use super::beam::Met;
use super::crew::Crew;
use super::lists::Lists;
use super::params::HnswParams;
use super::pool::Pool;
use super::search::Walk;
use super::select::Selection;
use crate::metric::{ProbeRoom, Rows};
use crate::sort::sort;

/// Memory of one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    pub(super) walk: Walk,
    pool: Pool,
    pub(super) found: Vec<Met>,
    pub(super) selection: Selection,
    room: ProbeRoom,
    pub(super) notes: Notes,
}

/// For some nodes, one after the other, a list of others.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    /// The node, the level, and where its list ends.
    heads: Vec<(u32, u8, usize)>,
    lists: Vec<Met>,
}

impl Notes {
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.lists.clear();
    }

    pub(super) fn add(&mut self, node: u32, level: u8, list: &[Met]) {
        self.lists.extend_from_slice(list);
        self.heads.push((node, level, self.lists.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u8, &[Met])> {
        let mut start = 0;
        self.heads.iter().map(move |&(node, level, end)| {
            let list = &self.lists[start..end];
            start = end;
            (node, level, list)
        })
    }
}

/// A link back that its list had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Overflow {
    pub(super) level: u8,
    pub(super) node: u32,
    pub(super) link: Met,
}

/// Takes what nobody took, one place after the other.
pub(super) fn claims(next: &AtomicUsize, count: usize) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&place| place < count))
}

impl Worker {
    /// Finds the links of a batch's nodes, on each level that the graph had without them.
    #[inline(always)]
    pub(super) fn find_links<C: Crew, S: Simd, R: Rows>(
        &mut self,
        simd: S,
        rows: &R,
        (params, lists): (&HnswParams, &Lists),
        batch: &[u32],
        next: &AtomicUsize,
    ) {
        for place in claims(next, batch.len()) {
            self.find_links_of::<C, S, R>(simd, rows, (params, lists), batch[place], &batch[..place]);
        }
    }

    #[inline(always)]
    fn find_links_of<C: Crew, S: Simd, R: Rows>(
        &mut self,
        simd: S,
        rows: &R,
        (params, lists): (&HnswParams, &Lists),
        node: u32,
        before: &[u32],
    ) {
        let Self { walk, pool, found, selection, room, notes } = self;
        let (view, ef) = (lists.graph.view(), params.ef_construction as usize);
        let probe = rows.stored(node, room);
        let highest = lists.graph.levels[node as usize].min(lists.graph.top);
        found.clear();
        found.push(walk.descend(simd, &view, rows, probe, highest));
        for level in (0..=highest).rev() {
            // One more than asked: a node that is linked again finds itself.
            walk.start(view.len(), ef + 1, found.iter().copied(), pool);
            walk.search_level(simd, &view, rows, probe, level, pool);
            found.clear();
            found.extend(pool.results());
            if C::BATCH > 1 {
                // No link leads to them yet. From the next level's search they would keep what leads on.
                let on_level = |&&node: &&u32| lists.graph.levels[node as usize] >= level;
                walk.meet(simd, rows, probe, before.iter().filter(on_level), pool);
            }
            let candidates = &mut selection.candidates;
            candidates.clear();
            candidates.extend(pool.results().filter(|met| met.offset() != node));
            let (links, _) = lists.list(node, level);
            if !links.is_empty() {
                let mut keys = alloc::vec![0.0; links.len()];
                rows.score_offsets(simd, probe, links, &mut keys);
                candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
                sort(candidates);
                candidates.dedup_by_key(|met| met.offset());
            }
            selection.choose(simd, rows, params.m as usize, if level == 0 { params.fill_new() } else { 0 });
            notes.add(node, level, &selection.chosen);
        }
    }

    /// Cuts lists that have no room for all their links, which are sorted: a list keeps its most diverse ones.
    #[inline(always)]
    pub(super) fn cut_lists<S: Simd, R: Rows>(
        &mut self,
        simd: S,
        rows: &R,
        (params, lists): (&HnswParams, &Lists),
        overflow: &[Overflow],
        next: &AtomicUsize,
    ) {
        let list_of = |place: usize| (overflow[place].level, overflow[place].node);
        for place in claims(next, overflow.len()) {
            let (level, node) = list_of(place);
            // Whoever takes the first of a list's links takes all of them.
            if place > 0 && list_of(place - 1) == (level, node) {
                continue;
            }
            let Self { selection, room, notes, .. } = self;
            let candidates = &mut selection.candidates;
            candidates.clear();
            let (links, keys) = lists.list(node, level);
            if keys.iter().any(|key| key.is_nan()) {
                let mut keys = alloc::vec![0.0; links.len()];
                rows.score_offsets(simd, rows.stored(node, room), links, &mut keys);
                candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
            } else {
                candidates.extend(keys.iter().zip(links).map(|(&key, &link)| Met::new(key, link)));
            }
            let its = (place..overflow.len()).take_while(|&place| list_of(place) == (level, node));
            candidates.extend(its.map(|place| overflow[place].link));
            sort(candidates);
            let (least, most) = if level == 0 { params.cut() } else { (0, params.m as usize) };
            selection.choose(simd, rows, most, least);
            notes.add(node, level, &selection.chosen);
        }
    }

    /// Searches level 0 near a stored row, as a user's search would; leaves the answer in `found` and returns the key
    /// that the row itself has.
    #[inline(always)]
    pub(super) fn search_near<S: Simd, R: Rows>(
        &mut self,
        simd: S,
        rows: &R,
        lists: &Lists,
        node: u32,
        ef: usize,
    ) -> f32 {
        let Self { walk, pool, found, room, .. } = self;
        let view = lists.graph.view();
        let probe = rows.stored(node, room);
        let nearest = walk.descend(simd, &view, rows, probe, 0);
        walk.start(view.len(), ef, core::iter::once(nearest), pool);
        walk.search_level(simd, &view, rows, probe, 0, pool);
        found.clear();
        found.extend(pool.results());
        let mut own = [0.0];
        rows.score_offsets(simd, probe, &[node], &mut own);
        own[0]
    }
}
