//! Between what people write and what the wire carries.

use bytes::Bytes;
use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::types::PointId;
use serde_json::Value;

use crate::proto;
use crate::proto::point_id::Id;
use crate::proto::vectors::Rows;

/// Reads an id as it is shown: `42` is a number, `a1` and `"42"` are strings.
pub(crate) fn parse_id(text: &str) -> Result<PointId> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(PointId::Int(number));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::String(quoted)) => PointId::string(&quoted),
        _ => PointId::string(text),
    }
}

/// An id in JSON: numbers exactly, strings quoted, so that `42` and `"42"` differ.
pub(crate) fn id_to_json(id: Option<&proto::PointId>) -> Value {
    match id.and_then(|id| id.id.as_ref()) {
        Some(Id::Number(number)) => Value::from(*number),
        Some(Id::Text(text)) => Value::from(text.as_str()),
        None => Value::Null,
    }
}

/// An id on the wire.
pub(crate) fn id_to_wire(id: &PointId) -> proto::PointId {
    let id = match id {
        PointId::Int(number) => Id::Number(*number),
        PointId::Str(text) => Id::Text(text.to_string()),
    };
    proto::PointId { id: Some(id) }
}

/// A metric on the wire.
pub(crate) const fn metric_to_wire(metric: Metric) -> proto::Metric {
    match metric {
        Metric::L2 => proto::Metric::L2,
        Metric::Cosine => proto::Metric::Cosine,
        Metric::Dot => proto::Metric::Dot,
        Metric::Poincare => proto::Metric::Poincare,
    }
}

/// The metric of a collection that the server described.
///
/// # Errors
/// `Unsupported` when the server is of a later version and has one that is not known here.
pub(crate) fn metric_of(config: &proto::CollectionConfig) -> Result<Metric> {
    match config.metric() {
        proto::Metric::L2 => Ok(Metric::L2),
        proto::Metric::Cosine => Ok(Metric::Cosine),
        proto::Metric::Dot => Ok(Metric::Dot),
        proto::Metric::Poincare => Ok(Metric::Poincare),
        proto::Metric::Unspecified => Err(Error::unsupported(format!(
            "collection `{}` has metric {}, which is of a later version",
            config.name, config.metric
        ))),
    }
}

/// A quantization on the wire.
pub(crate) const fn quantization_to_wire(quantization: Quantization) -> proto::Quantization {
    match quantization {
        Quantization::None => proto::Quantization::None,
        Quantization::ScalarI8 => proto::Quantization::ScalarI8,
    }
}

/// The quantization of a collection that the server described.
///
/// # Errors
/// `Unsupported` when it is one of a later version.
pub(crate) fn quantization_of(config: &proto::CollectionConfig) -> Result<Quantization> {
    match proto::Quantization::try_from(config.quantization) {
        Ok(proto::Quantization::None) => Ok(Quantization::None),
        Ok(proto::Quantization::ScalarI8) => Ok(Quantization::ScalarI8),
        Err(_) => {
            let message = format!("quantization {} of `{}` is of a later version", config.quantization, config.name);
            Err(Error::unsupported(message))
        }
    }
}

/// A configuration on the wire.
pub(crate) fn config_to_wire(config: &CollectionConfig) -> proto::CollectionConfig {
    proto::CollectionConfig {
        name: config.name.to_string(),
        dimension: config.dimension as u64,
        metric: metric_to_wire(config.metric).into(),
        quantization: quantization_to_wire(config.quantization).into(),
        m: config.m.map(u64::from),
        ef_construction: config.ef_construction.map(u64::from),
        ef_search: config.ef_search.map(u64::from),
        ..Default::default()
    }
}

/// The configuration of a collection that the server described.
///
/// # Errors
/// `Unsupported` as [`metric_of`]; `InvalidArgument` when a number is one that this version does not take.
pub(crate) fn config_of(config: &proto::CollectionConfig) -> Result<CollectionConfig> {
    // What is too large stays too large, for the check.
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let checked = CollectionConfig {
        quantization: quantization_of(config)?,
        m: config.m.map(small),
        ef_construction: config.ef_construction.map(small),
        ef_search: config.ef_search.map(small),
        ..CollectionConfig::new(&config.name, small(config.dimension) as usize, metric_of(config)?)?
    };
    checked.check()?;
    Ok(checked)
}

/// The id of a point that a server sent.
///
/// # Errors
/// `Internal` when there is none, `InvalidArgument` when it is none.
pub(crate) fn id_of(id: Option<&proto::PointId>) -> Result<PointId> {
    match id.and_then(|id| id.id.as_ref()) {
        Some(Id::Number(number)) => Ok(PointId::Int(*number)),
        Some(Id::Text(text)) => PointId::string(text),
        None => Err(Error::internal("the server sent a point without an id")),
    }
}

/// Rows of doubles.
pub(crate) fn doubles(numbers: &[f64]) -> proto::Vectors {
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    proto::Vectors { rows: Some(Rows::F64(Bytes::from(bytes))) }
}

/// The components of a row that a server sent, which is a whole number of f32.
pub(crate) fn components(row: &[u8]) -> Vec<f32> {
    row.as_chunks().0.iter().map(|&component| f32::from_le_bytes(component)).collect()
}

/// Metadata that a server sent.
///
/// # Errors
/// `Internal` when it is not JSON.
pub(crate) fn metadata(json: &str) -> Result<Value> {
    if json.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(json).map_err(|error| Error::internal(format!("the server sent metadata {json:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_shown() {
        let cases = [
            ("0", PointId::Int(0)),
            ("18446744073709551615", PointId::Int(u64::MAX)),
            ("18446744073709551616", PointId::Str("18446744073709551616".into())),
            ("-1", PointId::Str("-1".into())),
            ("a1", PointId::Str("a1".into())),
            ("\"42\"", PointId::Str("42".into())),
            ("\"", PointId::Str("\"".into())),
        ];
        for (text, expected) in cases {
            let id = parse_id(text).unwrap();
            assert_eq!(id, expected, "{text}");
            let shown = id_to_json(Some(&id_to_wire(&id))).to_string();
            assert_eq!(parse_id(&shown).unwrap(), expected, "{text} is shown as {shown}");
        }
        assert!(parse_id("").is_err() && parse_id("\"\"").is_err(), "a string id is not empty");
    }

    #[test]
    fn configurations_survive_the_wire_and_numbers_that_are_too_large_do_not() {
        let plain = CollectionConfig::new("c", 4096, Metric::Cosine).unwrap();
        let full = CollectionConfig {
            quantization: Quantization::ScalarI8,
            m: Some(64),
            ef_construction: Some(4096),
            ef_search: Some(1),
            ..plain.clone()
        };
        for config in [plain, full] {
            assert_eq!(config_of(&config_to_wire(&config)).unwrap(), config);
            let wrong = proto::CollectionConfig { ef_search: Some(1 << 40), ..config_to_wire(&config) };
            assert!(config_of(&wrong).is_err());
        }
    }

    #[test]
    fn every_metric_survives_the_wire() {
        for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
            let mut config = proto::CollectionConfig::default();
            config.set_metric(metric_to_wire(metric));
            assert_eq!(metric_of(&config).unwrap(), metric);
        }
        let later = proto::CollectionConfig { name: "c".into(), metric: 9, ..Default::default() };
        let error = metric_of(&later).unwrap_err();
        assert_eq!(error.message(), "collection `c` has metric 9, which is of a later version");
    }
}
