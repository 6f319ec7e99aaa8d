//! The messages of `hyperspace.v1.Sync` and of the list of collections, as protocol buffers, by hand: they are few and flat.
//!
//! Everything is a field with a number, a whole number or bytes; of a field that comes twice the last one counts, one that
//! is not known is passed over. What is written leaves defaults out, so the bytes are those of any other encoder.

use std::borrow::Cow;

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::sync::{Answer, Ask, Cursor, Floor, Hello, SpaceKey, decode_all, encode_all};

/// The highest number of a field that anything here reads, and one more.
const FIELDS: usize = 8;
/// How a field is written.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_number(out: &mut Vec<u8>, field: u32, number: u64) {
    if number != 0 {
        put_varint(out, u64::from(field << 3 | VARINT));
        put_varint(out, number);
    }
}

/// A space's number, always the first field.
fn put_space(out: &mut Vec<u8>, space: u64) {
    if space != 0 {
        out.push((1 << 3 | FIXED64) as u8);
        out.extend_from_slice(&space.to_le_bytes());
    }
}

/// A part that is there even when it is empty.
fn put_part(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field << 3 | BYTES));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_part(out, field, bytes);
    }
}

fn truncated() -> Error {
    Error::corrupted("a message of the server ends early, or is none")
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len).ok_or_else(truncated)?;
    *rest = tail;
    Ok(head)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..70).step_by(7) {
        let byte = take(rest, 1)?[0];
        // The tenth byte has one bit to give.
        if shift == 63 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(truncated())
}

/// Gives every field of a message to `each`: its number, and its value as a number or as bytes.
fn for_each<'a>(mut rest: &'a [u8], each: &mut dyn FnMut(usize, u64, &'a [u8])) -> Result<()> {
    while !rest.is_empty() {
        let tag = u32::try_from(take_varint(&mut rest)?).map_err(|_| truncated())?;
        let (mut number, mut bytes) = (0, &[][..]);
        match tag & 7 {
            VARINT => number = take_varint(&mut rest)?,
            FIXED64 => number = u64::from_le_bytes(*take(&mut rest, 8)?.first_chunk().ok_or_else(truncated)?),
            BYTES => {
                let len = take_varint(&mut rest)?;
                bytes = take(&mut rest, usize::try_from(len).unwrap_or(usize::MAX))?;
            }
            FIXED32 => drop(take(&mut rest, 4)?),
            _ => return Err(truncated()),
        }
        if tag < 8 {
            return Err(truncated());
        }
        each((tag >> 3) as usize, number, bytes);
    }
    Ok(())
}

/// The fields of a message whose numbers are below [`FIELDS`].
#[derive(Default)]
struct Message<'a> {
    numbers: [u64; FIELDS],
    bytes: [&'a [u8]; FIELDS],
}

impl<'a> Message<'a> {
    fn read(body: &'a [u8]) -> Result<Self> {
        let mut message = Self::default();
        for_each(body, &mut |field, number, bytes| {
            if field < FIELDS {
                (message.numbers[field], message.bytes[field]) = (number, bytes);
            }
        })?;
        Ok(message)
    }
}

