//! The rows that a tab keeps, one by one and as a whole database.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyperspace_core::collection::{UpsertBatch, Vectors};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metadata::Metadata;
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_wasm::host::{Database, Environment, fuzzing};
use hyperspace_wasm::kv::{
    Blob, Durability, FRAME_HEADER, FrameKind, Key, Kv as _, KvTx, SimulatedKv, Store, frame, unframe,
};

use super::{accepted, decode};

/// Rows of every kind, as they are and as the bodies of good frames: what is decoded encodes to the same row.
pub(super) fn tab_rows(bytes: &[u8]) -> bool {
    let with_body = |kind| frame(kind, 0, bytes);
    let mut any = false;
    let mut is_same = |kind, encode: fn(&Blob) -> Result<Vec<u8>>| {
        for row in [bytes.to_vec(), with_body(kind)] {
            let blob = blob(&row);
            let Some(encoded) = decode(row.len(), || encode(&blob)) else { continue };
            let (flags, body) = unframe(kind, &blob, "a row").expect("its frame is good");
            assert!(encoded == row || flags != 0, "a row has one encoding");
            assert_eq!(unframe(kind, &self::blob(&encoded), "a row").map(|(_, body)| body), Ok(body));
            any = true;
        }
    };
    is_same(FrameKind::Identity, fuzzing::identity);
    is_same(FrameKind::Owner, fuzzing::owner);
    is_same(FrameKind::Space, fuzzing::space);
    is_same(FrameKind::Segment, fuzzing::segment);
    is_same(FrameKind::Import, fuzzing::import);
    for row in [bytes.to_vec(), with_body(FrameKind::Answers)] {
        if let Some(encoded) = decode(row.len(), || fuzzing::answers(&blob(&row))) {
            assert_eq!(fuzzing::answers(&blob(&encoded)).as_ref(), Ok(&encoded));
            any = true;
        }
    }
    for row in [bytes.to_vec(), with_body(FrameKind::Tenant)] {
        if decode(row.len(), || fuzzing::tenant(&blob(&row), &Tenant::local())).is_some() {
            assert_eq!(row[FRAME_HEADER..], *Tenant::local().name().as_bytes());
            any = true;
        }
    }
    any
}

fn blob(bytes: &[u8]) -> Blob {
    Blob::Bytes(bytes.into())
}

/// A whole store. Each row is `store u8 | frame's kind u8 | flags u8 | key length u8 | body length u16 | key | body`, and
/// is put into a good frame. What opens takes a write, and shows it when it is opened again.
pub(super) fn tab_database(bytes: &[u8]) -> bool {
    let kv = SimulatedKv::new();
    let mut tx = KvTx::new();
    let mut rest = bytes;
    while let Some((&[store, kind, flags, key, low, high], behind)) = rest.split_first_chunk() {
        let body = usize::from(u16::from_le_bytes([low, high]));
        let Some((key, behind)) = behind.split_at_checked(key.into()) else { break };
        let (body, behind) = behind.split_at(body.min(behind.len()));
        rest = behind;
        let store = Store::ALL[usize::from(store) % Store::ALL.len()];
        tx.put(store, key.into(), frame(KINDS[usize::from(kind) % KINDS.len()], flags.into(), body));
    }
    finished(kv.commit(&tx, Durability::Strict)).expect("nothing fails in memory");
    // Opening holds its own rows, and what it writes.
    let Some(mut database) = decode(bytes.len() + (4 << 10), || open(&kv)) else { return false };
    let mut found = false;
    for name in database.names() {
        let Some(collection) = accepted(finished(database.collection(&name))) else { continue };
        found = true;
        let points = collection.snapshot().len();
        let config = collection.snapshot().config().clone();
        let vectors = vec![0.25; config.dimension];
        // Near the rim the point may be outside.
        let (ids, metadata) = ([PointId::Int(1 << 40)], [Metadata::default()]);
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&vectors), metadata: &metadata };
        let Ok(_) = finished(database.upsert(&collection, &batch, None, None)) else { continue };
        assert!(collection.snapshot().len() >= points);
        let is_there = collection.snapshot().get(&ids[0]);
        finished(database.close()).expect("nothing fails in memory");
        database = open(&kv).expect("it was opened before");
        let again = finished(database.collection(&name)).expect("it was opened before");
        assert_eq!(again.snapshot().get(&ids[0]), is_there);
    }
    found
}

const KINDS: [FrameKind; 9] = [
    FrameKind::Identity,
    FrameKind::Owner,
    FrameKind::Space,
    FrameKind::Log,
    FrameKind::Segment,
    FrameKind::Chunk,
    FrameKind::Tenant,
    FrameKind::Answers,
    FrameKind::Import,
];

/// The bytes of the target `tab_database` that put these rows into a store.
#[cfg(test)]
pub(crate) fn encode_rows(rows: &[(Store, Key, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (store, key, row) in rows {
        let store = Store::ALL.iter().position(|other| other == store).expect("all are listed") as u8;
        let kind = KINDS.iter().position(|kind| *kind as u8 == row[4]).expect("all are listed") as u8;
        let body = &row[FRAME_HEADER..];
        out.extend([store, kind, row[6], key.len() as u8]);
        out.extend((body.len() as u16).to_le_bytes());
        out.extend(key);
        out.extend(body);
    }
    out
}

pub(crate) fn open(kv: &SimulatedKv) -> Result<Database<SimulatedKv>> {
    finished(Database::open(&Tenant::local(), kv.clone(), Rc::new(Still::default()), Durability::Relaxed))
}

/// Polls until the future is done; nothing here waits for anything outside.
pub(crate) fn finished<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..1_000_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("the future waits for something that never comes");
}

/// A clock that stands still, and numbers that anybody can guess.
#[derive(Default)]
struct Still {
    drawn: Cell<u8>,
}

impl Clock for Still {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

impl Entropy for Still {
    fn fill(&self, out: &mut [u8]) {
        self.drawn.set(self.drawn.get().wrapping_add(1));
        out.fill(self.drawn.get());
    }
}

impl Environment for Still {
    fn elapsed_ms(&self) -> f64 {
        0.0
    }

    fn report(&self, error: &Error) {
        accepted(Err::<(), _>(error.clone()));
    }
}
