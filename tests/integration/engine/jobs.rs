//! Several jobs at a time: what may be out together, and that the order in which they finish does not show.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{CollectionConfig, Job, SealPolicy, SealedJob, Urgency, Vectors};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::metric::Metric;
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::PointId;
use std::collections::BTreeMap;
use std::sync::Arc;

const DIMENSION: usize = 4;
/// Points of each segment.
const POINTS: usize = 60;

/// A collection beside the map that says what has to be in it.
struct Kept {
    host: Host,
    random: Random,
    truth: BTreeMap<PointId, Vec<f32>>,
}

impl Kept {
    /// Nothing is sealed unless asked for, and so many segments are merged.
    fn new(fan_in: usize) -> Self {
        let mut host = Host::create(CollectionConfig::new("kept", DIMENSION, Metric::L2).unwrap()).unwrap();
        host.collection.set_policy(policy(fan_in));
        Self { host, random: Random::new(11), truth: BTreeMap::new() }
    }

    fn put(&mut self, first: u64, count: usize) {
        let ids = ids(first, count);
        let rows: Vec<f32> = (0..count * DIMENSION).map(|_| self.random.normal()).collect();
        self.host.upsert(&ids, Vectors::F32(&rows), &[]).unwrap();
        self.truth.extend(ids.into_iter().zip(rows.chunks(DIMENSION).map(<[f32]>::to_vec)));
    }

    fn delete(&mut self, first: u64, count: usize) {
        let ids = ids(first, count);
        let live = ids.iter().filter(|id| self.truth.remove(id).is_some()).count();
        assert_eq!(self.host.delete(&ids).unwrap().deleted, live);
    }

    fn job(&mut self, urgency: Urgency) -> Option<Job> {
        self.host.collection.next_job(urgency)
    }

    /// Seals what the memtable holds.
    fn seal(&mut self) {
        let job = self.job(Urgency::Now).unwrap();
        assert!(job.fresh_points() > 0, "a seal comes before any merge");
        self.install(job.finish().unwrap());
    }

    fn install(&mut self, sealed: SealedJob) {
        self.host.install(sealed).unwrap();
        self.check();
    }

    fn reopen(&mut self) {
        self.host.reopen().unwrap();
        self.check();
    }

    fn check(&self) {
        let points = self.host.collection.snapshot().points().map(|p| (p.id, p.vector)).collect::<Vec<_>>();
        assert_eq!(points.len(), self.truth.len(), "no point is there twice");
        assert_eq!(points.into_iter().collect::<BTreeMap<_, _>>(), self.truth);
    }
}

const fn policy(fan_in: usize) -> SealPolicy {
    SealPolicy { rows: 100_000, bytes: 1 << 30, fan_in }
}

/// Five runs of points: two that a merge has taken, two that another has, one that a seal has; and the three jobs.
fn three_jobs_out() -> (Kept, [Job; 3]) {
    let mut kept = Kept::new(2);
    let mut merges = Vec::new();
    for pair in [0, 2] {
        for run in [pair, pair + 1] {
            kept.put(run * 100, POINTS);
            kept.seal();
        }
        merges.push(kept.job(Urgency::WhenFull).unwrap());
    }
    kept.put(400, POINTS);
    let seal = kept.job(Urgency::Now).unwrap();
    assert_eq!(seal.fresh_points(), POINTS);
    let [first, second] = merges.try_into().unwrap();
    (kept, [first, second, seal])
}

#[test]
fn a_seal_and_two_merges_finish_in_any_order_and_a_crash_between_them_loses_nothing() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for finished_before_the_crash in 0..=3 {
            let (mut kept, jobs) = three_jobs_out();
            let mut sealed = jobs.map(|job| Some(job.finish().unwrap()));
            // Deaths, rows written again, and both: in every input, and among what came after the jobs began.
            kept.put(500, POINTS);
            for run in 0..6 {
                kept.delete(run * 100, 10);
                kept.put(run * 100 + 5, 10);
            }
            for (done, which) in order.into_iter().take(finished_before_the_crash).enumerate() {
                kept.install(sealed[which].take().unwrap());
                kept.delete(which as u64 * 100 + 20 + done as u64, 15);
            }
            kept.reopen();
            kept.host.collection.set_policy(policy(2));
            kept.host.settle().unwrap();
            kept.reopen();
        }
    }
}

