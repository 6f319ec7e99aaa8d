//! A follower's side of replication between servers: it has the collections that its leader has, and keeps each equal.
//!
//! One stream tells what there is and where it stands; each collection has a task of its own, which pulls what it lacks by a
//! session of its own (see [`space`]). Whatever fails is tried again, ever less often. Knows nothing of files: it calls the
//! database as any other writer does.

#[cfg_attr(not(feature = "mutations"), expect(unreachable_pub, reason = "simulations see it"))]
mod conversation;
mod space;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::sync::{Cursor, SpaceKey};
use hyperspace_core::types::SpaceId;
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use tracing::{info, warn};

use super::access::KEY_HEADER;
use super::convert::config_from;
use super::handlers::Handlers;
use super::peers::{NOBODY, Peers};
use super::until;
use super::work::block;
use super::{lead, reopen};
use crate::database::{Database, OpenCollection, Tuning};
use crate::proto::sync_client::SyncClient;
use crate::proto::{Catalog, LeaderMessage};
use crate::remote::{chain, endpoint, of_status};
use crate::settings::Settings;
use crate::tenancy::{self, USER_HEADER};
use conversation::has;
use space::Space;

#[cfg(feature = "mutations")]
pub use conversation::{Conversation, Next, has as has_all};

/// The pause before another try, after the first failure and after many.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A leader that has said nothing for so long is given up; it speaks every second.
const SILENCE: Duration = Duration::from_secs(10);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Collections that are pulled at once.
const MOST_AT_ONCE: usize = 8;
/// What the leader may send in one message: its own limit.
const MOST_RECEIVED: usize = 64 << 20;

/// Calls to the leader.
type Leader = SyncClient<InterceptedService<Channel, Caller>>;

/// Adds to every request who follows, and for which tenant.
#[derive(Clone)]
struct Caller {
    key: Option<MetadataValue<Ascii>>,
    tenant: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> std::result::Result<Request<()>, Status> {
        let each = [(KEY_HEADER, &self.key), (USER_HEADER, &self.tenant)];
        for (name, value) in each.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))) {
            request.metadata_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Follows the leader of the settings whenever this server does not lead, until it stops.
pub(super) async fn run(handlers: Handlers, settings: Settings) {
    let Some(url) = settings.leader.clone() else { return };
    let key = settings.leader_api_key.as_ref().and_then(|key| key.reveal().parse().ok());
    let mut stopping = pin!(until(handlers.stopping.clone()));
    let mut pause = SHORTEST;
    loop {
        let since = Instant::now();
        let outcome = tokio::select! {
            () = &mut stopping => return,
            outcome = follow(&handlers, &url, settings.leader_ca.as_deref(), key.clone()) => outcome,
        };
        let error = outcome.err().unwrap_or_else(|| Error::unavailable("the leader ended the stream"));
        {
            let mut link = handlers.peers.link();
            if link.trouble != error.message() {
                warn!(leader = url, %error, "the leader is not followed");
            }
            (link.is_connected, link.trouble) = (false, error.message().to_owned());
        }
        pause = if since.elapsed() > LONGEST { SHORTEST } else { (pause * 2).min(LONGEST) };
        tokio::select! {
            () = &mut stopping => return,
            () = sleep(jittered(pause)) => {}
        }
    }
}

/// A pause that no other follower makes.
fn jittered(pause: Duration) -> Duration {
    reopen::jittered(pause, getrandom::u32().unwrap_or(0))
}

/// Follows until something fails, or this server leads.
async fn follow(
    handlers: &Handlers,
    url: &str,
    authorities: Option<&Path>,
    key: Option<MetadataValue<Ascii>>,
) -> Result<()> {
    let endpoint = endpoint(url, authorities)?
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(SILENCE)
        .keep_alive_timeout(SILENCE);
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| Error::unavailable(format!("cannot reach {url}: {}", chain(&error))))?;
    let peers = &handlers.peers;
    let mut calls = Calls { channel, key, follower: NOBODY };
    let mut stream = calls.ask(peers).await?;
    let mut role = peers.watch_role();
    let mut following: Option<Following> = None;
    loop {
        let message = tokio::select! {
            message = timeout(SILENCE, stream.message()) => message,
            _ = role.wait_for(|leads| *leads), if following.is_some() => return Ok(()),
        };
        let message = message.map_err(|_| Error::unavailable(format!("nothing in {} s", SILENCE.as_secs())))?;
        let Some(message) = message.map_err(|status| of_status(&status))? else { return Ok(()) };
        if following.is_none() {
            let peers = Arc::clone(peers);
            let (group, term) = (message.group, message.term);
            block(move || peers.follow(group, term)).await?;
            if calls.follower == NOBODY {
                // It has led until now, and has its own name only from here on.
                stream = calls.ask(&handlers.peers).await?;
                continue;
            }
            info!(leader = url, term, "this server follows");
            following = Some(Following::new(handlers.clone(), calls.clone()));
        }
        if let Some(following) = &mut following {
            following.take(message).await?;
        }
    }
}

