//! What the service makes of messages, by the generated types: from a question's bytes to its answer's. Everybody is the
//! tenant without a name.

use std::sync::Arc;

use hyperspace_core::collection::SealPolicy;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::port::{Clock, Entropy};
use hyperspace_core::sync::{Answer, Ask, Cursor, Hello, Page, decode_all, encode_all, respond};
use hyperspace_core::types::{IdKey, SegmentId, SpaceId, Tenant};
use hyperspace_server::database::{Database, DatabaseOptions, Environment, Ticket, Workers};
use hyperspace_server::proto::{
    FetchRequest, FetchResponse, GetManifestRequest, GetManifestResponse, HelloRequest, HelloResponse, PullRequest,
    PullResponse, PushRequest, PushResponse, ReconcileRequest, ReconcileResponse, Wanted,
};
use hyperspace_server::service::fuzzing::{config, config_to};
use prost::Message;

use crate::server::harness::sim::SimDisk;
use crate::server::harness::support::small;

/// Small, so that a tail has several pages.
const PAGE_BYTES: usize = 400;
const FRAME_BYTES: usize = 64 << 10;

/// What a server's database is lent and told: everything is small, and it works when it is called.
pub(crate) fn lent(
    disk: &SimDisk,
    clock: &Arc<dyn Clock + Send + Sync>,
    entropy: &Arc<dyn Entropy + Send + Sync>,
) -> (Environment, DatabaseOptions) {
    let environment = Environment {
        disk: disk.arc(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        workers: Workers::Callers,
    };
    let policy = SealPolicy { rows: 12, bytes: 1 << 20, fan_in: 2 };
    (environment, DatabaseOptions { policy, ..small(0) })
}

/// Who asks about which space, by what it knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    pub(crate) space: SpaceId,
    pub(crate) epoch: u32,
    /// Whose offers these are.
    pub(crate) writer: u64,
    /// It is a server that follows.
    pub(crate) is_follower: bool,
}

/// Waits for a write that nobody else carries out.
pub(crate) fn wait(database: &Database, ticket: Ticket) -> Result<()> {
    database.commit_next();
    ticket.wait_blocking().map(drop)
}

/// The next page behind a number, as a message, and where it ends.
pub(crate) fn page(database: &Database, space: u64, after: Cursor) -> Result<(Vec<u8>, Page)> {
    let collection = database.collection_numbered(&Tenant::local(), SpaceId(space))?;
    let page = database.page(&collection, after, PAGE_BYTES, false)?;
    Ok((PullResponse { space, page: encode_all(&page) }.encode_to_vec(), page))
}

/// Answers a replica's question about a space; its pages are short.
pub(crate) fn ask(database: &Database, asker: &Asker, question: Ask) -> Result<Answer> {
    let collection = database.collection_numbered(&Tenant::local(), asker.space)?;
    Ok(match question {
        Ask::Hello(hello) => Answer::Welcome(database.welcome(&collection, &hello)?.welcome),
        Ask::Pull(after) => Answer::Page(database.page(&collection, after, PAGE_BYTES, asker.is_follower)?),
        Ask::Push(offers) => {
            let (pushed, ticket) = database.push(&collection, asker.epoch, asker.writer, &offers)?;
            wait(database, ticket)?;
            Answer::Pushed(pushed)
        }
        Ask::Fetch(keys) => {
            let (recs, answered, head) = database.fetch(&collection, asker.epoch, &keys, PAGE_BYTES)?;
            Answer::Fetched(recs, answered, head)
        }
        Ask::Reconcile(seq, frame) => {
            let (items, _) = database.items(&collection, Cursor { epoch: asker.epoch, seq })?;
            Answer::Reconciled(respond(&items, &frame, FRAME_BYTES)?)
        }
    })
}

