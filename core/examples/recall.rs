//! Recall of the graph at default settings over the shared data sets, one segment each.
//!
//! `cargo run --release -p hyperspace-core --example recall [-- SET ...]`, with the data in `$HS_DATA` (default
//! `../shared/data`). Prints build time, recall@10 of held-out queries, how many stored rows find themselves, and the
//! mean number of distances of a query.

use std::fs;
use std::io::{Error, Result};
use std::process::Command;
use std::time::Instant;

use hyperspace_core::hnsw::{GraphBuilder, HnswParams, SearchScratch, default_ef_search, search};
use hyperspace_core::metric::{Metric, QueryVector, VectorSpace, validate_f64};

const K: usize = 10;

struct Set {
    base: Vec<Vec<f64>>,
    queries: Vec<Vec<f64>>,
    /// Row numbers and distances, 100 a query; none when they are to be computed.
    truth: Option<(Vec<f64>, Vec<f64>)>,
}

fn main() -> Result<()> {
    for i in 0..6 {
        if let Ok(v) = std::env::var(format!("K{i}")) {
            hyperspace_core::hnsw::tune::KNOBS[i].store(v.parse().unwrap(), std::sync::atomic::Ordering::Relaxed);
        }
    }
    let root = std::env::var("HS_DATA").unwrap_or_else(|_| "../shared/data".into());
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    println!(
        "{:<20} {:<8} {:>6} {:>4} {:>8} {:>9} {:>9} {:>8} {:>6} {:>8} {:>7} {:>9}",
        "set", "metric", "n", "d", "build s", "recall@10", "self %", "dists", "% n", "us/query", "lost", "max error"
    );
    for (name, metric) in [
        ("poincare-5-mammals", Metric::Poincare),
        ("poincare-10-edge", Metric::Poincare),
        ("poincare-10", Metric::Poincare),
        ("uniform-8", Metric::L2),
        ("uniform-8", Metric::Cosine),
        ("uniform-8", Metric::Poincare),
        ("glove-50", Metric::L2),
        ("glove-50", Metric::Cosine),
        ("glove-50", Metric::Dot),
        ("minilm-384", Metric::Cosine),
        ("minilm-384", Metric::L2),
        ("minilm-384", Metric::Dot),
        ("mnist-784", Metric::L2),
    ] {
        let both = format!("{name}/{metric}");
        if wanted.is_empty() || wanted.iter().any(|w| both.starts_with(w.as_str())) {
            measure(name, metric, &load(&root, name, metric)?)?;
        }
    }
    Ok(())
}

fn measure(name: &str, metric: Metric, set: &Set) -> Result<()> {
    let dimension = set.base[0].len();
    let (mut rows, mut terms) = (Vec::new(), Vec::new());
    for vector in &set.base {
        let term = validate_f64(metric, dimension, vector, &mut rows).map_err(Error::other)?;
        if metric.has_terms() {
            terms.push(term);
        }
    }
    let space = VectorSpace { metric, dimension, rows: &rows, terms: &terms };
    let n = space.len();

    let start = Instant::now();
    let mut params = HnswParams::for_space(metric, dimension);
    if let Ok(v) = std::env::var("EFC") {
        params.ef_construction = v.parse().unwrap();
    }
    if let Ok(v) = std::env::var("M") {
        params.m = v.parse().unwrap();
    }
    if let Ok(v) = std::env::var("M0") {
        params.m0 = v.parse().unwrap();
    }
    let mut builder = GraphBuilder::new(params, n as u32).map_err(Error::other)?;
    while builder.step(&space, 1_000) > 0 {}
    let graph = builder.finish(&space);
    let build = start.elapsed().as_secs_f64();
    let view = graph.view();

    let mut ef = default_ef_search(metric, dimension, n);
    if let Ok(v) = std::env::var("EF") {
        ef = v.parse().unwrap();
    }
    let mut scratch = SearchScratch::new();
    let (mut right, mut distances, mut worst) = (0, 0, 0.0_f64);
    let queries: Vec<QueryVector> = set
        .queries
        .iter()
        .map(|q| QueryVector::from_f64(metric, dimension, q).map_err(Error::other))
        .collect::<Result<_>>()?;
    let mut searching = 0.0;
    for (at, query) in queries.iter().enumerate() {
        let start = Instant::now();
        let found = search(&view, &space, query, ef, None, &mut scratch);
        searching += start.elapsed().as_secs_f64();
        distances += found.distances;
        let mut got: Vec<f64> = found.candidates.iter().map(|c| query.distance_at(&space, c.offset)).collect();
        got.sort_by(f64::total_cmp);
        let bound = if let Some((ids, truth)) = &set.truth {
            for (id, truth) in ids[at * 100..][..100].iter().zip(&truth[at * 100..][..100]) {
                let mine = query.distance_at(&space, *id as u32);
                worst = worst.max((mine - truth).abs() / truth.abs().max(1.0));
            }
            truth[at * 100 + K - 1] + 1e-5 * truth[at * 100 + K - 1].abs().max(1.0) * 1e-2
        } else {
            let mut all: Vec<f64> = (0..n as u32).map(|offset| query.distance_at(&space, offset)).collect();
            all.select_nth_unstable_by(K - 1, f64::total_cmp).1.to_owned()
        };
        right += got.iter().take(K).filter(|&&d| d <= bound).count();
    }

    let mut own = 0;
    for offset in 0..n as u32 {
        let query = QueryVector::from_row(metric, space.row(offset), space.term(offset));
        let found = search(&view, &space, &query, ef, None, &mut scratch);
        let best = found.candidates.first().map(|c| c.offset);
        own += usize::from(best.is_some_and(|best| best == offset || space.row(best) == space.row(offset)));
    }
    let mean = distances as f64 / queries.len() as f64;
    println!(
        "{name:<20} {:<8} {n:>6} {dimension:>4} {build:>8.2} {:>9.4} {:>9.3} {mean:>8.0} {:>6.2} {:>8.1} {:>7} {worst:>9.1e}",
        metric.as_str(),
        right as f64 / (queries.len() * K) as f64,
        100.0 * own as f64 / n as f64,
        100.0 * mean / n as f64,
        1e6 * searching / queries.len() as f64,
        view.unreachable().len(),
    );
    Ok(())
}

