mod batches;

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::error::ErrorKind;
use crate::metric::{Metric, QueryVector, VectorSpace, validate_f32};

const SEED: u64 = 42;

struct Rows {
    metric: Metric,
    dimension: usize,
    components: Vec<f32>,
    terms: Vec<f32>,
}

impl Rows {
    fn space(&self) -> VectorSpace<'_> {
        VectorSpace { metric: self.metric, dimension: self.dimension, rows: &self.components, terms: &self.terms }
    }

    fn kept(&self, keep: impl Fn(u32) -> bool) -> Self {
        let space = self.space();
        let (mut rows, mut terms) = (Vec::new(), Vec::new());
        for offset in (0..space.len() as u32).filter(|&offset| keep(offset)) {
            rows.extend_from_slice(space.row(offset));
            if space.metric.has_terms() {
                terms.push(space.term(offset));
            }
        }
        Self { components: rows, terms, ..*self }
    }
}

/// Clustered rows inside the ball, from a seed.
fn rows(metric: Metric, n: usize, dimension: usize, seed: u64) -> Rows {
    let mut state = seed | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let scale = 0.7 / (dimension as f32).sqrt();
    let centres: Vec<f32> = (0..20 * dimension).map(|_| uniform() * scale).collect();
    let (mut rows, mut terms) = (Vec::new(), Vec::new());
    for i in 0..n {
        let centre = &centres[i % 20 * dimension..][..dimension];
        let row: Vec<f32> = centre.iter().map(|c| c + uniform() * scale * 0.4).collect();
        let term = validate_f32(metric, dimension, &row).unwrap();
        rows.extend(row);
        if metric.has_terms() {
            terms.push(term);
        }
    }
    Rows { metric, dimension, components: rows, terms }
}

fn params(metric: Metric, dimension: usize) -> HnswParams {
    HnswParams { seed: SEED, ..HnswParams::for_space(metric, dimension) }
}

fn build(rows: &Rows) -> Graph {
    let space = rows.space();
    GraphBuilder::new(params(rows.metric, rows.dimension), space.len() as u32).unwrap().finish(&Alone, &space)
}

/// The offsets of the k nearest by brute force, among those accepted.
fn nearest(query: &QueryVector, space: &VectorSpace<'_>, k: usize, accept: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut keys = vec![0.0; space.len()];
    query.score_range(space, 0, &mut keys);
    let mut all: Vec<u32> = (0..space.len() as u32).filter(|&offset| accept(offset)).collect();
    all.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]).then(a.cmp(&b)));
    all.truncate(k);
    all
}

fn recall(graph: &Graph, rows: &Rows, accept: Option<&dyn Fn(u32) -> bool>) -> f64 {
    let space = rows.space();
    let mut scratch = SearchScratch::new();
    let ef = default_ef_search(rows.metric, rows.dimension, space.len());
    let mut right = 0;
    let queries: Vec<u32> = (0..space.len() as u32).step_by(17).collect();
    for &at in &queries {
        let query = QueryVector::from_row(rows.metric, space.row(at), space.term(at));
        let truth = nearest(&query, &space, 10, |offset| accept.is_none_or(|accept| accept(offset)));
        let found = search(&graph.view(), &space, &query, ef, accept, &mut scratch);
        right += found.candidates.iter().take(10).filter(|found| truth.contains(&found.offset)).count();
    }
    right as f64 / (10 * queries.len()) as f64
}

#[test]
fn every_metric_finds_nearly_all_of_the_ten_nearest() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let rows = rows(metric, 4_000, 12, SEED);
        let graph = build(&rows);
        let recall = recall(&graph, &rows, None);
        assert!(recall > 0.97, "{metric}: recall {recall}, seed {SEED}");
        assert!(graph.view().unreachable().is_empty(), "{metric}, seed {SEED}");
        assert!(GraphView::new(graph.view().parts()).is_ok());
    }
}

