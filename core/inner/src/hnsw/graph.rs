//! The graph as plain arrays: owned while it is built, borrowed when it is searched.
//!
//! ```text
//! levels    [n]           the highest level of each node
//! links0    [n * m0]      links of level 0; a list ends at NONE or at its last slot
//! upper_at  [n]           where a node's upper lists start: the sum of levels[i] * m of the nodes before it
//! upper     [sum]         links of level l >= 1 of node i at upper_at[i] + (l - 1) * m, m slots
//! ```

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use crate::error::{Error, Result};

/// The empty slot of a list, and the entry point of an empty graph.
pub const NONE: u32 = u32::MAX;
/// Nodes of one graph: an offset and a flag share 32 bits in a search.
pub(super) const MAX_NODES: usize = 1 << 31;
/// The highest level that is ever drawn.
pub(super) const MAX_LEVEL: u8 = 30;

/// A graph that owns its arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Slots of a list on every level above 0.
    pub m: u32,
    /// Slots of a list on level 0.
    pub m0: u32,
    /// The highest level of each node.
    pub levels: Vec<u8>,
    /// The lists of level 0.
    pub links0: Vec<u32>,
    /// Where each node's upper lists start.
    pub upper_at: Vec<u32>,
    /// The lists of the levels above 0.
    pub upper: Vec<u32>,
    /// Where every search starts; [`NONE`] when there is no node.
    pub entry: u32,
    /// The entry point's level: no node has a higher one.
    pub top: u8,
}

/// The arrays of a graph, borrowed; what a segment stores.
#[derive(Clone, Copy, Debug)]
pub struct GraphParts<'a> {
    /// Slots of a list on every level above 0.
    pub m: u32,
    /// Slots of a list on level 0.
    pub m0: u32,
    /// The highest level of each node.
    pub levels: &'a [u8],
    /// The lists of level 0.
    pub links0: &'a [u32],
    /// Where each node's upper lists start.
    pub upper_at: &'a [u32],
    /// The lists of the levels above 0.
    pub upper: &'a [u32],
    /// Where every search starts; [`NONE`] when there is no node.
    pub entry: u32,
    /// The entry point's level.
    pub top: u8,
}

/// A graph whose structure was checked, over borrowed arrays: following its links never leaves them.
#[derive(Clone, Copy, Debug)]
pub struct GraphView<'a>(GraphParts<'a>);

impl Graph {
    /// A graph without nodes.
    pub fn new(m: u32, m0: u32) -> Self {
        let (levels, links0, upper_at, upper) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { m, m0, levels, links0, upper_at, upper, entry: NONE, top: 0 }
    }

    /// A graph of so many nodes without a link.
    pub fn unlinked(m: u32, m0: u32, nodes: u32) -> Self {
        let mut graph = Self::new(m, m0);
        (0..nodes).for_each(|_| graph.push(0));
        graph.elect_entry();
        graph
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// The graph, borrowed for searching.
    pub fn view(&self) -> GraphView<'_> {
        GraphView(GraphParts {
            m: self.m,
            m0: self.m0,
            levels: &self.levels,
            links0: &self.links0,
            upper_at: &self.upper_at,
            upper: &self.upper,
            entry: self.entry,
            top: self.top,
        })
    }

    /// Where the list of a node on a level lies in `links0` (level 0) or `upper`.
    pub(super) fn slots(&self, node: u32, level: u8) -> core::ops::Range<usize> {
        slots(self.m, self.m0, &self.upper_at, node, level)
    }

    /// Appends a node without links.
    pub(super) fn push(&mut self, level: u8) {
        self.levels.push(level);
        self.links0.resize(self.links0.len() + self.m0 as usize, NONE);
        self.upper_at.push(self.upper.len() as u32);
        self.upper.resize(self.upper.len() + usize::from(level) * self.m as usize, NONE);
    }

    /// Copies the nodes that `keep` accepts, renumbered by their rank among the kept, and lists those that lost a link.
    ///
    /// Links to dropped nodes disappear and leave no gap. When the entry point is dropped, the first node of the
    /// highest level takes its place.
    ///
    /// # Panics
    /// Never: kept lists have as many slots as those they come from.
    pub fn retain(view: &GraphView<'_>, mut keep: impl FnMut(u32) -> bool) -> (Self, Vec<u32>) {
        let old = view.0;
        let mut graph = Self::new(old.m, old.m0);
        let mut rank = vec![NONE; view.len()];
        for node in 0..view.len() as u32 {
            if keep(node) {
                rank[node as usize] = graph.len() as u32;
                graph.push(old.levels[node as usize]);
            }
        }
        let mut damaged = Vec::new();
        for node in (0..view.len() as u32).filter(|&node| rank[node as usize] != NONE) {
            let new = rank[node as usize];
            let mut lost = false;
            for level in 0..=old.levels[node as usize] {
                let mut to = graph.slots(new, level);
                let lists = if level == 0 { &mut graph.links0 } else { &mut graph.upper };
                for &link in view.links(node, level) {
                    match rank[link as usize] {
                        NONE => lost = true,
                        kept => lists[to.next().expect("both lists have the same slots")] = kept,
                    }
                }
            }
            if lost {
                damaged.push(new);
            }
        }
        graph.entry = rank.get(old.entry as usize).copied().unwrap_or(NONE);
        if graph.entry == NONE {
            graph.elect_entry();
        } else {
            graph.top = old.top;
        }
        (graph, damaged)
    }

    fn elect_entry(&mut self) {
        let best = self.levels.iter().enumerate().max_by_key(|&(at, &level)| (level, core::cmp::Reverse(at)));
        (self.entry, self.top) = best.map_or((NONE, 0), |(at, &level)| (at as u32, level));
    }
}

