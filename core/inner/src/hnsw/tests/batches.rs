//! Graphs that several hands build at once, beside brute force and those that one builds node by node.

use std::thread;

use super::*;

/// Threads that build in batches.
struct Hands(usize);

impl Crew for Hands {
    const BATCH: u32 = 256;

    fn hands(&self) -> usize {
        self.0
    }

    #[expect(clippy::disallowed_methods, reason = "the test is the host that lends its threads")]
    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        thread::scope(|scope| items.iter_mut().for_each(|item| drop(scope.spawn(|| work(item)))));
    }
}

/// Built over the first rows, of which some die, and extended to all.
fn built_and_extended(hands: usize, rows: &Rows, first: u32) -> (Graph, Graph, Rows) {
    let (params, crew) = (params(rows.metric, rows.dimension), Hands(hands));
    let graph = GraphBuilder::new(params, first).unwrap().finish(&crew, &rows.space());
    let keep = |offset: u32| offset >= first || !offset.is_multiple_of(7);
    let (old, damaged) = Graph::retain(&graph.view(), keep);
    assert!(damaged.len() > 500, "whole batches are linked again");
    let rows = rows.kept(keep);
    let total = rows.space().len() as u32;
    let extended = GraphBuilder::extend(params, old, damaged, total).unwrap().finish(&crew, &rows.space());
    (graph, extended, rows)
}

#[test]
fn however_many_hands_build_a_graph_it_is_the_same_bit_for_bit() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let rows = rows(metric, 6_000, 8, SEED);
        let (graph, extended, _) = built_and_extended(1, &rows, 5_000);
        for hands in [2, 3] {
            let (again, extended_again, _) = built_and_extended(hands, &rows, 5_000);
            assert!(again == graph, "{metric}: built by {hands}, seed {SEED}");
            assert!(extended_again == extended, "{metric}: extended by {hands}, seed {SEED}");
        }
    }
}

#[test]
fn batches_lead_to_as_many_of_the_nearest_as_going_node_by_node() {
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let rows = rows(metric, 8_000, 12, SEED);
        let (_, extended, rows) = built_and_extended(2, &rows, 7_000);
        assert!(extended.view().unreachable().is_empty() && GraphView::new(extended.view().parts()).is_ok());
        let (batches, alone) = (recall(&extended, &rows, None), recall(&build(&rows), &rows, None));
        assert!(batches > 0.97 && batches > alone - 0.005, "{metric}: recall {batches}, {alone} alone, seed {SEED}");
    }
}

#[test]
fn rows_whose_nearest_are_all_of_their_own_batch_find_them() {
    // Clusters as large as a batch, one after the other, and far from each other.
    let mut rows = rows(Metric::L2, 6_144, 8, SEED);
    for (at, x) in rows.components.iter_mut().enumerate() {
        let cluster = (at / 8 / 192) as f32;
        *x = *x * 0.01 + if at % 8 < 2 { cluster * 10.0 } else { 0.0 };
    }
    let graph = GraphBuilder::new(params(Metric::L2, 8), 6_144).unwrap().finish(&Hands(2), &rows.space());
    let recall = recall(&graph, &rows, None);
    assert!(recall > 0.98, "recall {recall}, seed {SEED}");
}

#[test]
fn batches_are_the_same_however_the_work_is_sliced() {
    let rows = rows(Metric::L2, 3_000, 6, SEED);
    let whole = GraphBuilder::new(params(Metric::L2, 6), 3_000).unwrap().finish(&Hands(2), &rows.space());
    for slice in [1, 100, 700] {
        let mut builder = GraphBuilder::new(params(Metric::L2, 6), 3_000).unwrap();
        while builder.step(&Hands(2), &rows.space(), slice) > 0 {}
        assert_eq!(builder.insertions(), 3_000);
        assert!(builder.finish(&Hands(2), &rows.space()) == whole, "slices of {slice}, seed {SEED}");
    }
}