#[test]
fn a_graph_over_codes_leads_to_the_ten_nearest_rows_and_reaches_every_node() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let rows = rows(metric, 4_000, 12, SEED);
        let space = rows.space();
        let codes = crate::quant::Codes::of(&space).unwrap();
        let codes = codes.space();
        let graph = GraphBuilder::new(params(metric, 12), 4_000).unwrap().finish(&Alone, &codes);
        assert!(graph.view().unreachable().is_empty(), "{metric}, seed {SEED}");
        let mut scratch = SearchScratch::new();
        let (mut right, mut asked) = (0, 0);
        for at in (0..4_000).step_by(17) {
            let query = QueryVector::from_row(metric, space.row(at), space.term(at));
            let truth = nearest(&query, &space, 10, |_| true);
            let found = search(&graph.view(), &codes, &query, 200, None, &mut scratch);
            right += found.candidates.iter().take(26).filter(|found| truth.contains(&found.offset)).count();
            asked += 10;
        }
        assert!(right * 100 > asked * 97, "{metric}: {right} of {asked}, seed {SEED}");
    }
}

#[test]
fn the_same_rows_and_seed_give_the_same_graph_however_the_work_is_sliced() {
    let rows = rows(Metric::Poincare, 1_500, 5, SEED);
    let space = rows.space();
    let whole = build(&rows);
    for slice in [1, 7, 400] {
        let mut builder = GraphBuilder::new(params(rows.metric, 5), 1_500).unwrap();
        let mut left = builder.remaining();
        while left > 0 {
            let now = builder.step(&Alone, &space, slice);
            assert!(now < left, "every slice makes progress");
            left = now;
        }
        assert_eq!(builder.insertions(), 1_500);
        assert!(builder.finish(&Alone, &space) == whole, "slices of {slice}, seed {SEED}");
    }
}

#[test]
fn results_ascend_without_repetition_and_hold_as_many_as_asked() {
    let rows = rows(Metric::L2, 1_000, 8, SEED);
    let (space, graph) = (rows.space(), build(&rows));
    let query = QueryVector::from_row(Metric::L2, space.row(3), 1.0);
    let mut scratch = SearchScratch::new();
    for ef in [1, 10, 100, 1_000, 5_000] {
        let found = search(&graph.view(), &space, &query, ef, None, &mut scratch);
        assert_eq!(found.candidates.len(), ef.min(1_000));
        let order = |c: &Candidate| (c.key, c.offset);
        assert!(found.candidates.windows(2).all(|pair| order(&pair[0]) < order(&pair[1])), "ef = {ef}");
        assert_eq!(found.candidates[0].offset, 3);
        assert!(found.distances >= found.candidates.len() as u64);
    }
}

#[test]
fn refused_nodes_are_walked_over_but_never_returned() {
    let rows = rows(Metric::Cosine, 3_000, 10, SEED);
    let graph = build(&rows);
    let accept = |offset: u32| offset.is_multiple_of(3);
    let recall = recall(&graph, &rows, Some(&accept));
    assert!(recall > 0.97, "recall {recall}, seed {SEED}");
    let (space, mut scratch) = (rows.space(), SearchScratch::new());
    let query = QueryVector::from_row(Metric::Cosine, space.row(1), space.term(1));
    let found = search(&graph.view(), &space, &query, 2_000, Some(&accept), &mut scratch);
    assert_eq!(found.candidates.len(), 1_000, "a wide search finds every accepted node");
    assert!(found.candidates.iter().all(|found| accept(found.offset)));
    let nothing = search(&graph.view(), &space, &query, 10, Some(&|_| false), &mut scratch);
    assert!(nothing.candidates.is_empty());
}

#[test]
fn accepting_everything_by_a_condition_answers_as_without_one() {
    let rows = rows(Metric::L2, 2_000, 6, SEED);
    let (space, graph) = (rows.space(), build(&rows));
    let (mut one, mut other) = (SearchScratch::new(), SearchScratch::new());
    for at in (0..2_000).step_by(41) {
        let query = QueryVector::from_row(Metric::L2, space.row(at), 1.0);
        let plain = search(&graph.view(), &space, &query, 30, None, &mut one);
        let filtered = search(&graph.view(), &space, &query, 30, Some(&|_| true), &mut other);
        assert_eq!(plain.candidates, filtered.candidates);
    }
}