/// A request: which method, and its message; or a path that begins with `/`, and the range that is wanted of what is there.
pub type Request = (Cow<'static, str>, Vec<u8>);

/// Who asks: the leader's number of the space, its term, and the writer.
pub(in crate::host) struct Asker {
    pub(in crate::host) space: u64,
    pub(in crate::host) epoch: u32,
    pub(in crate::host) writer: u64,
}

/// Greets; with a configuration, the collection is made when it is missing.
pub(in crate::host) fn greeting(name: &str, config: Option<&CollectionConfig>, hello: &Hello) -> Request {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    if let Some(config) = config {
        put_part(&mut out, 2, &encode_config(config));
    }
    put_bytes(&mut out, 3, &encode_all(hello));
    ("Hello".into(), out)
}

/// Any other question.
pub(in crate::host) fn question(ask: Ask, asker: &Asker) -> Request {
    let mut out = Vec::new();
    if let Ask::Pull(cursor) = ask {
        return ("Pull".into(), pull([(asker.space, cursor)], false));
    }
    put_space(&mut out, asker.space);
    put_number(&mut out, 2, u64::from(asker.epoch));
    let method = match ask {
        Ask::Push(offers) => {
            put_number(&mut out, 3, asker.writer);
            put_bytes(&mut out, 4, &encode_all(&offers));
            "Push"
        }
        Ask::Fetch(keys) => {
            put_bytes(&mut out, 3, &keys.iter().flat_map(|key| key.0).collect::<Vec<u8>>());
            "Fetch"
        }
        Ask::Reconcile(seq, frame) => {
            put_number(&mut out, 3, seq);
            put_bytes(&mut out, 4, &frame);
            "Reconcile"
        }
        Ask::Hello(_) | Ask::Pull(_) => unreachable!("these have been answered above"),
    };
    (method.into(), out)
}

/// Asks which segments there are behind a number.
pub(in crate::host) fn ask_manifest(after: u64, asker: &Asker) -> Request {
    let mut out = Vec::new();
    put_space(&mut out, asker.space);
    put_number(&mut out, 2, u64::from(asker.epoch));
    put_number(&mut out, 3, after);
    ("GetManifest".into(), out)
}

/// Asks for what is behind these numbers, and with `follow` for what comes.
pub(in crate::host) fn pull(wanted: impl IntoIterator<Item = (u64, Cursor)>, follow: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for (space, after) in wanted {
        let mut one = Vec::new();
        put_space(&mut one, space);
        put_number(&mut one, 2, u64::from(after.epoch));
        put_number(&mut one, 3, after.seq);
        put_part(&mut out, 1, &one);
    }
    put_number(&mut out, 3, u64::from(follow));
    out
}

/// The answer to a greeting: the space, its key, the welcome, and whether segments are cheaper than rows.
pub(in crate::host) fn welcome(body: &[u8]) -> Result<(u64, SpaceKey, Answer, bool)> {
    let message = Message::read(body)?;
    let key = SpaceKey(message.bytes[2].try_into().map_err(|_| truncated())?);
    let welcome = Answer::Welcome(decode_all(message.bytes[3], "a welcome")?);
    Ok((message.numbers[1], key, welcome, message.numbers[5] != 0))
}

/// The answer to the question for a manifest: that, the hashes of units, the newest number, and the floor.
pub(in crate::host) fn manifest(body: &[u8]) -> Result<(&[u8], &[u8], u64, Floor)> {
    let Message { numbers, bytes } = Message::read(body)?;
    Ok((bytes[1], bytes[2], numbers[3], Floor { seq: numbers[4], hlc: numbers[5] }))
}

/// A page of a stream: the space, and the page unless it only tells that the stream lives.
pub(in crate::host) fn page(body: &[u8]) -> Result<(u64, &[u8])> {
    let message = Message::read(body)?;
    Ok((message.numbers[1], message.bytes[2]))
}

/// The answer to a question that was asked by this method.
pub(in crate::host) fn answer(method: &str, body: &[u8]) -> Result<Answer> {
    let message = Message::read(body)?;
    Ok(match method {
        "Pull" => Answer::Page(decode_all(message.bytes[2], "a page")?),
        "Push" => Answer::Pushed(decode_all(message.bytes[1], "an answer to offers")?),
        "Fetch" => {
            Answer::Fetched(decode_all(message.bytes[1], "records")?, message.numbers[2] as usize, message.numbers[3])
        }
        "Reconcile" => Answer::Reconciled(message.bytes[1].to_vec()),
        _ => return Err(Error::internal("there is no such method")),
    })
}

fn encode_config(config: &CollectionConfig) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, config.name.as_str().as_bytes());
    put_number(&mut out, 2, config.dimension as u64);
    // 0 stands for none.
    put_number(&mut out, 3, u64::from(config.metric.code()) + 1);
    put_number(&mut out, 4, u64::from(config.quantization.code()));
    // None of these is zero when it is there.
    for (field, number) in (5..).zip([config.m, config.ef_construction, config.ef_search]) {
        put_number(&mut out, field, u64::from(number.unwrap_or_default()));
    }
    out
}

/// The configurations in a list of collections. What this build does not know (a metric, a quantisation) is left out.
pub(in crate::host) fn listed(body: &[u8]) -> Result<Vec<CollectionConfig>> {
    let mut configs = Vec::new();
    let mut entries = Vec::new();
    for_each(body, &mut |field, _, bytes| entries.extend((field == 1).then_some(bytes)))?;
    for entry in entries {
        configs.extend(decode_config(Message::read(entry)?.bytes[1])?);
    }
    Ok(configs)
}

fn decode_config(body: &[u8]) -> Result<Option<CollectionConfig>> {
    let Message { numbers, bytes } = Message::read(body)?;
    let metric = u8::try_from(numbers[3].wrapping_sub(1)).map(Metric::from_code);
    let quantization = u8::try_from(numbers[4]).map(Quantization::from_code);
    let (Ok(Ok(metric)), Ok(Ok(quantization))) = (metric, quantization) else { return Ok(None) };
    let name = core::str::from_utf8(bytes[1]).map_err(|_| truncated())?;
    let set = |field: usize| u32::try_from(numbers[field]).ok().filter(|number| *number != 0);
    let dimension = usize::try_from(numbers[2]).unwrap_or(usize::MAX);
    Ok(Some(CollectionConfig {
        quantization,
        m: set(5),
        ef_construction: set(6),
        ef_search: set(7),
        ..CollectionConfig::new(name, dimension, metric)?
    }))
}
