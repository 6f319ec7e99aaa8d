//! Sealed segments over plain HTTP, as a whole or in ranges. Named by their content, they never change: whoever has one
//! need not ask again.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use http::{HeaderMap, StatusCode};
use http_range_header::parse_range_header;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::Segment;
use hyperspace_core::types::{SegmentId, SpaceId};

use super::handlers::Handlers;
use super::status::{refusal, single};
use super::work::block;
use crate::auth::Caller;

/// Answers `GET /v1/segments/{space}/{segment}`.
pub(super) async fn get(
    State(handlers): State<Handlers>,
    Extension(caller): Extension<Caller>,
    Path((space, segment)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let found = block(move || find(&handlers, &caller, &space, &segment)).await;
    found.and_then(|segment| answer(&segment, &headers)).unwrap_or_else(|error| refusal(&HeaderMap::new(), error))
}

fn find(handlers: &Handlers, caller: &Caller, space: &str, segment: &str) -> Result<Arc<Segment>> {
    let missing = || Error::not_found("there is no such segment");
    let number = hexadecimal(space).map(u64::from_be_bytes).ok_or_else(missing)?;
    let id = hexadecimal(segment).map(SegmentId).ok_or_else(missing)?;
    let database = handlers.keeper.database();
    let collection = database.collection_numbered(caller.tenant(), SpaceId(number))?;
    if !caller.sees(collection.name()) {
        return Err(missing());
    }
    database.shipped(&collection, id)
}

/// Reads as many bytes as there are, in lower case.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 2 * N || !text.as_bytes().iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// The bytes of a segment, which stays mapped as long as they are sent.
struct Shared(Arc<Segment>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

fn answer(segment: &Arc<Segment>, headers: &HeaderMap) -> Result<Response> {
    let tag = format!("\"{}\"", segment.id());
    let common: [(HeaderName, String); 4] = [
        (CONTENT_TYPE, "application/octet-stream".into()),
        (ACCEPT_RANGES, "bytes".into()),
        (CACHE_CONTROL, "private, immutable, max-age=31536000".into()),
        (ETAG, tag.clone()),
    ];
    let is_known = |one: &str| ["*", &tag].contains(&one.trim().trim_start_matches("W/"));
    if single(headers, IF_NONE_MATCH.as_str())?.is_some_and(|known| known.split(',').any(is_known)) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let len = segment.byte_len() as u64;
    let whole = Bytes::from_owner(Shared(Arc::clone(segment)));
    let wanted = single(headers, RANGE.as_str())?.filter(|_| {
        // What was begun of something else is sent as a whole.
        headers.get(IF_RANGE).is_none_or(|begun| begun.as_bytes() == tag.as_bytes())
    });
    let Some(wanted) = wanted else { return Ok((common, Body::from(whole)).into_response()) };
    let ranges = parse_range_header(wanted).and_then(|ranges| ranges.validate(len));
    // Several ranges would take an answer of several parts: nobody asks for that.
    let Some(range) = ranges.ok().filter(|ranges| ranges.len() == 1).map(|ranges| ranges[0].clone()) else {
        let all = [(CONTENT_RANGE, format!("bytes */{len}"))];
        return Ok((StatusCode::RANGE_NOT_SATISFIABLE, all).into_response());
    };
    let place = [(CONTENT_RANGE, format!("bytes {}-{}/{len}", range.start(), range.end()))];
    let part = whole.slice(*range.start() as usize..=*range.end() as usize);
    Ok((StatusCode::PARTIAL_CONTENT, common, place, Body::from(part)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_digits_in_lower_case_are_a_name() {
        assert_eq!(hexadecimal::<2>("0aff"), Some([10, 255]));
        for other in ["", "0", "0af", "0afff", "0AFF", "0x0a", "+aff", "0a f", "..%2", "\u{e4}aa"] {
            assert_eq!(hexadecimal::<2>(other), None, "{other}");
        }
    }
}