#[test]
fn small_and_empty_graphs_are_searched() {
    for n in [0_usize, 1, 2, 3, 40] {
        let rows = rows(Metric::L2, n, 4, SEED);
        let (space, graph) = (rows.space(), build(&rows));
        assert!(GraphView::new(graph.view().parts()).is_ok() && graph.len() == n);
        let query = QueryVector::from_f32(Metric::L2, 4, &[0.1; 4]).unwrap();
        let mut scratch = SearchScratch::new();
        let found = search(&graph.view(), &space, &query, 50, None, &mut scratch);
        let offsets: Vec<u32> = found.candidates.iter().map(|found| found.offset).collect();
        assert_eq!(offsets, nearest(&query, &space, 50, |_| true));
    }
}

#[test]
fn a_thousand_equal_rows_among_others_stay_reachable() {
    let mut rows = rows(Metric::L2, 1_000, 4, SEED);
    rows.components.extend([0.25; 4_000]);
    let (space, graph) = (rows.space(), build(&rows));
    assert!(graph.view().unreachable().is_empty());
    let mut scratch = SearchScratch::new();
    let mut own = 0;
    for at in 0..1_000 {
        let query = QueryVector::from_row(Metric::L2, space.row(at), 1.0);
        own += usize::from(search(&graph.view(), &space, &query, 64, None, &mut scratch).candidates[0].offset == at);
    }
    assert!(own >= 999, "{own} of 1000 find themselves, seed {SEED}");
}

#[test]
fn a_graph_without_its_dead_nodes_is_as_good_after_relinking() {
    for metric in [Metric::L2, Metric::Poincare] {
        let all = rows(metric, 3_000, 8, SEED);
        let keep = |offset: u32| !(offset.wrapping_mul(2_654_435_761) >> 7).is_multiple_of(6);
        let (graph, damaged) = Graph::retain(&build(&all).view(), keep);
        let old = all.kept(keep);
        let survivors = old.space().len();
        assert!(graph.len() == survivors && !damaged.is_empty());
        assert!(GraphView::new(graph.view().parts()).is_ok(), "what is kept is a valid graph");

        let more = rows(metric, 700, 8, SEED + 1);
        let mut rows = old;
        rows.components.extend(&more.components);
        rows.terms.extend(&more.terms);
        let total = survivors + 700;
        let builder = GraphBuilder::extend(params(metric, 8), graph, damaged.clone(), total as u32).unwrap();
        let extended = builder.finish(&Alone, &rows.space());
        let (after, fresh) = (recall(&extended, &rows, None), recall(&build(&rows), &rows, None));
        assert!(extended.len() == total && extended.view().unreachable().is_empty());
        assert!(GraphView::new(extended.view().parts()).is_ok());
        assert!(after > fresh - 0.01, "{metric}: recall {after} after extending, {fresh} when built anew, seed {SEED}");
    }
}

#[test]
fn thirty_generations_of_deletes_keep_the_recall_of_a_fresh_graph() {
    let mut rows = rows(Metric::L2, 3_000, 12, SEED);
    let mut graph = build(&rows);
    for generation in 0..30_u32 {
        let keep = |offset: u32| !(offset.wrapping_add(generation).wrapping_mul(2_654_435_761) >> 9).is_multiple_of(60);
        let (kept, damaged) = Graph::retain(&graph.view(), keep);
        rows = rows.kept(keep);
        let total = kept.len() as u32;
        graph =
            GraphBuilder::extend(params(Metric::L2, 12), kept, damaged, total).unwrap().finish(&Alone, &rows.space());
        assert!(graph.view().unreachable().is_empty(), "generation {generation}");
    }
    let (aged, fresh) = (recall(&graph, &rows, None), recall(&build(&rows), &rows, None));
    assert!(aged > fresh - 0.01, "recall {aged} after 30 generations, {fresh} when built anew, seed {SEED}");
}

