//! For fuzz targets only (feature `fuzzing`): what is made of requests before the database sees them.

use std::net::IpAddr;

use http::{HeaderMap, Uri};
use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::Result;
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::types::{IdKey, PointId, Tenant};

use super::convert::{self, Rows};
use super::guard::Guard;
use super::{access, scroll};
use crate::auth::{Stored, Verifier};
use crate::proto;
use crate::settings::Settings;

/// Ids of a message.
pub fn ids(ids: &[proto::PointId]) -> Result<Vec<PointId>> {
    convert::ids_from(ids)
}

/// An id as it goes into an answer.
pub fn id_to(id: &PointId) -> proto::PointId {
    convert::id_to(id)
}

/// How many components the rows of a message have in all.
pub fn rows(vectors: Option<&proto::Vectors>, dimension: usize, points: Option<usize>) -> Result<usize> {
    Rows::decode(vectors, dimension, points).map(|rows| rows.len())
}

/// Metadata of a message, a text a point.
pub fn metadata(texts: &[String], points: usize) -> Result<Vec<Metadata>> {
    convert::metadata_from(texts, points)
}

/// Metadata as they go into an answer.
pub fn metadata_to(metadata: &Metadata) -> Result<String> {
    convert::metadata_to(metadata)
}

/// A filter of a message.
pub fn filter(text: &str) -> Result<Filter> {
    convert::filter_from(text)
}

/// The configuration of a collection.
pub fn config(config: Option<proto::CollectionConfig>) -> Result<CollectionConfig> {
    convert::config_from(config)
}

/// A configuration as it goes into an answer.
pub fn config_to(config: &CollectionConfig) -> proto::CollectionConfig {
    convert::config_to(config)
}

/// Where a page goes on.
pub fn cursor(bytes: &[u8]) -> Result<Option<IdKey>> {
    scroll::cursor_from(bytes)
}

/// Whether a request may come in at all.
pub fn guard(settings: &Settings, uri: &Uri, headers: &HeaderMap, arrived_at: Option<IpAddr>) -> Result<()> {
    Guard::new(settings).check(uri, headers, arrived_at)
}

/// For whom a request speaks, to a server without keys.
pub fn tenant(headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Tenant> {
    let verifier = Verifier { stored: &Stored::default(), administrator: None, now_ms: 0 };
    verifier.caller(&access::claims(headers, peer)?).map(|caller| caller.tenant().clone())
}
