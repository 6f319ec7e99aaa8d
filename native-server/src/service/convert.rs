//! Between the messages of the wire and the engine's types: everything from outside is checked here, and nothing is
//! allocated that the message's own bytes do not justify.

use std::sync::atomic::{AtomicUsize, Ordering};

use hyperspace_core::collection::{self, MAX_BATCH};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::{MAX_METADATA_BYTES, Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::port;
use hyperspace_core::quant::Quantization;
use hyperspace_core::types::{CollectionName, PointId};
use uuid::Uuid;

use crate::proto;
use crate::proto::point_id::Id;
use crate::proto::vectors::Rows as ProtoRows;

/// The longest filter, as text.
const MAX_FILTER_BYTES: usize = 1 << 20;
/// The longest answer.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A whole number as an index or a count; too large ones stay too large, for the check of their limit.
pub(super) fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// An optional number that the engine keeps in 32 bits.
pub(super) fn small(what: &str, number: Option<u64>) -> Result<Option<u32>> {
    let narrow = |n| u32::try_from(n).map_err(|_| Error::invalid_argument(format!("{what} is far too large: {n}")));
    number.map(narrow).transpose()
}

/// Names a part of a batch in its error.
fn of_point(at: usize, what: &str) -> impl FnOnce(Error) -> Error + '_ {
    move |e| Error::new(e.kind(), format!("{what} of point {at}: {}", e.message()))
}

/// Reads the name of a collection. One that is too long stays too long when it is cut, and is not repeated whole.
///
/// # Errors
/// `InvalidArgument` when it is none.
pub(super) fn name_from(name: &str) -> Result<CollectionName> {
    /// One more than a name may have.
    const ENOUGH: usize = 65;
    CollectionName::new(&name[..name.ceil_char_boundary(ENOUGH)])
}

/// Refuses a batch that is too large.
pub(super) fn check_batch(points: usize) -> Result<()> {
    if points <= MAX_BATCH {
        return Ok(());
    }
    Err(Error::limit_exceeded(format!("a batch has at most {MAX_BATCH} points, not {points}")))
}

pub(super) fn ids_from(ids: &[proto::PointId]) -> Result<Vec<PointId>> {
    check_batch(ids.len())?;
    let id_from = |(at, id): (usize, &proto::PointId)| match &id.id {
        Some(Id::Number(number)) => Ok(PointId::Int(*number)),
        Some(Id::Text(text)) => PointId::string(text).map_err(of_point(at, "the id")),
        None => Err(Error::invalid_argument(format!("the id of point {at} is empty"))),
    };
    ids.iter().enumerate().map(id_from).collect()
}

pub(super) fn id_to(id: &PointId) -> proto::PointId {
    let id = match id {
        PointId::Int(number) => Id::Number(*number),
        PointId::Str(text) => Id::Text(text.to_string()),
    };
    proto::PointId { id: Some(id) }
}

/// Makes ids for points that came without.
pub(super) fn new_ids(points: usize) -> Result<Vec<PointId>> {
    check_batch(points)?;
    (0..points).map(|_| PointId::string(&Uuid::now_v7().to_string())).collect()
}