#[test]
fn dropping_everything_but_one_or_all_leaves_a_valid_graph() {
    let rows = rows(Metric::L2, 500, 4, SEED);
    let graph = build(&rows);
    let (empty, damaged) = Graph::retain(&graph.view(), |_| false);
    assert!(empty == Graph::new(graph.m, graph.m0) && damaged.is_empty());
    let (same, damaged) = Graph::retain(&graph.view(), |_| true);
    assert!(same == graph && damaged.is_empty());
    let (one, _) = Graph::retain(&graph.view(), |offset| offset == 123);
    assert!(GraphView::new(one.view().parts()).is_ok() && one.entry == 0);
}

#[test]
fn survivors_that_lost_every_link_are_linked_again() {
    let rows = rows(Metric::L2, 1_000, 4, SEED);
    let graph = build(&rows);
    let keep = |offset: u32| offset.is_multiple_of(40);
    let (kept, damaged) = Graph::retain(&graph.view(), keep);
    let rows = rows.kept(keep);
    let again = GraphBuilder::extend(params(Metric::L2, 4), kept, damaged, 25).unwrap().finish(&Alone, &rows.space());
    assert!(again.view().unreachable().is_empty());
}

type Break = (&'static str, fn(&mut Graph));

#[test]
fn arrays_that_contradict_each_other_are_corrupted() {
    let rows = rows(Metric::L2, 600, 4, SEED);
    let good = build(&rows);
    assert!(good.top >= 1, "the graph has upper levels");
    let breaks: [Break; 10] = [
        ("a link out of range", |g| g.links0[0] = 600),
        ("a link to itself", |g| g.links0[0] = 0),
        ("a gap", |g| g.links0[0] = NONE),
        ("an upper link to a node of level 0", |g| {
            let low = g.levels.iter().position(|&level| level == 0).unwrap();
            g.upper[0] = low as u32;
        }),
        ("short links", |g| g.links0.truncate(100)),
        ("short upper lists", |g| g.upper.truncate(1)),
        ("a wrong start", |g| g.upper_at[599] += 1),
        ("a level beyond the top", |g| g.levels[5] = 200),
        ("an entry out of range", |g| g.entry = 600),
        ("a wrong top", |g| g.top += 1),
    ];
    for (what, damage) in breaks {
        let mut graph = good.clone();
        damage(&mut graph);
        let error = GraphView::new(graph.view().parts()).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{what}");
    }
    let huge = GraphParts { m0: u32::MAX, ..good.view().parts() };
    assert!(GraphView::new(huge).is_err());
}

#[test]
fn random_damage_is_refused_or_searched_without_harm() {
    let rows = rows(Metric::L2, 300, 4, SEED);
    let (space, good) = (rows.space(), build(&rows));
    let query = QueryVector::from_row(Metric::L2, space.row(9), 1.0);
    let mut scratch = SearchScratch::new();
    let mut state = SEED;
    for _ in 0..2_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut graph = good.clone();
        let (at, value) = ((state >> 33) as usize, (state >> 20) as u32 % 310);
        match state >> 61 {
            0 => graph.upper[at % good.upper.len()] = value,
            1 => graph.upper_at[at % 300] = value,
            2 => graph.levels[at % 300] = value as u8,
            3 => graph.entry = value,
            _ => graph.links0[at % good.links0.len()] = value,
        }
        if let Ok(view) = GraphView::new(graph.view().parts()) {
            search(&view, &space, &query, 20, None, &mut scratch);
        }
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    let good = params(Metric::L2, 4);
    for bad in [
        HnswParams { m: 1, ..good },
        HnswParams { m0: 8, ..good },
        HnswParams { m0: 4_096, ..good },
        HnswParams { ef_construction: 0, ..good },
    ] {
        assert_eq!(GraphBuilder::new(bad, 10).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(GraphBuilder::extend(good, Graph::new(8, 16), Vec::new(), 10).is_err());
    assert!(GraphBuilder::extend(good, Graph::new(16, 32), vec![0], 10).is_err());
}
