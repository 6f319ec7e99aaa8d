//! Random histories against a plain map with brute force.

use super::host::Host;
use hyperspace_core::collection::{CollectionConfig, Job, Plan, Scratch, SealPolicy, SearchRequest, Urgency, Vectors};
use hyperspace_core::filter::Filter;
use hyperspace_core::map::Map;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::types::{IdKey, PointId};
use proptest::prelude::*;
use std::collections::BTreeMap;

const DIMENSION: usize = 3;
/// Seals and merges come often.
const POLICY: SealPolicy = SealPolicy { rows: 40, bytes: 1 << 20, fan_in: 2 };

#[derive(Clone, Debug)]
enum Step {
    Upsert(Vec<(PointId, Vec<f32>, i64)>),
    Delete(Vec<PointId>),
    SetMetadata(BTreeMap<PointId, i64>),
    StartJob(Urgency),
    AdvanceJob { which: usize, budget: u32 },
    FinishJob { which: usize },
    AbandonJob { which: usize },
    CrashBeforeFlip { which: usize },
    Reopen,
    Scroll { limit: usize, filtered: bool },
}

fn any_id() -> impl Strategy<Value = PointId> {
    prop_oneof![(0..60_u64).prop_map(PointId::Int), (0..20_u8).prop_map(|n| PointId::string(&format!("s{n}")).unwrap())]
}

fn any_vector() -> impl Strategy<Value = Vec<f32>> {
    // A coarse grid: equal vectors and equal distances happen often.
    prop::collection::vec((-4_i8..=4).prop_map(|x| f32::from(x) * 0.125 + 0.03), DIMENSION)
}

fn any_urgency() -> impl Strategy<Value = Urgency> {
    prop_oneof![Just(Urgency::WhenFull), Just(Urgency::Now), Just(Urgency::Reclaim)]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec((any_id(), any_vector(), 0_i64..5), 1..25).prop_map(Step::Upsert),
        3 => prop::collection::vec(any_id(), 1..8).prop_map(Step::Delete),
        2 => prop::collection::btree_map(any_id(), 0_i64..5, 1..8).prop_map(Step::SetMetadata),
        9 => any_urgency().prop_map(Step::StartJob),
        2 => (0..4_usize, 1_u32..30).prop_map(|(which, budget)| Step::AdvanceJob { which, budget }),
        6 => (0..4_usize).prop_map(|which| Step::FinishJob { which }),
        1 => (0..4_usize).prop_map(|which| Step::AbandonJob { which }),
        1 => (0..4_usize).prop_map(|which| Step::CrashBeforeFlip { which }),
        1 => Just(Step::Reopen),
        4 => (1..12_usize, any::<bool>()).prop_map(|(limit, filtered)| Step::Scroll { limit, filtered }),
    ]
}

struct Model {
    host: Host,
    /// The jobs that are out, in no order: any of them may be the next to finish.
    jobs: Vec<Job>,
    /// Where a scroll that goes on across the steps has got to.
    scrolled: Option<IdKey>,
    truth: BTreeMap<PointId, (Vec<f32>, i64)>,
    scratch: Scratch,
}

