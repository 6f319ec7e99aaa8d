//! The data sets as the engine takes them.

use super::npy::{self, Matrix};
use crate::engine::host::{Host, ids};
use crate::support::data_set;
use hyperspace_core::collection::{CollectionConfig, Vectors};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::quant::Quantization;
use std::path::PathBuf;

/// A base, held-out queries and the true nearest of each.
pub(super) struct Set {
    pub(super) name: String,
    pub(super) metric: Metric,
    pub(super) base: Matrix,
    pub(super) queries: Matrix,
    /// Ids and distances of the 100 nearest; absent where brute force has to tell.
    pub(super) truth: Option<(Matrix, Matrix)>,
    folder: PathBuf,
}

/// Columns of metadata in `minilm-384`, which serve `poincare-10` too.
const COLUMNS: [&str; 3] = ["lexname", "depth", "u"];

impl Set {
    /// Reads a set; `None` (recorded as a skip) when the data are not there.
    pub(super) fn open(name: &str, metric: Metric) -> Option<Self> {
        let folder = data_set(name)?;
        let base = ["base.npy", "base.npy.gz"].map(|file| folder.join(file)).into_iter().find(|path| path.is_file());
        let (base, queries) = match base {
            Some(path) => (npy::read(&path), folder.join("queries.npy")),
            None => (uniform(0, 100_000, metric), PathBuf::new()),
        };
        let queries = match name {
            "uniform-8" => uniform(100_000, 1_000, metric),
            "poincare-5-mammals" => Matrix { columns: base.columns, values: base.values.clone() },
            _ => npy::read(&queries),
        };
        let kind = if name == "poincare-5-mammals" { "poincare.self" } else { metric.as_str() };
        let file = |what: &str| folder.join(format!("gt.{kind}.{what}.npy"));
        let truth = file("ids").is_file().then(|| (npy::read(&file("ids")), npy::read(&file("dist"))));
        Some(Self { name: name.to_owned(), metric, base, queries, truth, folder })
    }

    /// The base in a collection, sealed into one segment.
    pub(super) fn build(&self, quantization: Quantization) -> Host {
        let config = CollectionConfig::new("set", self.base.columns, self.metric).unwrap();
        let mut host = Host::create(CollectionConfig { quantization, ..config }).unwrap();
        let columns = COLUMNS.map(|name| self.folder.join(format!("../minilm-384/meta.{name}.npy")));
        let has_metadata = matches!(self.name.as_str(), "minilm-384" | "poincare-10");
        let columns: Vec<Matrix> =
            if has_metadata { columns.iter().map(|path| npy::read(path)).collect() } else { Vec::new() };
        let rows: Vec<usize> = (0..self.base.rows()).collect();
        for chunk in rows.chunks(10_000) {
            let metadata: Vec<Metadata> =
                if has_metadata { chunk.iter().map(|&row| describe(&columns, row)).collect() } else { Vec::new() };
            let values = &self.base.values[chunk[0] * self.base.columns..][..chunk.len() * self.base.columns];
            let ids = ids(chunk[0] as u64, chunk.len());
            if self.metric == Metric::Poincare {
                host.upsert(&ids, Vectors::F64(values), &metadata).unwrap();
            } else {
                let values: Vec<f32> = values.iter().map(|&x| x as f32).collect();
                host.upsert(&ids, Vectors::F32(&values), &metadata).unwrap();
            }
        }
        host.settle().unwrap();
        host
    }

    /// A query as users give it: doubles for poincare, floats else.
    pub(super) fn query(&self, of: &Matrix, at: usize) -> QueryVector {
        match self.metric {
            Metric::Poincare => QueryVector::from_f64(self.metric, of.columns, of.row(at)).unwrap(),
            _ => QueryVector::from_f32(self.metric, of.columns, &of.row_f32(at)).unwrap(),
        }
    }

    /// The ground truth under one of the six filters.
    pub(super) fn filtered_truth(&self, filter: &str) -> (Matrix, Matrix) {
        let file = |what: &str| self.folder.join(format!("gt.{}.{filter}.{what}.npy", self.metric.as_str()));
        (npy::read(&file("ids")), npy::read(&file("dist")))
    }
}

fn describe(columns: &[Matrix], row: usize) -> Metadata {
    let fields = COLUMNS.iter().zip(columns).map(|(name, column)| {
        let value = column.values[row];
        let value = if *name == "u" { Value::F64(value) } else { Value::I64(value as i64) };
        ((*name).to_owned(), value)
    });
    Metadata::from_value(&Value::Map(fields.collect())).unwrap()
}

/// The recipe of `uniform-8`: a hash of the component's number, exact in f32.
fn uniform(first: u32, count: u32, metric: Metric) -> Matrix {
    let scale = if metric == Metric::Poincare { 0.35_f32 } else { 1.0 };
    let component = |number: u32| {
        let mut x = 8001_u32.wrapping_add(0x9E37_79B9_u32.wrapping_mul(number.wrapping_add(1)));
        x = (x ^ x >> 16).wrapping_mul(0x21F0_AAAD);
        x = (x ^ x >> 15).wrapping_mul(0xD35A_2D97);
        x ^= x >> 15;
        f64::from(((x >> 8) as f32 * 2_f32.powi(-23) - 1.0) * scale)
    };
    Matrix { columns: 8, values: (first * 8..(first + count) * 8).map(component).collect() }
}

#[test]
fn the_uniform_set_begins_as_its_recipe_says() {
    let first = uniform(0, 1, Metric::L2);
    assert_eq!((first.values[0], first.values[7]), (0.887_418_508_529_663_1, -0.953_980_803_489_685_1));
}
