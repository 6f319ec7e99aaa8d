//! What the engine's parts cost: building a graph, searching with and without a filter, sealing a memtable, opening a segment.
//!
//! Points are even in 8 dimensions (`l2`) or clustered in 384 (`cosine`); metadata are a number below 100.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hyperspace_bench::index::fill;
use hyperspace_bench::rows::Rows;
use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{Collection, CollectionConfig, Plan, Scratch, SearchRequest, Snapshot, Urgency};
use hyperspace_core::filter::Filter;
use hyperspace_core::hnsw::{Alone, GraphBuilder, HnswParams};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::quant::Quantization;
use hyperspace_core::segment::{Checks, Segment};

const QUERIES: usize = 256;
const SETS: [Set; 2] = [Set { metric: Metric::L2, dimension: 8 }, Set { metric: Metric::Cosine, dimension: 384 }];

#[derive(Clone, Copy)]
struct Set {
    metric: Metric,
    dimension: usize,
}

impl Set {
    fn rows(self, count: usize) -> Rows {
        match self.metric {
            Metric::L2 => Rows::even(1, count, self.dimension),
            _ => Rows::clustered(1, count, self.dimension),
        }
    }

    /// Queries in the manner of the rows, none of which is one.
    fn queries(self, count: usize) -> Vec<QueryVector> {
        let rows = self.rows(count + QUERIES);
        let query = |row: &[f32]| QueryVector::from_f32(self.metric, self.dimension, row).expect("a row is a query");
        rows.iter().skip(count).map(query).collect()
    }

    fn config(self, quantization: Quantization) -> CollectionConfig {
        let config = CollectionConfig::new("bench", self.dimension, self.metric).expect("a valid configuration");
        CollectionConfig { quantization, ..config }
    }

    fn memtable(self, count: usize, quantization: Quantization) -> Collection {
        let number = |id: u64| metadata(id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32);
        fill(self.config(quantization), &self.rows(count), |id| Some(number(id))).expect("rows are points")
    }

    fn sealed(self, count: usize, quantization: Quantization) -> Arc<Snapshot> {
        let mut collection = self.memtable(count, quantization);
        seal(&mut collection);
        collection.snapshot()
    }
}

fn metadata(number: u64) -> Metadata {
    let document = Value::Map([("n".to_owned(), Value::U64(number % 100))].into());
    Metadata::from_value(&document).expect("a number is metadata")
}

fn seal(collection: &mut Collection) {
    let job = collection.next_job(Urgency::Now).expect("there are points to seal");
    collection.install(job.finish().expect("a segment of few points"));
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("build");
    for set in SETS {
        let snapshot = set.sealed(5_000, Quantization::None);
        let space = snapshot.segments()[0].segment.space();
        let params = HnswParams::for_space(set.metric, set.dimension);
        group.throughput(Throughput::Elements(space.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(set.dimension), |b| {
            b.iter(|| {
                GraphBuilder::new(params, space.len() as u32).expect("default parameters").finish(&Alone, &space)
            });
        });
    }
    group.finish();
}

fn search(c: &mut Criterion) {
    let mut group = c.benchmark_group("search");
    group.throughput(Throughput::Elements(QUERIES as u64));
    for set in SETS {
        let queries = set.queries(20_000);
        for quantization in [Quantization::None, Quantization::ScalarI8] {
            let snapshot = set.sealed(20_000, quantization);
            group.bench_function(BenchmarkId::new(quantization.as_str(), set.dimension), |b| {
                b.iter(|| search_all(&snapshot, &queries, None));
            });
        }
    }
    group.finish();
}

fn filter(c: &mut Criterion) {
    let mut group = c.benchmark_group("filter");
    group.throughput(Throughput::Elements(QUERIES as u64));
    for set in SETS {
        let (snapshot, queries) = (set.sealed(20_000, Quantization::None), set.queries(20_000));
        for percent in [1, 10, 50] {
            let below = Value::Map([("$lt".to_owned(), Value::U64(percent))].into());
            let filter = Filter::parse(&Value::Map([("n".to_owned(), below)].into())).expect("a valid filter");
            group.bench_function(BenchmarkId::new(format!("{percent}-percent"), set.dimension), |b| {
                b.iter(|| search_all(&snapshot, &queries, Some(&filter)));
            });
        }
    }
    group.finish();
}

/// Searches as a caller would; how many points were found.
fn search_all(snapshot: &Snapshot, queries: &[QueryVector], filter: Option<&Filter>) -> usize {
    let mut scratch = Scratch::default();
    let mut hits = 0;
    for query in queries {
        let mut request = SearchRequest::new(query.clone(), 10).expect("ten is in range").with_plan(Plan::Auto);
        if let Some(filter) = filter {
            request = request.with_filter(filter.clone());
        }
        hits += snapshot.search(&request, &mut scratch).expect("the query fits").hits.len();
    }
    hits
}

fn seal_memtable(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal");
    group.throughput(Throughput::Elements(2_000));
    for set in SETS {
        group.bench_function(BenchmarkId::from_parameter(set.dimension), |b| {
            let full = || set.memtable(2_000, Quantization::None);
            b.iter_batched_ref(full, seal, BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn open(c: &mut Criterion) {
    let mut group = c.benchmark_group("open");
    for set in SETS {
        let snapshot = set.sealed(20_000, Quantization::None);
        let sealed = Arc::clone(&snapshot.segments()[0].segment);
        let bytes = Arc::new(AlignedBytes::copy_of(sealed.bytes()));
        for (name, checks) in [("structure", Checks::Structure), ("sums", Checks::Sums), ("all", Checks::All)] {
            group.bench_function(BenchmarkId::new(name, set.dimension), |b| {
                b.iter(|| Segment::open(sealed.id(), bytes.clone(), checks).expect("what was sealed opens"));
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().configure_from_args().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = build, search, filter, seal_memtable, open
}
criterion_main!(benches);