/// Rows of a message as numbers.
#[derive(Debug)]
pub(super) enum Rows {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Rows {
    /// Decodes rows of `dimension` components; `points` says how many there have to be, if that is known.
    pub(super) fn decode(vectors: Option<&proto::Vectors>, dimension: usize, points: Option<usize>) -> Result<Self> {
        let rows = vectors.and_then(|v| v.rows.as_ref());
        let (bytes, size) = match rows.ok_or_else(|| Error::invalid_argument("the vectors are missing"))? {
            ProtoRows::F32(bytes) => (bytes, size_of::<f32>()),
            ProtoRows::F64(bytes) => (bytes, size_of::<f64>()),
        };
        let row = dimension * size;
        if bytes.len() % row != 0 || points.is_some_and(|points| points * row != bytes.len()) {
            let wanted = points.map_or_else(|| "rows".into(), |points| format!("{points} rows"));
            return Err(Error::invalid_argument(format!(
                "the vectors have {} bytes, which is not {wanted} of {dimension} components of {size} bytes",
                bytes.len()
            )));
        }
        Ok(if size == size_of::<f32>() {
            Self::F32(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        } else {
            Self::F64(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
        })
    }

    /// How many components all rows have.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    pub(super) fn as_vectors(&self) -> collection::Vectors<'_> {
        match self {
            Self::F32(v) => collection::Vectors::F32(v),
            Self::F64(v) => collection::Vectors::F64(v),
        }
    }

    /// Each row as a query.
    pub(super) fn queries(&self, metric: Metric, dimension: usize) -> Result<Vec<QueryVector>> {
        match self {
            Self::F32(v) => v.chunks_exact(dimension).map(|q| QueryVector::from_f32(metric, dimension, q)).collect(),
            Self::F64(v) => v.chunks_exact(dimension).map(|q| QueryVector::from_f64(metric, dimension, q)).collect(),
        }
    }
}

pub(super) fn row_to(row: &[f32]) -> Vec<u8> {
    row.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn json(text: &str, limit: usize) -> Result<Value> {
    if text.len() > limit {
        return Err(Error::limit_exceeded(format!("{} bytes, the limit is {limit}", text.len())));
    }
    serde_json::from_str(text).map_err(|error| Error::invalid_argument(error.to_string()))
}

/// Reads the metadata of `points` points: one text each, "" for none, or no texts at all.
pub(super) fn metadata_from(texts: &[String], points: usize) -> Result<Vec<Metadata>> {
    if !texts.is_empty() && texts.len() != points {
        return Err(Error::invalid_argument(format!("{} metadata for {points} points", texts.len())));
    }
    let metadata_from = |(at, text): (usize, &String)| {
        if text.is_empty() {
            return Ok(Metadata::default());
        }
        let object = json(text, MAX_METADATA_BYTES).and_then(|value| Metadata::from_value(&value));
        object.map_err(of_point(at, "the metadata"))
    };
    texts.iter().enumerate().map(metadata_from).collect()
}

pub(super) fn metadata_to(metadata: &Metadata) -> Result<String> {
    serde_json::to_string(&metadata.to_value())
        .map_err(|error| Error::internal(format!("metadata that cannot be written as JSON: {error}")))
}

/// Reads a filter; "" is none, and matches everything.
pub(super) fn filter_from(text: &str) -> Result<Filter> {
    let named = |e: Error| Error::new(e.kind(), format!("the filter: {}", e.message()));
    let value = if text.is_empty() { Value::Map([].into()) } else { json(text, MAX_FILTER_BYTES).map_err(named)? };
    Filter::parse(&value)
}

/// What a write has to survive; `None` leaves it to the server's default.
pub(super) fn durability_from(number: i32) -> Result<Option<port::Durability>> {
    match proto::Durability::try_from(number) {
        Ok(proto::Durability::Unspecified) => Ok(None),
        Ok(proto::Durability::Strict) => Ok(Some(port::Durability::Strict)),
        Ok(proto::Durability::Relaxed) => Ok(Some(port::Durability::Relaxed)),
        Err(_) => Err(Error::invalid_argument(format!("there is no durability {number}"))),
    }
}

fn metric_from(number: i32) -> Result<Metric> {
    match proto::Metric::try_from(number) {
        Ok(proto::Metric::L2) => Ok(Metric::L2),
        Ok(proto::Metric::Cosine) => Ok(Metric::Cosine),
        Ok(proto::Metric::Dot) => Ok(Metric::Dot),
        Ok(proto::Metric::Poincare) => Ok(Metric::Poincare),
        Ok(proto::Metric::Unspecified) => {
            Err(Error::invalid_argument("the metric is missing: one of l2, cosine, dot, poincare"))
        }
        Err(_) => Err(Error::invalid_argument(format!("there is no metric {number}"))),
    }
}

const fn metric_to(metric: Metric) -> proto::Metric {
    match metric {
        Metric::L2 => proto::Metric::L2,
        Metric::Cosine => proto::Metric::Cosine,
        Metric::Dot => proto::Metric::Dot,
        Metric::Poincare => proto::Metric::Poincare,
    }
}

const fn quantization_to(quantization: Quantization) -> proto::Quantization {
    match quantization {
        Quantization::None => proto::Quantization::None,
        Quantization::ScalarI8 => proto::Quantization::ScalarI8,
    }
}

pub(super) fn config_from(config: Option<proto::CollectionConfig>) -> Result<collection::CollectionConfig> {
    let config = config.ok_or_else(|| Error::invalid_argument("the configuration is missing"))?;
    if !config.text_fields.is_empty() {
        return Err(Error::unsupported("text search is not built yet: leave `text_fields` out"));
    }
    let quantization = match proto::Quantization::try_from(config.quantization) {
        Ok(proto::Quantization::None) => Quantization::None,
        Ok(proto::Quantization::ScalarI8) => Quantization::ScalarI8,
        Err(_) => {
            return Err(Error::invalid_argument(format!("there is no quantization {}", config.quantization)));
        }
    };
    let metric = metric_from(config.metric)?;
    let checked = collection::CollectionConfig {
        quantization,
        m: small("m", config.m)?,
        ef_construction: small("ef_construction", config.ef_construction)?,
        ef_search: small("ef_search", config.ef_search)?,
        ..collection::CollectionConfig::new(name_from(&config.name)?.as_str(), count(config.dimension), metric)?
    };
    checked.check()?;
    Ok(checked)
}

pub(super) fn config_to(config: &collection::CollectionConfig) -> proto::CollectionConfig {
    proto::CollectionConfig {
        name: config.name.to_string(),
        dimension: config.dimension as u64,
        metric: metric_to(config.metric).into(),
        quantization: quantization_to(config.quantization).into(),
        m: config.m.map(u64::from),
        ef_construction: config.ef_construction.map(u64::from),
        ef_search: config.ef_search.map(u64::from),
        text_fields: Vec::new(),
    }
}

/// What an answer may still grow by.
#[derive(Debug)]
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) const fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Takes what a point needs on the wire, before the next one is put together.
    ///
    /// # Errors
    /// `LimitExceeded` when that is more than is left.
    pub(super) fn spend(&self, id: &PointId, metadata: usize, vector: usize) -> Result<()> {
        /// Tags and lengths of a point's fields, and its distance.
        const AROUND: usize = 40;
        let id = match id {
            PointId::Int(_) => 10,
            PointId::Str(text) => text.len(),
        };
        let bytes = AROUND + id + metadata + vector;
        let taken = self.0.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(|_| ()).map_err(|_| {
            Error::limit_exceeded(format!(
                "the answer is longer than {MAX_ANSWER_BYTES} bytes: ask for fewer points, or without vectors"
            ))
        })
    }