#[test]
fn jobs_that_are_out_share_no_segment_and_one_of_them_at_most_is_a_seal() {
    let (mut kept, [first, second, seal]) = three_jobs_out();
    kept.put(500, POINTS);
    assert!(kept.job(Urgency::Now).is_none(), "a seal is out, and every segment is taken");
    let engine = &kept.host.collection;
    assert!(!engine.seal_is_due(Urgency::Now) && !engine.merge_is_due(Urgency::Now));
    assert!(first.id() != second.id() && second.id() != seal.id() && first.id() != seal.id());
    kept.host.collection.abandon_job(second.id());
    let again = kept.job(Urgency::Now).unwrap();
    assert_eq!(again.fresh_points(), 0, "what a job gave back is merged by the next");
    kept.host.collection.abandon_job(seal.id());
    let seal = kept.job(Urgency::Now).unwrap();
    assert_eq!(seal.fresh_points(), 2 * POINTS, "an abandoned seal's rows go with the next");
    for job in [seal, again, first] {
        kept.install(job.finish().unwrap());
    }
    assert!(!kept.host.collection.job_is_out());
    kept.reopen();
}

#[test]
fn reclaiming_rewrites_each_segment_that_has_a_dead_point_and_no_other() {
    let mut kept = Kept::new(100);
    for run in 0..4 {
        kept.put(run * 100, POINTS);
        kept.seal();
    }
    kept.delete(0, 1);
    kept.delete(300, POINTS);
    while kept.host.run_job(Urgency::Now).unwrap() {}
    let before = kept.host.collection.snapshot();
    assert_eq!(before.dead(), 1, "a whole dead segment goes at once, a single dead point has time");
    while kept.host.run_job(Urgency::Reclaim).unwrap() {}
    let after = kept.host.collection.snapshot();
    assert_eq!((after.dead(), after.segments().len()), (0, before.segments().len()));
    let stays = |at: usize| before.segments()[at].segment.id() == after.segments()[at].segment.id();
    assert_eq!((0..before.segments().len()).filter(|&at| !stays(at)).collect::<Vec<_>>(), [0]);
    kept.check();
    kept.reopen();
}

#[test]
fn a_merge_that_comes_out_as_one_of_its_inputs_leaves_that_one_in_service() {
    let mut kept = Kept::new(100);
    kept.put(0, 1);
    kept.seal();
    kept.delete(0, 1);
    // The seal of a tombstone alone, and the end of the segment that has no live point left.
    while kept.host.run_job(Urgency::Now).unwrap() {}
    // A segment whose tombstone is a newer one of the same id.
    kept.put(0, POINTS);
    kept.delete(0, 1);
    kept.seal();
    let segments = kept.host.collection.snapshot();
    let [grave, full] = segments.segments() else { panic!("a tombstone and a full segment: {segments:?}") };
    kept.host.collection.set_policy(policy(2));
    let merge = kept.job(Urgency::WhenFull).unwrap().finish().unwrap();
    assert_eq!(merge.segment().unwrap().id(), full.segment.id());
    assert_eq!(kept.host.collection.flip(&merge).dropped, [grave.segment.id()]);
    kept.delete(7, 1);
    kept.install(merge);
    kept.reopen();
}

#[test]
fn the_stored_segment_takes_the_place_of_the_one_in_memory_and_no_other_does() {
    let mut kept = Kept::new(100);
    kept.put(0, POINTS);
    let mut sealed = kept.job(Urgency::Now).unwrap().finish().unwrap();
    let made = Arc::downgrade(sealed.segment().unwrap());
    let (id, bytes) = (sealed.segment().unwrap().id(), sealed.segment().unwrap().bytes());
    let stored = Arc::new(AlignedBytes::copy_of(bytes));
    let stored = Arc::new(Segment::open(id, stored, Checks::Sums).unwrap());
    sealed.replace_segment(Arc::clone(&stored)).unwrap();
    kept.install(sealed);
    assert!(made.upgrade().is_none(), "the copy in memory is freed");
    assert!(Arc::ptr_eq(&kept.host.collection.snapshot().segments()[0].segment, &stored));
    kept.put(100, POINTS);
    let mut other = kept.job(Urgency::Now).unwrap().finish().unwrap();
    assert_eq!(other.replace_segment(stored).unwrap_err().kind(), ErrorKind::Internal);
}
