//! What `expected.json` says of an image, and the comparison with what an engine finds.

use std::path::Path;
use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{Collection, Plan, Scratch, SearchRequest, Snapshot};
use hyperspace_core::error::Result;
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::types::{PointId, SegmentId, Tenant};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Every collection of an image.
#[derive(Deserialize, Serialize)]
pub(super) struct Expected {
    pub(super) collections: Vec<Contents>,
}

/// A collection of an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Contents {
    pub(super) tenant: String,
    pub(super) name: String,
    /// The folder of its files.
    pub(super) space: String,
    pub(super) dimension: usize,
    pub(super) metric: String,
    pub(super) ef_search: Option<u32>,
    /// What its manifest and segments hold.
    pub(super) sealed: State,
    /// The same with the log.
    pub(super) whole: State,
}

/// A collection at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct State {
    pub(super) segments: usize,
    /// Dead points in segments.
    pub(super) dead: usize,
    pub(super) tombstones: usize,
    pub(super) points: Vec<Point>,
    pub(super) searches: Vec<Search>,
}

/// A live point.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) id: Id,
    /// Its row: values of f32 in their shortest form.
    pub(super) vector: Vec<f64>,
    pub(super) metadata: Value,
}

/// A search and all it finds, nearest first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Search {
    pub(super) query: Vec<f64>,
    pub(super) filter: Value,
    pub(super) top_k: usize,
    pub(super) hits: Vec<(Id, f64)>,
}

/// An id, in the order of ids: numbers, then strings by their bytes.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub(super) enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    pub(super) fn to_point_id(&self) -> PointId {
        match self {
            Self::Number(number) => PointId::Int(*number),
            Self::Text(text) => PointId::string(text).unwrap(),
        }
    }
}

pub(super) fn tenant(name: &str) -> Tenant {
    Tenant::verified(name).unwrap()
}

pub(super) fn to_metadata(value: &Value) -> Metadata {
    Metadata::from_value(&serde_json::from_value(value.clone()).unwrap()).unwrap()
}

impl Contents {
    pub(super) fn tenant(&self) -> Tenant {
        tenant(&self.tenant)
    }

    pub(super) fn metric(&self) -> Metric {
        Metric::parse(&self.metric).unwrap()
    }

    /// Opens the manifest and the segments in a data directory as bytes from outside, without the log.
    pub(super) fn open_sealed(&self, data: &Path) -> Result<Collection> {
        let folder = data.join("spaces").join(&self.space);
        let manifest = Manifest::decode(&std::fs::read(folder.join("manifest")).unwrap())?;
        let segments = manifest.segments.iter().map(|named| {
            let id = SegmentId(named.id);
            let bytes = std::fs::read(folder.join(id.to_string())).unwrap();
            Ok(Arc::new(Segment::open(id, Arc::new(AlignedBytes::copy_of(&bytes)), Checks::All)?))
        });
        Collection::open(&manifest, &segments.collect::<Result<Vec<_>>>()?)
    }
}

impl State {
    /// Fails unless a view holds exactly this, in as many segments.
    pub(super) fn check(&self, of: &Contents, view: &Snapshot, tombstones: usize) {
        let (segments, dead) = (view.segments().len(), view.dead());
        assert_eq!((segments, dead, tombstones), (self.segments, self.dead, self.tombstones), "{}", of.name);
        assert_eq!(view.config().ef_search, of.ef_search);
        assert_eq!(self.difference(of, view), None, "{}", of.name);
    }

    /// The first difference between what a view holds, or finds, and this.
    pub(super) fn difference(&self, of: &Contents, view: &Snapshot) -> Option<String> {
        if view.len() != self.points.len() {
            return Some(format!("{} points instead of {}", view.len(), self.points.len()));
        }
        let changed = self.points.iter().find(|point| {
            let found = view.get(&point.id.to_point_id());
            let row: Vec<f32> = point.vector.iter().map(|&x| x as f32).collect();
            found.is_none_or(|found| found.vector != row || found.metadata != to_metadata(&point.metadata))
        });
        if let Some(point) = changed {
            return Some(format!("{point:?} is not there as it was written"));
        }
        self.searches.iter().find_map(|search| search.difference(of, view))
    }
}

impl Search {
    /// The first difference between what is found, however it is looked for, and this.
    fn difference(&self, of: &Contents, view: &Snapshot) -> Option<String> {
        let query = QueryVector::from_f64(of.metric(), of.dimension, &self.query).unwrap();
        let filter = Filter::parse(&serde_json::from_value(self.filter.clone()).unwrap()).unwrap();
        [Plan::Exact, Plan::Auto, Plan::Graph].into_iter().find_map(|plan| {
            let request = SearchRequest::new(query.clone(), self.top_k).unwrap();
            // As many candidates as there are points: then a walk that misses one has a hole.
            let request = request.with_filter(filter.clone()).with_plan(plan).with_ef(1000).unwrap();
            let hits = view.search(&request, &mut Scratch::default()).unwrap().hits;
            let is_same = hits.len() == self.hits.len()
                && hits.iter().zip(&self.hits).all(|(hit, (id, distance))| {
                    let bound = 1e-5 * distance.abs().max(1.0);
                    hit.id == id.to_point_id() && (hit.distance - distance).abs() <= bound
                });
            (!is_same).then(|| format!("{plan:?} of {self:?} finds {hits:?}"))
        })
    }
}
