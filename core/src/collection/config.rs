//! What a collection is: fixed at its creation, but for a few numbers that may be tuned.

use alloc::format;
use alloc::string::String;

use crate::error::{Error, Result};
use crate::hnsw::{HnswParams, default_ef_search};
use crate::log::{Layout, MAX_RECORD_BYTES, longest_record};
use crate::metric::Metric;
use crate::quant::Quantization;
use crate::segment::{Manifest, Segment};
use crate::types::CollectionName;

/// The largest dimension of a collection.
pub const MAX_DIMENSION: usize = 4096;
/// The largest batch of points in one write.
pub const MAX_BATCH: usize = 10_000;
/// The largest number of hits of one search.
pub const MAX_TOP_K: usize = 1_000;
/// The largest candidate list of a search or of a build.
pub const MAX_EF: usize = 4_096;
/// The largest number of links a node has above level 0.
pub const MAX_M: u32 = 64;

// What passed the checks of a write is never too long for the log.
const _: () = assert!(longest_record(MAX_BATCH, MAX_DIMENSION) <= MAX_RECORD_BYTES);

/// Configuration of a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionConfig {
    /// Its name.
    pub name: CollectionName,
    /// Components a vector: 1 to [`MAX_DIMENSION`].
    pub dimension: usize,
    /// How distance is measured.
    pub metric: Metric,
    /// How rows are compressed for the graphs.
    pub quantization: Quantization,
    /// Links a node above level 0; `None` takes the default of the metric and dimension.
    pub m: Option<u32>,
    /// Candidates kept while a graph is built; `None` takes the default of the metric and dimension.
    pub ef_construction: Option<u32>,
    /// Candidates kept while searching; `None` adapts to dimension and size.
    pub ef_search: Option<u32>,
    /// The seed of the graph's levels: the same points, order and seed give the same graph on one platform.
    pub seed: u64,
}

/// New numbers for a collection: `None` leaves the old one, `Some(None)` goes back to the one that adapts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// Candidates kept while searching.
    pub ef_search: Option<Option<u32>>,
    /// Candidates kept while a graph is built; graphs that are there stay as they are.
    pub ef_construction: Option<Option<u32>>,
}

impl CollectionConfig {
    /// A configuration with every default.
    ///
    /// # Errors
    /// `InvalidArgument` when the name or the dimension is out of range.
    pub fn new(name: &str, dimension: usize, metric: Metric) -> Result<Self> {
        let name = CollectionName::new(name)?;
        let quantization = Quantization::None;
        let config =
            Self { name, dimension, metric, quantization, m: None, ef_construction: None, ef_search: None, seed: 0 };
        config.check()?;
        Ok(config)
    }

    /// Checks that a segment can be one of this collection's.
    pub(super) fn check_segment(&self, segment: &Segment) -> Result<()> {
        if (segment.dimension(), segment.metric()) == (self.dimension, self.metric) {
            return Ok(());
        }
        Err(Error::corrupted(format!(
            "segment {} is {} of {} dimensions, collection `{}` is {} of {}",
            segment.id(),
            segment.metric().as_str(),
            segment.dimension(),
            self.name,
            self.metric.as_str(),
            self.dimension
        )))
    }

    /// Checks every number against its limit.
    ///
    /// # Errors
    /// `InvalidArgument` naming the setting, its value and its range.
    pub fn check(&self) -> Result<()> {
        in_range("dimension", self.dimension, 1, MAX_DIMENSION)?;
        if let Some(m) = self.m {
            in_range("m", m as usize, 2, MAX_M as usize)?;
        }
        for (what, value) in [("ef_construction", self.ef_construction), ("ef_search", self.ef_search)] {
            if let Some(value) = value {
                in_range(what, value as usize, 1, MAX_EF)?;
            }
        }
        Ok(())
    }

    /// The configuration with some numbers changed.
    pub(super) fn tuned(&self, tuning: Tuning) -> Result<Self> {
        let config = Self {
            ef_search: tuning.ef_search.unwrap_or(self.ef_search),
            ef_construction: tuning.ef_construction.unwrap_or(self.ef_construction),
            ..self.clone()
        };
        config.check()?;
        Ok(config)
    }

    /// How graphs of this collection are built.
    pub fn hnsw_params(&self) -> HnswParams {
        let mut params = HnswParams { seed: self.seed, ..HnswParams::for_space(self.metric, self.dimension) };
        if let Some(m) = self.m {
            (params.m, params.m0) = (m, params.m0 / params.m * m);
        }
        params.ef_construction = self.ef_construction.unwrap_or(params.ef_construction);
        params
    }

    /// How many candidates a search keeps in a segment of `points` points.
    pub fn ef_for(&self, points: usize) -> usize {
        self.ef_search.map_or_else(|| default_ef_search(self.metric, self.dimension, points), |ef| ef as usize)
    }

    /// How entries of records are laid out.
    pub(crate) const fn layout(&self, has_numbers: bool) -> Layout {
        Layout { dimension: self.dimension, has_terms: self.metric.has_terms(), has_numbers }
    }

    pub(crate) fn to_manifest(&self) -> Manifest {
        Manifest {
            name: self.name.as_str().as_bytes().to_vec(),
            dimension: self.dimension as u32,
            metric: self.metric.code(),
            quantization: self.quantization.code(),
            m: self.m.unwrap_or(0),
            ef_construction: self.ef_construction.unwrap_or(0),
            ef_search: self.ef_search.unwrap_or(0),
            seed: self.seed,
            ..Manifest::default()
        }
    }

    pub(crate) fn from_manifest(manifest: &Manifest) -> Result<Self> {
        let corrupted = |e: Error| Error::corrupted(format!("a manifest's configuration: {}", e.message()));
        let name = String::from_utf8_lossy(&manifest.name);
        let set = |value: u32| (value != 0).then_some(value);
        let config = Self {
            name: CollectionName::new(&name).map_err(corrupted)?,
            dimension: manifest.dimension as usize,
            metric: Metric::from_code(manifest.metric)?,
            quantization: Quantization::from_code(manifest.quantization)?,
            m: set(manifest.m),
            ef_construction: set(manifest.ef_construction),
            ef_search: set(manifest.ef_search),
            seed: manifest.seed,
        };
        config.check().map_err(corrupted)?;
        Ok(config)
    }
}

fn in_range(what: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_argument(format!("{what} is {low} to {high}, not {value}")))
}