impl Model {
    fn new(metric: Metric) -> Self {
        let mut host = Host::create(CollectionConfig::new("model", DIMENSION, metric).unwrap()).unwrap();
        host.collection.set_policy(POLICY);
        Self { host, jobs: Vec::new(), scrolled: None, truth: BTreeMap::new(), scratch: Scratch::default() }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Upsert(points) => {
                let ids: Vec<_> = points.iter().map(|p| p.0.clone()).collect();
                let rows: Vec<f32> = points.iter().flat_map(|p| p.1.iter().copied()).collect();
                let metadata: Vec<_> = points.iter().map(|p| metadata(p.2)).collect();
                let applied = self.host.upsert(&ids, Vectors::F32(&rows), &metadata).unwrap();
                assert_eq!((applied.upserted, applied.superseded), (points.len(), 0));
                self.truth.extend(points.iter().map(|(id, vector, n)| (id.clone(), (vector.clone(), *n))));
            }
            Step::Delete(ids) => {
                let live = ids.iter().filter(|id| self.truth.remove(id).is_some()).count();
                assert_eq!(self.host.delete(ids).unwrap().deleted, live);
            }
            Step::SetMetadata(changes) => {
                let live = changes.iter().filter(|(id, n)| self.truth.get_mut(id).map(|point| point.1 = **n).is_some());
                let live = live.count();
                let changes: Vec<_> = changes.iter().map(|(id, n)| (id.clone(), metadata(*n))).collect();
                assert_eq!(self.host.set_metadata(&changes).unwrap().upserted, live);
            }
            Step::StartJob(urgency) => {
                let due = self.host.collection.seal_is_due(*urgency) || self.host.collection.merge_is_due(*urgency);
                let job = self.host.collection.next_job(*urgency);
                assert_eq!(job.is_some(), due);
                self.jobs.extend(job);
                assert!(self.jobs.iter().filter(|job| job.fresh_points() > 0).count() <= 1, "one seal at a time");
            }
            Step::AdvanceJob { which, budget } => {
                if let Some(which) = which.checked_rem(self.jobs.len()) {
                    self.jobs[which].step(*budget).unwrap();
                }
            }
            Step::FinishJob { which } => {
                if let Some(job) = self.take_job(*which) {
                    self.host.install(job.finish().unwrap()).unwrap();
                }
            }
            Step::AbandonJob { which } => {
                if let Some(job) = self.take_job(*which) {
                    self.host.collection.abandon_job(job.id());
                }
            }
            Step::CrashBeforeFlip { which } => {
                if let Some(job) = self.take_job(*which) {
                    self.host.store(&job.finish().unwrap()).unwrap();
                }
                self.reopen();
            }
            Step::Reopen => self.reopen(),
            Step::Scroll { limit, filtered } => self.scroll(*limit, *filtered),
        }
        assert_eq!(self.host.collection.job_is_out(), !self.jobs.is_empty());
    }

    fn take_job(&mut self, which: usize) -> Option<Job> {
        let which = which.checked_rem(self.jobs.len())?;
        Some(self.jobs.swap_remove(which))
    }

    fn reopen(&mut self) {
        self.jobs.clear();
        self.host.reopen().unwrap();
        self.host.collection.set_policy(POLICY);
    }

    /// Takes one more page of a scroll that began steps ago, and begins anew at the end.
    fn scroll(&mut self, limit: usize, filtered: bool) {
        let filter = Filter::parse(&if filtered { where_n_is(2) } else { Value::Map(Map::new()) }).unwrap();
        let page = self.host.collection.snapshot().scroll(self.scrolled, limit, &filter);
        let ahead = self.truth.iter().map(|(id, point)| (id.key(), id, point));
        let mut ahead: Vec<_> = ahead.filter(|(key, ..)| self.scrolled.is_none_or(|last| *key > last)).collect();
        ahead.sort_by_key(|(key, ..)| *key);
        let matches = |(_, _, (_, n)): &&(IdKey, &PointId, &(Vec<f32>, i64))| !filtered || *n == 2;
        let expected: Vec<_> = ahead.iter().filter(matches).take(limit).collect();
        assert_eq!(page.points.len(), expected.len());
        for (point, (_, id, (vector, n))) in page.points.iter().zip(&expected) {
            assert_eq!((&point.id, &point.vector, &point.metadata), (*id, vector, &metadata(*n)));
        }
        // A full page ends with its last point, a page that is not full with the last point there is.
        let last = expected.last().filter(|_| expected.len() == limit).map(|(key, ..)| *key);
        assert_eq!(page.next, last.filter(|last| ahead.last().is_some_and(|(end, ..)| end > last)));
        self.scrolled = page.next;
    }

    fn check(&mut self, metric: Metric, query: &[f32]) {
        let snapshot = self.host.collection.snapshot();
        assert_eq!(snapshot.len(), self.truth.len());
        assert!(self.host.collection.unsealed_rows() >= snapshot.pending());
        let mut points: Vec<_> = snapshot.points().map(|p| (p.id, p.vector, p.metadata)).collect();
        points.sort_by(|a, b| a.0.cmp(&b.0));
        let expected: Vec<_> = self.truth.iter().map(|(id, (v, n))| (id.clone(), v.clone(), metadata(*n))).collect();
        assert_eq!(points, expected, "the live points are those of the map");
        for (id, vector, _) in points.iter().take(5) {
            assert_eq!(&snapshot.get(id).unwrap().vector, vector);
        }
        assert!(snapshot.get(&PointId::Int(9_999)).is_none());
        for filter in [Value::Map(Map::new()), where_n_is(2)] {
            self.check_search(metric, query, &Filter::parse(&filter).unwrap());
        }
    }

    fn check_search(&mut self, metric: Metric, query: &[f32], filter: &Filter) {
        let snapshot = self.host.collection.snapshot();
        let query = QueryVector::from_f32(metric, DIMENSION, query).unwrap();
        let matching = self.truth.iter().filter(|(_, (_, n))| filter.matches(metadata(*n).view()));
        let mut truth: Vec<(f64, PointId)> =
            matching.map(|(id, (v, _))| (naive_distance(metric, &query, v), id.clone())).collect();
        truth.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        assert_eq!(snapshot.count(filter), truth.len());
        for (plan, k) in [(Plan::Exact, 7), (Plan::Auto, 7), (Plan::Graph, 7), (Plan::Auto, 200)] {
            let request = SearchRequest::new(query.clone(), k).unwrap().with_filter(filter.clone()).with_plan(plan);
            let outcome = snapshot.search(&request, &mut self.scratch).unwrap();
            assert_eq!(outcome.hits.len(), truth.len().min(k), "{plan:?}: as many hits as there are matches");
            for (hit, (distance, _)) in outcome.hits.iter().zip(&truth) {
                // A graph of so few points is walked whole: only exact plans promise it, all of them keep it here.
                let near = (hit.distance - distance).abs() <= 1e-5 * distance.abs().max(1.0);
                assert!(near || plan == Plan::Graph, "{plan:?} {metric:?}: {} instead of {distance}", hit.distance);
            }
            let ordered = outcome.hits.is_sorted_by(|a, b| (a.distance, &a.id) < (b.distance, &b.id));
            assert!(ordered, "nearest first, ties by id");
            for hit in &outcome.hits {
                let (vector, n) = &self.truth[&hit.id];
                assert_eq!(snapshot.hit_vector(hit), vector);
                assert_eq!(snapshot.hit_metadata(hit), metadata(*n));
            }
        }
    }
}

