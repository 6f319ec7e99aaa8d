//! Random histories of a whole database against plain maps: several tenants and collections, every kind of write, jobs,
//! restarts and kills. After each step everything that can be asked is compared.

use std::sync::Arc;

use hyperspace_core::collection::{Plan, SearchRequest};
use hyperspace_core::filter::Filter;
use hyperspace_core::map::Map;
use hyperspace_core::metadata::Value;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port::Durability;
use hyperspace_core::types::PointId;
use hyperspace_server::database::{Database, OpenCollection, State, Tuning};

use super::harness::lanes::{Lane, Points};
use super::harness::sim::SimDisk;
use super::harness::support::{DIMENSION, Random, effort, filter, small, tenant};

struct History {
    seed: u64,
    random: Random,
    disk: SimDisk,
    database: Arc<Database>,
    lanes: Vec<Lane>,
}

impl History {
    fn new(seed: u64) -> Self {
        let owned = [("a", "b_c"), ("a_b", "c"), ("a", "c"), ("default", "c")];
        let lane = |(number, (owner, name)): (usize, &(&str, &str))| Lane::new(number, tenant(owner), name, true, seed);
        let disk = SimDisk::default();
        Self {
            seed,
            random: Random::new(seed),
            database: Database::open_on(disk.arc(), small(seed as usize % 3)).unwrap(),
            disk,
            lanes: owned.iter().enumerate().map(lane).collect(),
        }
    }

    fn step(&mut self) -> String {
        let number = self.random.below(self.lanes.len());
        let lane = &self.lanes[number];
        let collection = self.database.collection(&lane.tenant, &lane.collection).ok();
        match (self.random.below(30), collection) {
            (0, Some(collection)) => format!("{:?}", self.database.vacuum(&collection).unwrap()),
            (1, Some(collection)) => {
                let ef = [None, Some(1 + self.random.below(100) as u32)][self.random.below(2)];
                self.database.configure(&collection, Tuning { ef_search: Some(ef), ..Tuning::default() }).unwrap();
                assert_eq!(collection.snapshot().config().ef_search, ef);
                format!("ef_search {ef:?}")
            }
            (2, _) => {
                let report = self.database.snapshot().unwrap();
                let copy = SimDisk::with(self.disk.tree().below(&report.path).unwrap());
                let copy = Database::open_on(copy.arc(), small(0)).unwrap();
                self.lanes.iter().for_each(|lane| assert_eq!(lane.find(&copy).as_ref(), lane.now(), "the snapshot"));
                "a snapshot".into()
            }
            (3, _) => {
                self.database.close().unwrap();
                self.reopen(self.disk.clone());
                "a restart".into()
            }
            (4, _) => {
                // As the disk is at this moment, while indexers may be at work.
                self.reopen(SimDisk::with(self.disk.tree()));
                "a kill".into()
            }
            _ => {
                let durability = [Durability::Strict, Durability::Relaxed][self.random.below(2)];
                let step = self.lanes[number].advance();
                self.lanes[number].run(&step, &self.database, durability).unwrap();
                format!("{step:?}")
            }
        }
    }

    fn reopen(&mut self, disk: SimDisk) {
        self.database = Database::open_on(disk.arc(), small(self.random.below(3))).unwrap();
        self.disk = disk;
        assert_eq!(self.database.state(), State::Ready);
    }

    fn check(&mut self, last: &str) {
        for lane in &self.lanes {
            let what = format!("seed {}, lane {} after {last}", self.seed, lane.number);
            let collection = self.database.collection(&lane.tenant, &lane.collection);
            assert_eq!(collection.is_ok(), lane.now().is_some(), "{what}");
            if let (Ok(collection), Some(points)) = (collection, lane.now()) {
                compare(&collection, points, &self.random.vector(DIMENSION), &what);
            }
        }
        let names = |owner| self.database.collections(&tenant(owner)).len();
        let expected = |owner| self.lanes.iter().filter(|l| l.tenant == tenant(owner) && l.now().is_some()).count();
        assert_eq!((names("a"), names("a_b")), (expected("a"), expected("a_b")));
    }
}

/// Compares a collection with the map of what should be in it.
fn compare(collection: &OpenCollection, points: &Points, query: &[f32], what: &str) {
    let view = collection.snapshot();
    assert_eq!(view.len(), points.len(), "{what}");
    for (id, row) in points {
        let found = view.get(id).unwrap_or_else(|| panic!("{what}: {id} is missing"));
        assert_eq!(found.vector, row.vector, "{what}: {id}");
    }
    let everything = Filter::parse(&Value::Map(Map::new())).unwrap();
    for (filter, n) in [(everything, None), (filter(&[("n", 2)]), Some(2))] {
        let mut nearest: Vec<(f64, PointId)> = points
            .iter()
            .filter(|(_, row)| n.is_none_or(|n| row.n == n))
            .map(|(id, row)| (distance(query, &row.vector), id.clone()))
            .collect();
        nearest.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        assert_eq!(view.count(&filter), nearest.len(), "{what}");
        let mut scrolled = Vec::new();
        let mut after = None;
        loop {
            let page = view.scroll(after, 7, &filter);
            scrolled.extend(page.points.into_iter().map(|point| point.id));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        scrolled.sort();
        let mut ids: Vec<_> = nearest.iter().map(|(_, id)| id.clone()).collect();
        ids.sort();
        assert_eq!(scrolled, ids, "{what}");
        let query = QueryVector::from_f32(Metric::L2, DIMENSION, query).unwrap();
        for plan in [Plan::Exact, Plan::Auto] {
            let request = SearchRequest::new(query.clone(), 5).unwrap().with_filter(filter.clone()).with_plan(plan);
            let hits = collection.search(&request).unwrap().1.hits;
            let found: Vec<_> = hits.iter().map(|hit| hit.id.clone()).collect();
            let expected: Vec<_> = nearest.iter().take(5).map(|(_, id)| id.clone()).collect();
            assert_eq!(found, expected, "{what}: {plan:?}");
        }
    }
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

#[test]
fn random_histories_agree_with_plain_maps() {
    for seed in 0..effort(25, 500, 3_000) as u64 {
        println!("seed {seed}");
        let mut history = History::new(seed);
        for _ in 0..200 {
            let last = history.step();
            history.check(&last);
        }
    }
}