    /// Whether fewer than so many bytes are left.
    pub(super) fn has_fewer_than(&self, bytes: usize) -> bool {
        self.0.load(Ordering::Relaxed) < bytes
    }
}

/// What a caller wants of each point beside its id.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) vector: bool,
    pub(super) metadata: bool,
}

impl Wanted {
    /// Metadata comes unless it is declined.
    pub(super) fn new(with_vector: bool, with_metadata: Option<bool>) -> Self {
        Self { vector: with_vector, metadata: with_metadata.unwrap_or(true) }
    }

    /// Metadata and vector as they go into an answer, paid from its budget.
    fn parts(
        self,
        id: &PointId,
        metadata: impl FnOnce() -> Metadata,
        vector: &[f32],
        budget: &Budget,
    ) -> Result<(String, Vec<u8>)> {
        let metadata = if self.metadata { metadata_to(&metadata())? } else { String::new() };
        let vector = if self.vector { vector } else { &[] };
        budget.spend(id, metadata.len(), size_of_val(vector))?;
        Ok((metadata, row_to(vector)))
    }

    pub(super) fn point(self, point: collection::Point, budget: &Budget) -> Result<proto::Point> {
        let (metadata, vector) = self.parts(&point.id, || point.metadata, &point.vector, budget)?;
        let term = if self.vector { point.term } else { 0.0 };
        Ok(proto::Point { id: Some(id_to(&point.id)), vector, metadata, term })
    }

