//! What scoring rows costs: full rows and their codes, from the cache and from memory. One element is one row.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fearless_simd::{Level, dispatch};
use hyperspace_bench::rows::{Random, Rows as Values};
use hyperspace_core::metric::{Metric, ProbeRoom, QueryVector, Rows, VectorSpace};
use hyperspace_core::quant::Codes;

/// Rows scored by one call, as the neighbours of a node are.
const BATCH: usize = 32;
/// Batches in a pass, so that what one pass reads is not what the last one left in the cache.
const BATCHES: usize = 400;
/// Bytes of full rows that are in a cache, and that are in none.
const SIZES: [(&str, usize); 2] = [("warm", 1 << 16), ("cold", 1 << 28)];

fn rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements((BATCH * BATCHES) as u64));
    for (state, bytes) in SIZES {
        for dimension in [8, 50, 128, 384, 768] {
            let count = (bytes / 4 / dimension).max(BATCH);
            let values = Values::even(1, count, dimension).values;
            let space = VectorSpace { metric: Metric::L2, dimension, rows: &values, terms: &[] };
            let codes = Codes::of(&space).expect("numbers below 1 have codes");
            let query = QueryVector::from_f32(Metric::L2, dimension, &values[..dimension]).expect("a row is a query");
            let mut random = Random(2);
            let offsets: Vec<u32> = (0..BATCH * BATCHES).map(|_| (random.bits() % count as u64) as u32).collect();
            group.bench_with_input(BenchmarkId::new(format!("f32-{state}"), dimension), &offsets, |b, offsets| {
                b.iter(|| score(&space, &query, offsets));
            });
            group.bench_with_input(BenchmarkId::new(format!("i8-{state}"), dimension), &offsets, |b, offsets| {
                b.iter(|| score(&codes.space(), &query, offsets));
            });
        }
    }
    group.finish();
}

fn score<R: Rows>(rows: &R, query: &QueryVector, offsets: &[u32]) -> f32 {
    let mut room = ProbeRoom::default();
    let probe = rows.query(query, &mut room);
    let level = Level::try_detect().expect("the machine says what it has");
    let mut keys = [0.0; BATCH];
    let mut sum = 0.0;
    for batch in offsets.chunks_exact(BATCH) {
        dispatch!(level, simd => rows.score_offsets(simd, probe, batch, &mut keys));
        sum += keys[0];
    }
    sum
}

criterion_group! {
    name = benches;
    config = Criterion::default().configure_from_args().sample_size(20);
    targets = rows
}
criterion_main!(benches);