fn load(root: &str, name: &str, metric: Metric) -> Result<Set> {
    let dir = format!("{root}/{name}");
    if name == "uniform-8" {
        let scale = if metric == Metric::Poincare { 0.35_f32 } else { 1.0 };
        let row = |i: u32| (0..8).map(|j| f64::from(uniform(8001, 8 * i + j) * scale)).collect::<Vec<f64>>();
        let (base, queries) = ((0..100_000).map(row).collect(), (100_000..101_000).map(row).collect());
        return Ok(Set { base, queries, truth: Some(truth(&dir, metric.as_str())?) });
    }
    let base =
        if name == "mnist-784" { array(&format!("{dir}/base.npy.gz"))? } else { array(&format!("{dir}/base.npy"))? };
    if name == "poincare-5-mammals" {
        let truth = truth(&dir, "poincare.self")?;
        return Ok(Set { queries: base.clone(), base, truth: Some(truth) });
    }
    let queries = array(&format!("{dir}/queries.npy"))?;
    let truth = if metric == Metric::Dot { None } else { Some(truth(&dir, metric.as_str())?) };
    Ok(Set { base, queries, truth })
}

fn truth(dir: &str, key: &str) -> Result<(Vec<f64>, Vec<f64>)> {
    let ids = array(&format!("{dir}/gt.{key}.ids.npy"))?.concat();
    Ok((ids, array(&format!("{dir}/gt.{key}.dist.npy"))?.concat()))
}

/// The recipe of `uniform-8` (see the data's README).
fn uniform(seed: u32, counter: u32) -> f32 {
    let mut x = seed.wrapping_add(0x9E37_79B9_u32.wrapping_mul(counter + 1));
    x ^= x >> 16;
    x = x.wrapping_mul(0x21F0_AAAD);
    x ^= x >> 15;
    x = x.wrapping_mul(0xD35A_2D97);
    x ^= x >> 15;
    (x >> 8) as f32 / 8_388_608.0 - 1.0
}

/// Reads a two-dimensional `.npy` (or gzipped) array; every type widens to f64 exactly.
fn array(path: &str) -> Result<Vec<Vec<f64>>> {
    let bytes = if path.ends_with(".gz") {
        Command::new("gzip").arg("-dc").arg(path).output()?.stdout
    } else {
        fs::read(path)?
    };
    let data = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..data]).into_owned();
    let between = |from: &str, to: char| {
        let rest = header.split_once(from).map(|(_, rest)| rest)?;
        rest.split_once(to).map(|(value, _)| value.to_owned())
    };
    let bad = || Error::other(format!("{path} is not an array this program reads"));
    let kind = between("'descr': '", '\'').ok_or_else(bad)?;
    let shape = between("'shape': (", ')').ok_or_else(bad)?;
    let width: usize = shape.split(',').nth(1).and_then(|s| s.trim().parse().ok()).ok_or_else(bad)?;
    let body = &bytes[data..];
    let values: Vec<f64> = match kind.as_str() {
        "<f2" => body.as_chunks().0.iter().map(|b| half(u16::from_le_bytes(*b))).collect(),
        "<f4" => body.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
        "<f8" => body.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
        "<i4" => body.as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect(),
        "|u1" => body.iter().map(|&b| f64::from(b)).collect(),
        _ => return Err(bad()),
    };
    Ok(values.chunks_exact(width).map(<[f64]>::to_vec).collect())
}

fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    match exponent {
        0 => sign * fraction * 2_f64.powi(-24),
        31 => sign * if fraction == 0.0 { f64::INFINITY } else { f64::NAN },
        _ => sign * (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    }
}
