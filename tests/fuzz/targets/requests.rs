//! What comes in over the network: messages, which prost decodes and the server converts, and the headers of requests.

use std::net::IpAddr;
use std::sync::OnceLock;

use http::{HeaderMap, HeaderValue, Uri};
use hyperspace_core::error::Result;
use hyperspace_server::proto::{self, Vectors};
use hyperspace_server::service::fuzzing;
use hyperspace_server::settings::{Invocation, Settings, read};
use prost::Message;

use super::{accepted, allocation::bounded, decode, decode_tree};

/// Messages of every kind that carries something to convert: what is converted comes back the same from an answer.
pub(super) fn requests(bytes: &[u8]) -> bool {
    let upsert = message(bytes, |m: &proto::UpsertRequest| {
        let points = ids(bytes, &m.ids)?;
        let rows = vectors(bytes, m.vectors.as_ref(), (points > 0).then_some(points))?;
        metadata(bytes, &m.metadata, rows)
    });
    let set = message(bytes, |m: &proto::SetMetadataRequest| metadata(bytes, &m.metadata, ids(bytes, &m.ids)?));
    let get = message(bytes, |m: &proto::GetRequest| ids(bytes, &m.ids));
    let search = message(bytes, |m: &proto::SearchRequest| {
        vectors(bytes, m.vector.as_ref(), Some(1))?;
        filter(&m.filter)
    });
    let many = message(bytes, |m: &proto::SearchBatchRequest| {
        vectors(bytes, m.vectors.as_ref(), None)?;
        filter(&m.filter)
    });
    let scroll = message(bytes, |m: &proto::ScrollRequest| {
        let cursor = decode(bytes.len(), || fuzzing::cursor(&m.cursor))?;
        assert!(cursor.is_none_or(|key| key.0[..] == m.cursor));
        filter(&m.filter)
    });
    let create = message(bytes, |m: &proto::CreateCollectionRequest| {
        let config = decode(bytes.len(), || fuzzing::config(m.config.clone()))?;
        let answer = fuzzing::config_to(&config);
        assert_eq!(Some(&answer), m.config.as_ref(), "an answer says what was asked for");
        Some(())
    });
    upsert | set | get | search | many | scroll | create
}

fn message<M: Message + Default, T>(bytes: &[u8], convert: impl FnOnce(&M) -> Option<T>) -> bool {
    M::decode(bytes).is_ok_and(|message| convert(&message).is_some())
}

/// How many ids there are.
fn ids(bytes: &[u8], ids: &[proto::PointId]) -> Option<usize> {
    let read = decode(bytes.len(), || fuzzing::ids(ids))?;
    assert!(read.iter().map(fuzzing::id_to).eq(ids.iter().cloned()), "an answer names the same ids");
    Some(ids.len())
}

/// How many rows of three components there are.
fn vectors(bytes: &[u8], vectors: Option<&Vectors>, points: Option<usize>) -> Option<usize> {
    let components = decode(bytes.len(), || fuzzing::rows(vectors, 3, points))?;
    assert!(components % 3 == 0 && points.is_none_or(|points| points * 3 == components));
    Some(components / 3)
}

fn metadata(bytes: &[u8], texts: &[String], points: usize) -> Option<usize> {
    let read = decode_tree(bytes.len(), || fuzzing::metadata(texts, points))?;
    assert_eq!(read.len(), texts.len());
    let answer: Result<Vec<String>> = read.iter().map(fuzzing::metadata_to).collect();
    let again = fuzzing::metadata(&answer.expect("metadata are JSON"), texts.len());
    assert_eq!(again.expect("an answer is metadata"), read);
    Some(points)
}

fn filter(text: &str) -> Option<usize> {
    decode_tree(text.len(), || fuzzing::filter(text)).map(|_| 1)
}

/// Headers, a line each: the address, `host`, `origin`, `x-hyperspace-user-id`. Whatever passes is for a host of ours.
pub(super) fn headers(bytes: &[u8]) -> bool {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let Ok(uri) = Uri::try_from(lines.next().unwrap_or_default()) else { return false };
    let mut headers = HeaderMap::new();
    for (name, value) in ["host", "origin", "x-hyperspace-user-id"].into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(value)
            && !value.is_empty()
        {
            headers.append(name, value);
        }
    }
    let here: IpAddr = [192, 168, 1, 5].into();
    let local: IpAddr = [127, 0, 0, 1].into();
    let tenant = bounded(16 * bytes.len() + (4 << 10), || accepted(fuzzing::tenant(&headers, Some(local))));
    let given = headers.get("x-hyperspace-user-id");
    assert!(
        tenant.is_none_or(|tenant| given.map_or(&b"default"[..], HeaderValue::as_bytes) == tenant.name().as_bytes())
    );
    assert!(fuzzing::tenant(&headers, Some(here)).is_err() || given.is_none(), "a name is believed from afar");
    let settings = settings();
    let is_let_in = decode(bytes.len(), || fuzzing::guard(settings, &uri, &headers, Some(here))).is_some();
    if is_let_in {
        let named = uri.authority().map_or_else(|| text(&headers, "host"), |authority| authority.as_str().to_owned());
        let named = named.to_ascii_lowercase();
        let bare = if named.starts_with('[') { named.split_inclusive(']').next() } else { named.split(':').next() };
        let is_here =
            |host: &str| host.trim_matches(['[', ']']).parse().is_ok_and(|ip: IpAddr| ip.to_canonical() == here);
        let is_ours =
            |host: &str| ["localhost", "127.0.0.1", "[::1]", "db.example.org"].contains(&host) || is_here(host);
        assert!(bare.is_some_and(is_ours), "{named:?} is not ours");
        let origin = text(&headers, "origin").to_ascii_lowercase();
        let own = [format!("http://{named}"), format!("https://{named}"), "http://app.example.org:5173".into()];
        assert!(origin.is_empty() || own.contains(&origin), "{origin:?} may not come in");
    }
    is_let_in
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map_or("", |value| value.to_str().expect("what is let in is visible ASCII")).to_owned()
}

/// Those of a server that was configured with a host and an origin.
fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let words = ["", "--allowed-hosts", "db.example.org", "--allowed-origins", "http://app.example.org:5173"];
        match read(words.map(Into::into), []) {
            Ok(Invocation::Serve(settings)) => settings,
            other => panic!("{other:?}"),
        }
    })
}
