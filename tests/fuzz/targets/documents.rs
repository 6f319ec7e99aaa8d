//! What users write: metadata, filters and names.

use hyperspace_core::error::{Error, Result};
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::{Metadata, MetadataRef, Value};
use hyperspace_core::types::{CollectionName, PointId, Tenant};

use super::{accepted, decode, decode_tree};

/// Encoded metadata: one encoding for each object; and whatever the bytes, reading them in place does no harm.
pub(super) fn metadata(bytes: &[u8]) -> bool {
    let raw = MetadataRef::trusted(bytes);
    decode_tree(bytes.len(), || Ok(raw.to_value()));
    for (key, _) in raw {
        let _ = raw.get(key);
    }
    let Some(metadata) = decode(bytes.len(), || Metadata::from_bytes(bytes)) else { return false };
    assert_eq!(metadata.as_bytes(), bytes);
    let value = decode_tree(bytes.len(), || Ok(metadata.to_value())).expect("a tree");
    assert_eq!(Metadata::from_value(&value).as_ref(), Ok(&metadata), "{value:?}");
    let Value::Map(entries) = &value else { panic!("metadata are an object, not {value:?}") };
    assert!(metadata.view().iter().map(|(key, _)| key).eq(entries.keys().map(String::as_str)));
    assert!(entries.keys().all(|key| metadata.view().get(key).is_some()));
    true
}

fn json(text: &[u8]) -> Result<Value> {
    serde_json::from_slice(text).map_err(|error| Error::invalid_argument(error.to_string()))
}

/// Metadata as JSON: the text of what is read reads back to the same, and so does its encoding.
pub(super) fn metadata_json(text: &[u8]) -> bool {
    let Some(value) = decode_tree(text.len(), || json(text)) else { return false };
    let again = serde_json::to_vec(&value).expect("a value is JSON");
    assert_eq!(json(&again).as_ref(), Ok(&value));
    let Some(metadata) = decode(text.len(), || Metadata::from_value(&value)) else { return false };
    assert_eq!(metadata.to_value(), value);
    assert_eq!(Metadata::from_bytes(metadata.as_bytes()).as_ref(), Ok(&metadata));
    true
}

/// Filters as JSON, and behind a newline the bytes of a document: a negation finds what is not found, and a filter alone in
/// a list finds what it finds.
pub(super) fn filter(bytes: &[u8]) -> bool {
    let newline = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let (text, document) = bytes.split_at(newline);
    let document = document.get(1..).unwrap_or_default();
    let Some(value) = decode_tree(text.len(), || json(text)) else { return false };
    let Some(filter) = decode(text.len(), || Filter::parse(&value)) else { return false };
    let around = |operator: &str, value: Value| Value::Map([(operator.to_owned(), value)].into());
    let not = Filter::parse(&around("$not", value.clone()));
    let all = Filter::parse(&around("$and", vec![value.clone()].into()));
    let any = Filter::parse(&around("$or", vec![value.clone()].into()));
    let own = Metadata::from_value(&value).unwrap_or_default();
    for bytes in [document, own.as_bytes(), b""] {
        let document = MetadataRef::trusted(bytes);
        let matches = filter.matches(document);
        assert!(matches || !filter.matches_everything());
        // A filter at its limits has no room for one more level.
        assert!(not.as_ref().is_ok_and(|not| not.matches(document) != matches) || not.is_err());
        for same in [&all, &any].into_iter().flatten() {
            assert_eq!(same.matches(document), matches);
        }
    }
    true
}

/// Ids, names of collections and of tenants, each against its rule in other words.
pub(super) fn names(bytes: &[u8]) -> bool {
    let id = decode(bytes.len(), || PointId::from_canonical(bytes));
    if let Some(id) = &id {
        assert_eq!(id.to_canonical(), bytes);
        assert_eq!(PointId::from_canonical(&id.to_canonical()).as_ref(), Ok(id));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return id.is_some() };
    let made_of = |allowed: &str, most: usize| {
        (1..=most).contains(&text.len()) && text.chars().all(|char| allowed.contains(char))
    };
    let name = accepted(CollectionName::new(text));
    assert_eq!(name.is_some(), made_of("abcdefghijklmnopqrstuvwxyz0123456789_-", 64), "{text:?}");
    let tenant = accepted(Tenant::verified(text));
    let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-";
    assert_eq!(tenant.is_some(), made_of(letters, 128), "{text:?}");
    assert!(tenant.is_none_or(|tenant| tenant.name() == text));
    let point = accepted(PointId::string(text));
    assert_eq!(point.is_some(), (1..=128).contains(&text.len()));
    id.is_some() || name.is_some() || point.is_some()
}