fn metadata(n: i64) -> Metadata {
    Metadata::from_value(&Value::Map([("n".to_owned(), Value::I64(n))].into())).unwrap()
}

fn where_n_is(n: i64) -> Value {
    Value::Map([("n".to_owned(), Value::I64(n))].into())
}

/// The textbook formulas in f64.
fn naive_distance(metric: Metric, query: &QueryVector, row: &[f32]) -> f64 {
    let pairs = || query.row().iter().zip(row).map(|(&q, &v)| (f64::from(q), f64::from(v)));
    let dot: f64 = pairs().map(|(q, v)| q * v).sum();
    let square: f64 = pairs().map(|(q, v)| (q - v) * (q - v)).sum();
    let (qq, vv): (f64, f64) = (pairs().map(|(q, _)| q * q).sum(), pairs().map(|(_, v)| v * v).sum());
    match metric {
        Metric::L2 => square.sqrt(),
        Metric::Cosine => 1.0 - dot / (qq * vv).sqrt(),
        Metric::Dot => -dot,
        Metric::Poincare => (1.0 + 2.0 * square / ((1.0 - qq) * (1.0 - vv))).acosh(),
    }
}

fn run(metric: Metric, steps: &[Step], query: &[f32]) {
    let mut model = Model::new(metric);
    for step in steps {
        model.apply(step);
        model.check(metric, query);
    }
    for job in model.jobs.drain(..) {
        model.host.collection.abandon_job(job.id());
    }
    while model.host.run_job(Urgency::Reclaim).unwrap() {}
    model.host.reopen().unwrap();
    model.check(metric, query);
    let snapshot = model.host.collection.snapshot();
    assert_eq!((snapshot.dead(), snapshot.pending()), (0, 0), "everything is sealed, and nothing dead is kept");
    for sealed in snapshot.segments() {
        assert_eq!(sealed.segment.graph().unreachable(), Vec::<u32>::new(), "every point is reachable");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_histories_agree_with_a_plain_map(
        steps in prop::collection::vec(any_step(), 1..80),
        query in any_vector(),
        metric in prop_oneof![Just(Metric::L2), Just(Metric::Cosine), Just(Metric::Dot), Just(Metric::Poincare)],
    ) {
        run(metric, &steps, &query);
    }
}
