//! A leader's side of replication between servers: what there is and where it stands, for those who follow; and the
//! administrator's calls about who leads.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::sync::Cursor;
use hyperspace_core::types::SpaceId;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::config_to;
use super::handlers::{Answer, Handlers};
use super::limits::Lasting;
use super::peers::{Guest, Peers};
use super::status::status;
use super::until;
use super::work::block;
use crate::auth::Caller;
use crate::database::Database;
use crate::proto::{
    AcknowledgeRequest, AcknowledgeResponse, Catalog, CatalogEntry, Follower, Head, LeaderMessage, PromoteRequest,
    PromoteResponse, RemoveFollowerRequest, RemoveFollowerResponse, ReplicateRequest, Replication,
};
use crate::store::files::KEYS;
use crate::store::standing::Standing;

/// How often a follower hears of its leader, though nothing has changed.
const PULSE: Duration = Duration::from_secs(1);

/// What a follower is told.
pub(super) type LeaderStream = ReceiverStream<std::result::Result<LeaderMessage, Status>>;
type Sender = mpsc::Sender<std::result::Result<LeaderMessage, Status>>;

/// Tells a follower what there is, until one of the two ends.
pub(super) async fn replicate(handlers: &Handlers, request: Request<ReplicateRequest>) -> Answer<LeaderStream> {
    let call = handlers.call(request).map_err(status)?;
    let (peers, message, caller) = (Arc::clone(&handlers.peers), call.message, call.caller);
    let ReplicateRequest { follower, group, term } = message;
    let guest = block(move || peers.admit(follower, group, term)).await.map_err(status)?;
    let (sender, receiver) = mpsc::channel(1);
    let telling = Telling { handlers: handlers.clone(), caller, _guest: guest, told: BTreeMap::new() };
    tokio::spawn(async move {
        if let Err(error) = telling.run(&sender).await {
            let _ = sender.send(Err(status(error))).await;
        }
    });
    let mut response = Response::new(ReceiverStream::new(receiver));
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

/// A stream to a follower.
struct Telling {
    handlers: Handlers,
    caller: Caller,
    _guest: Guest,
    /// Where the follower believes collections to stand.
    told: BTreeMap<SpaceId, Cursor>,
}

impl Telling {
    async fn run(mut self, sender: &Sender) -> Result<()> {
        let mut stopping = pin!(until(self.handlers.stopping.clone()));
        let mut role = self.handlers.peers.watch_role();
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // After a failure another database takes the place of this one.
            let database = self.handlers.keeper.database();
            let (mut changes, mut catalog_changes) = (database.watch(), database.watch_catalog());
            let mut is_catalog_old = true;
            loop {
                let message = self.message(&database, is_catalog_old).await?;
                if sender.send(Ok(message)).await.is_err() {
                    return Ok(());
                }
                tokio::select! {
                    () = sender.closed() => return Ok(()),
                    () = &mut stopping => return Err(Error::unavailable("the server is stopping")),
                    _ = role.changed() => is_catalog_old = false,
                    _ = pulse.tick() => is_catalog_old = false,
                    _ = changes.changed() => is_catalog_old = false,
                    _ = catalog_changes.changed() => is_catalog_old = true,
                }
                // Whatever changes from here on is in the next message, or asks for one behind it.
                changes.mark_unchanged();
                is_catalog_old |= catalog_changes.has_changed().unwrap_or_default();
                catalog_changes.mark_unchanged();
                self.handlers.peers.check_leads()?;
                self.handlers.keyring.check(&self.caller)?;
                if !Arc::ptr_eq(&database, &self.handlers.keeper.database()) {
                    break;
                }
            }
        }
    }

    async fn message(&mut self, database: &Arc<Database>, with_catalog: bool) -> Result<LeaderMessage> {
        let (database, peers) = (Arc::clone(database), Arc::clone(&self.handlers.peers));
        let told = std::mem::take(&mut self.told);
        let (message, told) = block(move || message(&peers, &database, &told, with_catalog)).await?;
        self.told = told;
        Ok(message)
    }
}

/// What a follower is told who believes collections to stand as given; also where they stand.
pub(super) fn message(
    peers: &Peers,
    database: &Database,
    told: &BTreeMap<SpaceId, Cursor>,
    with_catalog: bool,
) -> Result<(LeaderMessage, BTreeMap<SpaceId, Cursor>)> {
    let standing = peers.standing();
    let catalog = with_catalog.then(|| catalog(database, &standing)).transpose()?;
    let everything = database.everything();
    let cursors = everything.iter().filter_map(|one| Some((one.space(), database.cursor(one)?)));
    let cursors: BTreeMap<_, _> = cursors.collect();
    let changed = cursors.iter().filter(|(space, cursor)| told.get(space) != Some(cursor));
    let heads = changed.map(|(space, cursor)| head(*space, *cursor)).collect();
    Ok((LeaderMessage { group: standing.group, term: standing.term, catalog, heads }, cursors))
}