/// Answers a request as the service does.
pub(crate) fn answer(database: &Database, method: &str, body: &[u8]) -> Result<Vec<u8>> {
    let of = |space: u64, epoch: u32, writer: u64| Asker { space: SpaceId(space), epoch, writer, is_follower: false };
    let (asker, question) = match method {
        "Hello" => return hello(database, &read(body)?),
        "Pull" => {
            let request: PullRequest = read(body)?;
            assert!(!request.follow && request.spaces.len() == 1, "{request:?}");
            let Wanted { space, epoch, after } = request.spaces[0];
            (of(space, epoch, 0), Ask::Pull(Cursor { epoch, seq: after }))
        }
        "Push" => {
            let request: PushRequest = read(body)?;
            let offers = decode_all(&request.offers, "the offers")?;
            (of(request.space, request.epoch, request.writer), Ask::Push(offers))
        }
        "Fetch" => {
            let request: FetchRequest = read(body)?;
            let keys = request.keys.as_chunks().0.iter().copied().map(IdKey).collect();
            (of(request.space, request.epoch, 0), Ask::Fetch(keys))
        }
        "Reconcile" => {
            let request: ReconcileRequest = read(body)?;
            (of(request.space, request.epoch, 0), Ask::Reconcile(request.seq, request.frame))
        }
        "GetManifest" => return manifest(database, &read(body)?),
        path => return segment(database, path, std::str::from_utf8(body).unwrap()),
    };
    Ok(match ask(database, &asker, question)? {
        Answer::Page(page) => PullResponse { space: asker.space.0, page: encode_all(&page) }.encode_to_vec(),
        Answer::Pushed(pushed) => PushResponse { pushed: encode_all(&pushed) }.encode_to_vec(),
        Answer::Fetched(recs, answered, head) => {
            FetchResponse { recs: encode_all(&recs), answered: answered as u32, head }.encode_to_vec()
        }
        Answer::Reconciled(frame) => ReconcileResponse { frame }.encode_to_vec(),
        Answer::Welcome(_) => unreachable!("a greeting is answered above"),
    })
}

fn manifest(database: &Database, request: &GetManifestRequest) -> Result<Vec<u8>> {
    let collection = database.collection_numbered(&Tenant::local(), SpaceId(request.space))?;
    let (shipment, units) = database.ship(&collection, request.epoch, request.after)?;
    let answer = GetManifestResponse {
        manifest: shipment.manifest.encode(),
        units: units.concat(),
        seq: shipment.cursor.seq,
        floor_seq: shipment.floor.seq,
        floor_hlc: shipment.floor.hlc,
    };
    Ok(answer.encode_to_vec())
}

/// A range of a segment.
fn segment(database: &Database, path: &str, range: &str) -> Result<Vec<u8>> {
    let (space, id) = path.strip_prefix("/v1/segments/").unwrap().split_once('/').unwrap();
    let space = SpaceId(u64::from_str_radix(space, 16).unwrap());
    let id = SegmentId(std::array::from_fn(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).unwrap()));
    let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let segment = database.shipped(&*database.collection_numbered(&Tenant::local(), space)?, id)?;
    Ok(segment.bytes()[from.parse().unwrap()..=to.parse().unwrap()].to_vec())
}

fn hello(database: &Database, request: &HelloRequest) -> Result<Vec<u8>> {
    let found = database.collection(&Tenant::local(), &request.collection);
    let collection = match (found, &request.config) {
        (Err(error), Some(wanted)) if error.kind() == ErrorKind::NotFound => {
            database.create(&Tenant::local(), config(Some(wanted.clone()))?)?
        }
        (found, _) => found?,
    };
    if let Some(wanted) = &request.config {
        let own = config_to(collection.snapshot().config());
        if (own.dimension, own.metric) != (wanted.dimension, wanted.metric) {
            return Err(Error::conflict(format!("collection `{}` is another one", own.name)));
        }
    }
    let hello: Hello = decode_all(&request.hello, "the greeting")?;
    let greeting = database.welcome(&collection, &hello)?;
    let answer = HelloResponse {
        space: collection.space().0,
        key: greeting.key.0.to_vec(),
        welcome: encode_all(&greeting.welcome),
        server_time_ms: greeting.now_ms,
        ships: greeting.ships,
    };
    Ok(answer.encode_to_vec())
}

/// Reads a message.
pub(crate) fn read<M: Message + Default>(body: &[u8]) -> Result<M> {
    M::decode(body).map_err(|error| Error::invalid_argument(error.to_string()))
}