/// The way to the leader, shared by all tasks.
#[derive(Clone)]
struct Calls {
    channel: Channel,
    key: Option<MetadataValue<Ascii>>,
    follower: u64,
}

impl Calls {
    /// Asks what there is, under the name that this server has now.
    async fn ask(&mut self, peers: &Arc<Peers>) -> Result<Streaming<LeaderMessage>> {
        let peers = Arc::clone(peers);
        let request = block(move || Ok(peers.request())).await?;
        self.follower = request.follower;
        let stream = self.leader(None).replicate(request).await.map_err(|status| of_status(&status))?;
        Ok(stream.into_inner())
    }

    fn leader(&self, tenant: Option<&str>) -> Leader {
        let caller = Caller { key: self.key.clone(), tenant: tenant.and_then(|tenant| tenant.parse().ok()) };
        SyncClient::with_interceptor(self.channel.clone(), caller).max_decoding_message_size(MOST_RECEIVED)
    }
}

/// A leader that is being followed.
struct Following {
    handlers: Handlers,
    calls: Calls,
    at_once: Arc<Semaphore>,
    /// Where the leader's collections stand, as it last said.
    heads: watch::Sender<BTreeMap<SpaceId, Cursor>>,
    tasks: JoinSet<()>,
    spaces: BTreeMap<SpaceId, AbortHandle>,
    /// The database that the tasks work with.
    database: Arc<Database>,
}

impl Following {
    fn new(handlers: Handlers, calls: Calls) -> Self {
        let database = handlers.keeper.database();
        let at_once = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let heads = watch::Sender::new(BTreeMap::new());
        Self { handlers, calls, at_once, heads, tasks: JoinSet::new(), spaces: BTreeMap::new(), database }
    }

    async fn take(&mut self, message: LeaderMessage) -> Result<()> {
        if !Arc::ptr_eq(&self.database, &self.handlers.keeper.database()) {
            return Err(Error::unavailable("the database was opened again"));
        }
        self.heads.send_modify(|heads| heads.extend(message.heads.iter().map(lead::cursor)));
        if let Some(catalog) = message.catalog {
            self.take_catalog(message.term, catalog).await?;
        }
        let (database, heads) = (Arc::clone(&self.database), self.heads.borrow().clone());
        let is_equal = block(move || Ok(is_equal(&database, &heads))).await?;
        let mut link = self.handlers.peers.link();
        link.is_connected = true;
        link.trouble.clear();
        if is_equal {
            link.equal = Some(Instant::now());
        }
        Ok(())
    }