fn catalog(database: &Database, standing: &Standing) -> Result<Catalog> {
    let collections = database.everything();
    let collections = collections.iter().filter_map(|collection| {
        Some(CatalogEntry {
            tenant: collection.tenant().name().to_owned(),
            config: Some(config_to(collection.snapshot().config())),
            space: collection.space().0,
            key: database.key(collection)?.0.to_vec(),
        })
    });
    Ok(Catalog {
        collections: collections.collect(),
        dropped: standing.dropped.iter().map(|space| space.0).collect(),
        keys: database.read_aside(KEYS)?.unwrap_or_default(),
        followers: standing.followers.iter().copied().collect(),
    })
}

pub(super) const fn head(space: SpaceId, cursor: Cursor) -> Head {
    Head { space: space.0, epoch: cursor.epoch, seq: cursor.seq }
}

pub(super) const fn cursor(head: &Head) -> (SpaceId, Cursor) {
    (SpaceId(head.space), Cursor { epoch: head.epoch, seq: head.seq })
}

pub(super) async fn acknowledge(
    handlers: &Handlers,
    request: Request<AcknowledgeRequest>,
) -> Answer<AcknowledgeResponse> {
    let peers = Arc::clone(&handlers.peers);
    handlers
        .answer(request, move |call| {
            take_progress(&peers, &call.message)?;
            Ok(AcknowledgeResponse {})
        })
        .await
}

/// Takes note of what a follower says that it has.
pub(super) fn take_progress(peers: &Peers, message: &AcknowledgeRequest) -> Result<()> {
    peers.check_leads()?;
    let follower = message.follower;
    if !peers.standing().followers.contains(&follower) {
        return Err(Error::not_found(format!("there is no follower {follower:016x}")));
    }
    peers.note_progress(follower, message.heads.iter().map(cursor));
    Ok(())
}

pub(super) async fn promote(handlers: &Handlers, request: Request<PromoteRequest>) -> Answer<PromoteResponse> {
    let peers = Arc::clone(&handlers.peers);
    handlers
        .answer(request, move |_| {
            let (term, promoted) = peers.promote()?;
            if promoted {
                tracing::info!(term, "this server was promoted: it leads");
            }
            Ok(PromoteResponse { term, promoted })
        })
        .await
}

pub(super) async fn remove(
    handlers: &Handlers,
    request: Request<RemoveFollowerRequest>,
) -> Answer<RemoveFollowerResponse> {
    let peers = Arc::clone(&handlers.peers);
    handlers
        .answer(request, move |call| {
            let id = &call.message.id;
            let follower = u64::from_str_radix(id, 16).ok().filter(|_| id.len() == 16);
            let follower =
                follower.ok_or_else(|| Error::invalid_argument("the id of a follower is 16 hexadecimal digits"))?;
            Ok(RemoveFollowerResponse { removed: peers.remove(follower)? })
        })
        .await
}

/// What this server is among others, as its figures show it.
pub(super) fn figures(handlers: &Handlers) -> Replication {
    let (peers, database) = (&handlers.peers, handlers.keeper.database());
    let (leads, standing, link) = (peers.leads(), peers.standing(), peers.link().clone());
    let heads: BTreeMap<SpaceId, Cursor> =
        database.everything().iter().filter_map(|one| Some((one.space(), database.cursor(one)?))).collect();
    let behind = |known: &BTreeMap<SpaceId, Cursor>| {
        let lacks = heads.iter().map(|(space, head)| match known.get(space) {
            Some(known) if known.epoch == head.epoch => head.seq.saturating_sub(known.seq),
            _ => head.seq,
        });
        lacks.sum()
    };
    let followers = peers.followers().into_iter().map(|(follower, progress)| Follower {
        id: format!("{follower:016x}"),
        connected: progress.streams > 0,
        behind: behind(&progress.heads),
    });
    Replication {
        leads,
        term: standing.term,
        leader: if leads { String::new() } else { peers.leader().unwrap_or_default().to_owned() },
        connected: link.is_connected,
        stale_ms: link.equal.filter(|_| !leads).map(|at| at.elapsed().as_millis() as u64),
        trouble: if leads { String::new() } else { link.trouble },
        repaired: link.repaired,
        followers: if leads { followers.collect() } else { Vec::new() },
    }
}
