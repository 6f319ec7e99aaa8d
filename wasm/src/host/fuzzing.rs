//! For fuzz targets only (feature `fuzzing`): the decoders of rows, each with the encoding of what it found, and the messages
//! of replication.

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::Result;
use hyperspace_core::sync::{Answer, Ask, Cursor, Floor, Hello, SpaceKey};
use hyperspace_core::types::{SpaceId, Tenant};

use super::answers::Answers;
use super::archive::{decode_import, encode_import};
use super::identity::{Identity, check_tenant, decode_owner, encode_owner};
use super::rows::{decode_segment, decode_space, encode_segment, encode_space};
use super::sync::{Request, Shipment, wire};
use crate::kv::{Blob, KvTx, Op};

/// The row of a collection.
pub fn space(blob: &Blob) -> Result<Vec<u8>> {
    decode_space(blob, SpaceId(1)).map(|(name, manifest)| encode_space(&name, &manifest))
}

/// The row of the database as a writer.
pub fn identity(blob: &Blob) -> Result<Vec<u8>> {
    Identity::decode(blob).map(|identity| identity.encode())
}

/// The row of the owner.
pub fn owner(blob: &Blob) -> Result<Vec<u8>> {
    decode_owner(blob).map(encode_owner)
}

/// The row of the tenant, who is `tenant`.
pub fn tenant(blob: &Blob, tenant: &Tenant) -> Result<()> {
    check_tenant(blob, tenant)
}

/// The row of a segment.
pub fn segment(blob: &Blob) -> Result<Vec<u8>> {
    decode_segment(blob, "a segment").map(|(id, len)| encode_segment(&id, len))
}

/// The row of the requests that were answered; one that is named twice is kept once.
pub fn answers(blob: &Blob) -> Result<Vec<u8>> {
    let (mut answers, mut tx) = (Answers::default(), KvTx::new());
    answers.read(Some(blob))?;
    answers.write(&mut tx, None);
    let [Op::Put(_, _, row)] = tx.ops() else { panic!("what was stored is written again") };
    Ok(row.clone())
}

/// The mark of an import.
pub fn import(blob: &Blob) -> Result<Vec<u8>> {
    decode_import(blob).map(|spaces| encode_import(&spaces))
}

/// A question to a server, from who knows the space under this number, in this term, as this writer.
pub fn sync_question(ask: Ask, space: u64, epoch: u32, writer: u64) -> Request {
    wire::question(ask, &wire::Asker { space, epoch, writer })
}

/// A greeting.
pub fn sync_greeting(name: &str, config: Option<&CollectionConfig>, hello: &Hello) -> Request {
    wire::greeting(name, config, hello)
}

/// A request for pages.
pub fn sync_pull(wanted: &[(u64, Cursor)], follow: bool) -> Vec<u8> {
    wire::pull(wanted.iter().copied(), follow)
}

/// The answer to a question.
pub fn sync_answer(method: &str, body: &[u8]) -> Result<Answer> {
    if method == "Hello" { wire::welcome(body).map(|(_, _, answer, _)| answer) } else { wire::answer(method, body) }
}

/// The answer to a greeting: the space, its key, and whether segments are cheaper than rows.
pub fn sync_met(body: &[u8]) -> Result<(u64, SpaceKey, bool)> {
    wire::welcome(body).map(|(space, key, _, ships)| (space, key, ships))
}

/// A question for a manifest, from who knows the space under this number, in this term.
pub fn sync_ask_manifest(after: u64, space: u64, epoch: u32) -> Request {
    wire::ask_manifest(after, &wire::Asker { space, epoch, writer: 0 })
}

/// The answer to it: a manifest, the hashes of units, the newest number, and the floor.
pub fn sync_manifest(body: &[u8]) -> Result<(Vec<u8>, Vec<u8>, u64, Floor)> {
    wire::manifest(body).map(|(manifest, units, seq, floor)| (manifest.to_vec(), units.to_vec(), seq, floor))
}

/// The segments of such an answer: their lengths.
pub fn sync_shipment(body: &[u8]) -> Result<Vec<u64>> {
    Shipment::read(body, 0).map(|shipment| shipment.lengths())
}

/// A message of a stream: the space, and the bytes of a page.
pub fn sync_page(body: &[u8]) -> Result<(u64, Vec<u8>)> {
    wire::page(body).map(|(space, page)| (space, page.to_vec()))
}

/// The configurations in a list of collections.
pub fn sync_listed(body: &[u8]) -> Result<Vec<CollectionConfig>> {
    wire::listed(body)
}