    pub(super) fn hit(
        self,
        snapshot: &collection::Snapshot,
        hit: &collection::Hit,
        budget: &Budget,
    ) -> Result<proto::Hit> {
        let (metadata, vector) =
            self.parts(&hit.id, || snapshot.hit_metadata(hit), snapshot.hit_vector(hit), budget)?;
        Ok(proto::Hit { id: Some(id_to(&hit.id)), distance: hit.distance, metadata, vector })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use hyperspace_core::collection::CollectionConfig;
    use hyperspace_core::error::ErrorKind;

    fn vectors(rows: ProtoRows) -> proto::Vectors {
        proto::Vectors { rows: Some(rows) }
    }

    fn kind<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorKind {
        outcome.unwrap_err().kind()
    }

    #[test]
    fn rows_come_back_as_they_were_sent() {
        let floats = [1.5_f32, -0.0, f32::MIN_POSITIVE, f32::MAX, 1e-40, 3.0];
        let sent = vectors(ProtoRows::F32(row_to(&floats).into()));
        let Rows::F32(read) = Rows::decode(Some(&sent), 3, Some(2)).unwrap() else { panic!("floats became doubles") };
        let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&floats));

        let doubles = [0.1_f64, -1e300];
        let bytes: Vec<u8> = doubles.iter().flat_map(|x| x.to_le_bytes()).collect();
        let sent = vectors(ProtoRows::F64(bytes.into()));
        let Rows::F64(read) = Rows::decode(Some(&sent), 2, None).unwrap() else { panic!("doubles became floats") };
        assert_eq!(read, doubles);
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_with_both_numbers() {
        for (bytes, points) in [(11, None), (20, None), (24, Some(1)), (12, Some(2)), (0, Some(1))] {
            let sent = vectors(ProtoRows::F32(vec![0; bytes].into()));
            let error = Rows::decode(Some(&sent), 3, points).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(&format!("{bytes} bytes")), "{error}");
            assert!(error.message().contains("3 components of 4 bytes"), "{error}");
        }
        assert_eq!(kind(Rows::decode(None, 3, None)), ErrorKind::InvalidArgument);
        assert_eq!(kind(Rows::decode(Some(&proto::Vectors::default()), 3, None)), ErrorKind::InvalidArgument);
    }

    #[test]
    fn ids_keep_their_value_and_their_order() {
        let ids = [PointId::Int(0), PointId::Int(u64::MAX), PointId::string("\u{e4}").unwrap()];
        let sent: Vec<_> = ids.iter().map(id_to).collect();
        assert_eq!(ids_from(&sent).unwrap(), ids);
        for bad in [String::new(), "x".repeat(129)] {
            let sent = [id_to(&ids[0]), proto::PointId { id: Some(Id::Text(bad)) }];
            let error = ids_from(&sent).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains("point 1"), "{error}");
        }
        assert_eq!(kind(ids_from(&vec![id_to(&ids[0]); MAX_BATCH + 1])), ErrorKind::LimitExceeded);
        assert_eq!(kind(new_ids(MAX_BATCH + 1)), ErrorKind::LimitExceeded);
        let made = new_ids(100).unwrap();
        assert!(made.is_sorted_by(|a, b| a < b), "UUIDv7 rise, and none is made twice");
    }

    #[test]
    fn names_are_checked_and_long_ones_are_not_repeated() {
        for good in ["a".repeat(64), "a-0_".into()] {
            assert_eq!(name_from(&good).unwrap().as_str(), good);
        }
        let long = ["a".repeat(65), "\u{1}".repeat(1 << 20), "\u{1f600}".repeat(1 << 20), "a".repeat(64) + "\u{e4}"];
        for bad in long.into_iter().chain(["", "A", "../x"].map(String::from)) {
            let error = name_from(&bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().len() < 600, "{} bytes", error.message().len());
        }
    }

    #[test]
    fn metadata_keeps_its_numbers() {
        let text = r#"{"a":[1,1.0,-0.1,18446744073709551615,null,true],"b":{"c":"\u00e4"}}"#;
        let read = metadata_from(&[text.into(), String::new()], 2).unwrap();
        assert_eq!(metadata_to(&read[0]).unwrap(), text.replace("\\u00e4", "\u{e4}"));
        assert_eq!(metadata_to(&read[1]).unwrap(), "{}");
        assert_eq!(metadata_from(&[], 2).unwrap(), []);
    }

    #[test]
    fn metadata_that_is_none_is_refused_by_the_number_of_its_point() {
        for bad in ["1", "[]", "{", r#"{"a":1,"a":2}"#, "{\"a\":1e999}", "{} {}"] {
            let error = metadata_from(&[String::new(), bad.into()], 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
            assert!(error.message().contains("point 1"), "{error}");
        }
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_METADATA_BYTES));
        assert_eq!(kind(metadata_from(&[long], 1)), ErrorKind::LimitExceeded);
        assert_eq!(kind(metadata_from(&["{}".into()], 2)), ErrorKind::InvalidArgument);
    }

    #[test]
    fn no_filter_is_the_one_that_matches_everything() {
        assert!(filter_from("").unwrap().matches_everything());
        assert!(filter_from("{}").unwrap().matches_everything());
        assert!(!filter_from(r#"{"a":1}"#).unwrap().matches_everything());
        for bad in ["{", "1", r#"{"a":{"$near":1}}"#] {
            assert_eq!(kind(filter_from(bad)), ErrorKind::InvalidArgument, "{bad}");
        }
        assert_eq!(kind(filter_from(&" ".repeat(MAX_FILTER_BYTES + 1))), ErrorKind::LimitExceeded);
    }

    #[test]
    fn configurations_cross_both_ways() {
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
            let plain = CollectionConfig::new("c", 3, metric).unwrap();
            let full = CollectionConfig {
                quantization: Quantization::ScalarI8,
                m: Some(8),
                ef_construction: Some(100),
                ef_search: Some(50),
                ..plain.clone()
            };
            for config in [plain, full] {
                assert_eq!(config_from(Some(config_to(&config))).unwrap(), config);
            }
        }
        let good = || config_to(&CollectionConfig::new("c", 3, Metric::L2).unwrap());
        let bad = [
            None,
            Some(proto::CollectionConfig { metric: 0, ..good() }),
            Some(proto::CollectionConfig { metric: 9, ..good() }),
            Some(proto::CollectionConfig { quantization: 9, ..good() }),
            Some(proto::CollectionConfig { name: "A".into(), ..good() }),
            Some(proto::CollectionConfig { m: Some(1), ..good() }),
            Some(proto::CollectionConfig { ef_search: Some(u64::MAX), ..good() }),
            Some(proto::CollectionConfig { dimension: u64::MAX, ..good() }),
        ];
        for config in bad {
            assert_eq!(kind(config_from(config.clone())), ErrorKind::InvalidArgument, "{config:?}");
        }
    }

    #[test]
    fn an_answer_is_given_up_before_it_is_too_long() {
        let budget = Budget::new(1_000);
        let id = PointId::Int(1);
        budget.spend(&id, 0, 900).unwrap();
        assert_eq!(kind(budget.spend(&id, 0, 900)), ErrorKind::LimitExceeded);
        budget.spend(&id, 0, 0).unwrap();
    }
}