impl<'a> GraphView<'a> {
    /// Takes arrays whose structure [`GraphView::new`] accepted before, or that this engine built and whose checksums
    /// hold. Searching others may panic; it reads nothing outside them.
    pub const fn trusted(parts: GraphParts<'a>) -> Self {
        Self(parts)
    }

    /// Checks arrays of unknown origin.
    ///
    /// # Errors
    /// `Corrupted` when lengths, levels, starts, links or the entry point contradict each other.
    pub fn new(parts: GraphParts<'a>) -> Result<Self> {
        let n = parts.levels.len();
        let (m, m0) = (parts.m as usize, parts.m0 as usize);
        ensure(m >= 1 && m0 >= 1 && n <= MAX_NODES, || format!("graph of {n} nodes with m = {m}, m0 = {m0}"))?;
        ensure(n.checked_mul(m0) == Some(parts.links0.len()), || {
            format!("graph of {n} nodes has {} slots on level 0, expected {m0} each", parts.links0.len())
        })?;
        ensure(parts.upper_at.len() == n, || format!("graph of {n} nodes has {} starts", parts.upper_at.len()))?;
        let mut at = 0_usize;
        for (node, (&level, &start)) in parts.levels.iter().zip(parts.upper_at).enumerate() {
            ensure(level <= MAX_LEVEL, || format!("node {node} is on level {level}, the highest is {MAX_LEVEL}"))?;
            ensure(start as usize == at, || format!("lists of node {node} start at {start}, expected {at}"))?;
            at = at.checked_add(usize::from(level) * m).ok_or_else(|| Error::corrupted("graph is too large"))?;
        }
        ensure(parts.upper.len() == at, || format!("graph has {} upper slots, expected {at}", parts.upper.len()))?;
        let view = Self(parts);
        view.check_entry()?;
        view.check_links()?;
        Ok(view)
    }

    fn check_entry(&self) -> Result<()> {
        let parts = &self.0;
        let highest = parts.levels.iter().copied().max().unwrap_or(0);
        let entry_level = parts.levels.get(parts.entry as usize).copied();
        let fits = if self.is_empty() { parts.entry == NONE && parts.top == 0 } else { entry_level == Some(highest) };
        ensure(fits && parts.top == highest, || {
            format!("entry point {} with top {} does not match the highest level {highest}", parts.entry, parts.top)
        })
    }

    fn check_links(&self) -> Result<()> {
        let n = self.len() as u32;
        for node in 0..n {
            for level in 0..=self.0.levels[node as usize] {
                let slots = self.slots(node, level);
                let links = self.links(node, level);
                let known = |&link: &u32| link < n && link != node && self.0.levels[link as usize] >= level;
                if let Some(link) = links.iter().find(|link| !known(link)) {
                    return Err(Error::corrupted(format!(
                        "node {node} links to {link} on level {level}, which is not another node of that level"
                    )));
                }
                ensure(slots[links.len()..].iter().all(|&slot| slot == NONE), || {
                    format!("node {node} has a gap in its links on level {level}")
                })?;
            }
        }
        Ok(())
    }

    /// The arrays.
    pub fn parts(&self) -> GraphParts<'a> {
        self.0
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.0.levels.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.0.levels.is_empty()
    }

    /// The links of a node on a level that it has.
    ///
    /// # Panics
    /// When there is no such node.
    #[inline(always)]
    pub fn links(&self, node: u32, level: u8) -> &'a [u32] {
        let slots = self.slots(node, level);
        &slots[..used(slots)]
    }

    /// Asks for the list of a node on level 0 before it is needed.
    #[inline(always)]
    pub(super) fn prefetch(&self, node: u32) {
        let start = node as usize * self.0.m0 as usize;
        crate::kernel::prefetch(self.0.links0, start);
        crate::kernel::prefetch(self.0.links0, start + 16);
    }

    #[inline(always)]
    fn slots(&self, node: u32, level: u8) -> &'a [u32] {
        let parts = &self.0;
        let range = slots(parts.m, parts.m0, parts.upper_at, node, level);
        if level == 0 { &parts.links0[range] } else { &parts.upper[range] }
    }

    /// The nodes that a walk over level 0 from the entry point does not meet: none in a finished graph.
    pub fn unreachable(&self) -> Vec<u32> {
        let mut reached = vec![false; self.len()];
        let mut open = Vec::new();
        if !self.is_empty() {
            reached[self.0.entry as usize] = true;
            open.push(self.0.entry);
        }
        while let Some(node) = open.pop() {
            for &link in self.links(node, 0) {
                if !core::mem::replace(&mut reached[link as usize], true) {
                    open.push(link);
                }
            }
        }
        (0..self.len() as u32).filter(|&node| !reached[node as usize]).collect()
    }
}

#[inline(always)]
fn slots(m: u32, m0: u32, upper_at: &[u32], node: u32, level: u8) -> core::ops::Range<usize> {
    if level == 0 {
        let start = node as usize * m0 as usize;
        return start..start + m0 as usize;
    }
    let start = upper_at[node as usize] as usize + (usize::from(level) - 1) * m as usize;
    start..start + m as usize
}

/// How many slots of a list are used: those before the first empty one. Every step of a search asks, so this is a loop in
/// its place; `position` is a call where the compiler optimises for size.
#[inline(always)]
pub(super) fn used(slots: &[u32]) -> usize {
    let mut used = 0;
    while used < slots.len() && slots[used] != NONE {
        used += 1;
    }
    used
}

fn ensure(holds: bool, message: impl FnOnce() -> alloc::string::String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::corrupted(message())) }
}