    /// Has what the leader has, and follows each of it.
    async fn take_catalog(&mut self, term: u64, catalog: Catalog) -> Result<()> {
        let (database, handlers) = (Arc::clone(&self.database), self.handlers.clone());
        let found = block(move || {
            handlers.peers.while_following(term, || {
                handlers.keyring.take(&catalog.keys)?;
                apply(&handlers.peers, &database, catalog)
            })
        })
        .await?;
        let known: BTreeSet<SpaceId> = found.iter().map(|collection| collection.space()).collect();
        self.spaces.retain(|space, task| {
            let stays = known.contains(space);
            if !stays {
                task.abort();
            }
            stays
        });
        self.heads.send_modify(|heads| heads.retain(|space, _| known.contains(space)));
        for collection in found.into_iter().filter(|one| !self.spaces.contains_key(&one.space())).collect::<Vec<_>>() {
            let number = collection.space();
            let space = Space {
                leader: self.calls.leader(Some(collection.tenant().name())),
                follower: self.calls.follower,
                database: Arc::clone(&self.database),
                collection,
                heads: self.heads.subscribe(),
                at_once: Arc::clone(&self.at_once),
                peers: Arc::clone(&self.handlers.peers),
                next_recount: tokio::time::Instant::now() + self.handlers.peers.recount_every(),
            };
            self.spaces.insert(number, self.tasks.spawn(space.keep()));
        }
        Ok(())
    }
}

/// Whether everything is here that the leader had when it last said so.
fn is_equal(database: &Database, heads: &BTreeMap<SpaceId, Cursor>) -> bool {
    let everything = database.everything();
    let is_here = |one: &Arc<OpenCollection>| {
        heads.get(&one.space()).is_some_and(|head| database.cursor(one).is_some_and(|own| has(own, *head)))
    };
    everything.len() == heads.len() && everything.iter().all(is_here)
}

/// Makes, tunes and drops collections so that there are those of the catalog; answers with those that are to be followed.
pub(super) fn apply(peers: &Peers, database: &Database, catalog: Catalog) -> Result<Vec<Arc<OpenCollection>>> {
    let dropped: BTreeSet<SpaceId> = catalog.dropped.into_iter().map(SpaceId).collect();
    peers.take_over(dropped.clone(), catalog.followers.into_iter().collect())?;
    let wanted: BTreeSet<SpaceId> = catalog.collections.iter().map(|entry| SpaceId(entry.space)).collect();
    for collection in database.everything().into_iter().filter(|one| !wanted.contains(&one.space())) {
        if dropped.contains(&collection.space()) {
            info!(collection = collection.name(), "the leader has deleted a collection");
            database.delete_collection(collection.tenant(), collection.name())?;
        } else {
            // Made while this server led, and never seen by the one that leads now.
            warn!(collection = collection.name(), "the leader does not know a collection: it stays here as it is");
        }
    }
    let mut found = Vec::with_capacity(catalog.collections.len());
    for entry in catalog.collections {
        let tenant = tenancy::of_leader(&entry.tenant)?;
        let config = config_from(entry.config)?;
        let key = SpaceKey(entry.key.as_slice().try_into().map_err(|_| Error::corrupted("a key of a space"))?);
        match database.collection_numbered(&tenant, SpaceId(entry.space)) {
            Ok(collection) => {
                tune(database, &collection, &config)?;
                found.push(collection);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                info!(collection = %config.name, "the leader has another collection");
                found.push(database.create_following(&tenant, config, SpaceId(entry.space), key)?);
            }
            Err(error) => warn!(collection = %config.name, %error, "a collection cannot be followed"),
        }
    }
    Ok(found)
}

fn tune(database: &Database, collection: &OpenCollection, wanted: &CollectionConfig) -> Result<()> {
    let snapshot = collection.snapshot();
    let own = snapshot.config();
    if (own.ef_search, own.ef_construction) == (wanted.ef_search, wanted.ef_construction) {
        return Ok(());
    }
    let tuning = Tuning { ef_search: Some(wanted.ef_search), ef_construction: Some(wanted.ef_construction) };
    database.configure(collection, tuning)
}
