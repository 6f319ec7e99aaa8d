//! The arrays of a graph, from anywhere.

use hyperspace_core::hnsw::{Candidate, Graph, GraphParts, GraphView, NONE, SearchScratch, search};
use hyperspace_core::metric::{Metric, QueryVector, VectorSpace};

use super::decode;

/// The highest level that a mended node has.
const TOP: u8 = 3;

/// Graphs: what is accepted can be walked, searched and thinned out; and what is well formed is accepted.
pub(super) fn graph(bytes: &[u8]) -> bool {
    let Some(mut arrays) = Arrays::read(bytes) else { return false };
    let is_accepted = arrays.check();
    arrays.mend();
    assert!(arrays.check(), "a graph without fault is refused: {arrays:?}");
    is_accepted
}

#[derive(Debug)]
struct Arrays(Graph);

impl Arrays {
    /// `m u8 | m0 u8 | nodes u8 | top u8 | entry u32`, the levels, the starts, level 0, and the rest is the upper lists.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (&[m, m0, nodes, top], rest) = bytes.split_first_chunk()?;
        let (entry, rest) = rest.split_first_chunk()?;
        let (levels, rest) = rest.split_at_checked(nodes.into())?;
        let (upper_at, rest) = rest.split_at_checked(levels.len() * 4)?;
        let (links0, upper) = rest.split_at_checked(levels.len() * usize::from(m0) * 4)?;
        let numbers = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();
        Some(Self(Graph {
            m: m.into(),
            m0: m0.into(),
            levels: levels.to_vec(),
            links0: numbers(links0),
            upper_at: numbers(upper_at),
            upper: numbers(upper),
            entry: u32::from_le_bytes(*entry),
            top,
        }))
    }

    fn check(&self) -> bool {
        let Graph { m, m0, levels, links0, upper_at, upper, entry, top } = &self.0;
        let parts = GraphParts { m: *m, m0: *m0, levels, links0, upper_at, upper, entry: *entry, top: *top };
        let size = levels.len() + 4 * (links0.len() + upper_at.len() + upper.len());
        let Some(view) = decode(size, || GraphView::new(parts)) else { return false };
        assert!(view.unreachable().len() < view.len().max(1), "the entry point at least is met");
        let rows: Vec<f32> = (0..view.len()).map(|at| (at * 7 % 31) as f32).collect();
        let space = VectorSpace { metric: Metric::L2, dimension: 1, rows: &rows, terms: &[] };
        let query = QueryVector::from_f32(Metric::L2, 1, &[5.0]).expect("a number is a vector");
        let mut scratch = SearchScratch::new();
        for accept in [None, Some(&(|node: u32| node & 1 == 0) as &dyn Fn(u32) -> bool)] {
            let found = search(&view, &space, &query, 4, accept, &mut scratch);
            let in_order = |a: &Candidate, b: &Candidate| a.key.total_cmp(&b.key).then(a.offset.cmp(&b.offset)).is_lt();
            assert!(found.candidates.is_sorted_by(in_order), "{:?}", found.candidates);
            assert!(found.candidates.iter().all(|candidate| accept.is_none_or(|accept| accept(candidate.offset))));
        }
        let (kept, _) = Graph::retain(&view, |node| node % 2 == 0);
        assert!(GraphView::new(kept.view().parts()).is_ok(), "what is kept of a graph is one");
        true
    }

    /// Keeps what can be kept and puts the rest right.
    fn mend(&mut self) {
        let graph = &mut self.0;
        (graph.m, graph.m0) = (graph.m.max(1), graph.m0.max(1));
        graph.levels.iter_mut().for_each(|level| *level %= TOP + 1);
        let given = std::mem::take(&mut graph.upper);
        graph.upper_at.clear();
        for &level in &graph.levels {
            graph.upper_at.push(graph.upper.len() as u32);
            graph.upper.resize(graph.upper.len() + usize::from(level) * graph.m as usize, NONE);
        }
        graph.upper.iter_mut().zip(given).for_each(|(slot, given)| *slot = given);
        graph.links0.resize(graph.levels.len() * graph.m0 as usize, NONE);
        let levels = &graph.levels;
        for (node, list) in graph.links0.chunks_mut(graph.m0 as usize).enumerate() {
            mend_list(list, node, 0, levels);
        }
        for (node, &level) in levels.iter().enumerate() {
            for upper in 1..=level {
                let start = graph.upper_at[node] as usize + usize::from(upper - 1) * graph.m as usize;
                mend_list(&mut graph.upper[start..start + graph.m as usize], node, upper, levels);
            }
        }
        graph.top = levels.iter().copied().max().unwrap_or(0);
        let highest = levels.iter().position(|&level| level == graph.top);
        graph.entry = highest.map_or(NONE, |node| node as u32);
    }
}

/// Cuts a list where it first leads nowhere.
fn mend_list(list: &mut [u32], node: usize, level: u8, levels: &[u8]) {
    let leads = |&link: &u32| link as usize != node && levels.get(link as usize).is_some_and(|&other| other >= level);
    let len = list.iter().position(|link| !leads(link)).unwrap_or(list.len());
    list[len..].fill(NONE);
}
