//! Streams of what changes: pages behind a replica's numbers, and then one whenever a collection changes.
//!
//! Each space of a stream has a task of its own; together they have room for one page, which is put together when there is
//! room for it. So a client that reads slowly holds one page, and one that does not read is given up. A stream gives its
//! request's place back (see [`Lasting`]) and takes one among the streams; while it waits it takes nothing else. Whether its
//! caller still is one is asked before every page, and whenever it tells that it lives; it also does so when collections of
//! the caller have come or gone.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::sync::{Cursor, encode_all};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::handlers::{Answer, Call, Handlers, collections_of};
use super::limits::Lasting;
use super::status::status;
use super::sync::MOST_BYTES;
use super::until;
use super::work::block;
use crate::auth::{Caller, Keyring, Scope};
use crate::database::{Database, OpenCollection};
use crate::proto::{PullRequest, PullResponse};

/// Streams at once.
const MOST_STREAMS: usize = 1_024;
/// Pages of all streams that are put together at once.
const MOST_PAGES: usize = 4;
/// Spaces of one stream.
const MOST_SPACES: usize = 256;
/// How often a stream tells that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long a page may wait for its reader.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pages, again and again.
pub(super) type PageStream = ReceiverStream<std::result::Result<PullResponse, Status>>;
type Sender = mpsc::Sender<std::result::Result<PullResponse, Status>>;

/// The bounds of all streams of a server.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    open: Arc<Semaphore>,
    pages: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self { open: Arc::new(Semaphore::new(MOST_STREAMS)), pages: Arc::new(Semaphore::new(MOST_PAGES)) }
    }
}

/// One space of a stream.
struct Space {
    database: Arc<Database>,
    collection: Arc<OpenCollection>,
    after: Cursor,
    most_bytes: usize,
    follows: bool,
    is_follower: bool,
    guest: Guest,
}

/// Whose stream it is, and who knows whether that is still somebody.
#[derive(Clone)]
struct Guest {
    keyring: Arc<Keyring>,
    caller: Caller,
}

impl Guest {
    /// # Errors
    /// `Unauthenticated` when the token has expired, or the key was revoked.
    fn check(&self) -> Result<()> {
        self.keyring.check(&self.caller)
    }
}

/// Sends pages until there are no more, the caller goes, or the server stops.
pub(super) fn pull(handlers: &Handlers, request: Request<PullRequest>) -> Answer<PageStream> {
    let call = handlers.call(request).map_err(status)?;
    let guest = Guest { keyring: Arc::clone(&handlers.keyring), caller: call.caller.clone() };
    let spaces = spaces(&call, &guest).map_err(status)?;
    let place = Arc::clone(&handlers.streams.open).try_acquire_owned();
    let place =
        place.map_err(|_| status(Error::unavailable(format!("{MOST_STREAMS} streams are open: retry later"))))?;
    let (sender, receiver) = mpsc::channel(1);
    let (pages, stopping) = (Arc::clone(&handlers.streams.pages), handlers.stopping.clone());
    tokio::spawn(async move {
        let _place = place;
        run(spaces, guest, pages, sender, stopping).await;
    });
    let mut response = Response::new(ReceiverStream::new(receiver));
    response.extensions_mut().insert(Lasting);
    Ok(response)
}

fn spaces(call: &Call<PullRequest>, guest: &Guest) -> Result<Vec<Space>> {
    let message = &call.message;
    if message.follower {
        call.caller.require(Scope::Admin)?;
    }
    if !(1..=MOST_SPACES).contains(&message.spaces.len()) {
        return Err(Error::invalid_argument(format!(
            "a pull is of 1 to {MOST_SPACES} spaces, not {}",
            message.spaces.len()
        )));
    }
    let most_bytes = match message.max_bytes as usize {
        0 => MOST_BYTES,
        some => some.min(MOST_BYTES),
    };
    let mut seen = BTreeSet::new();
    let spaces = message.spaces.iter().map(|wanted| {
        if !seen.insert(wanted.space) {
            return Err(Error::invalid_argument(format!("space {:016x} is listed twice", wanted.space)));
        }
        Ok(Space {
            database: Arc::clone(&call.database),
            collection: call.space(wanted.space)?,
            after: Cursor { epoch: wanted.epoch, seq: wanted.after },
            most_bytes,
            follows: message.follow,
            is_follower: message.follower,
            guest: guest.clone(),
        })
    });
    spaces.collect()
}

async fn run(spaces: Vec<Space>, guest: Guest, pages: Arc<Semaphore>, sender: Sender, stopping: watch::Receiver<bool>) {
    let (database, caller) = (Arc::clone(&spaces[0].database), guest.caller.clone());
    let visible = || collections_of(&caller, &database).iter().map(|one| one.space()).collect::<BTreeSet<_>>();
    let (mut known, mut catalog) = (visible(), database.watch_catalog());
    let mut each = JoinSet::new();
    for space in spaces {
        each.spawn(space.send(Arc::clone(&pages), sender.clone()));
    }
    let mut stopping = pin!(until(stopping));
    let mut pulse = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = loop {
        tokio::select! {
            () = sender.closed() => return,
            () = &mut stopping => break Error::unavailable("the server is stopping"),
            _ = pulse.tick() => {
                if let Err(error) = guest.check() {
                    break error;
                }
                // Where there is no room, a page is on its way, which tells as much.
                let _ = sender.try_send(Ok(PullResponse::default()));
            }
            Ok(()) = catalog.changed() => {
                // Others' collections are nobody's business.
                let now = visible();
                if now != known && sender.try_send(Ok(PullResponse::default())).is_ok() {
                    known = now;
                }
            }
            ended = each.join_next() => match ended {
                None => return,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => break error,
                Some(Err(error)) => break Error::internal(format!("a bug: a stream: {error}")),
            },
        }
    };
    drop(each);
    // Who does not read is not told.
    let _ = timeout(PATIENCE, sender.send(Err(status(end)))).await;
}

impl Space {
    async fn send(self, pages: Arc<Semaphore>, sender: Sender) -> Result<()> {
        let mut changes = self.collection.watch();
        let (mut after, mut told) = (self.after, None);
        loop {
            changes.mark_unchanged();
            let room = timeout(PATIENCE, sender.reserve()).await;
            let room =
                room.map_err(|_| Error::unavailable(format!("a page was not read within {} s", PATIENCE.as_secs())))?;
            // The caller is gone.
            let Ok(room) = room else { return Ok(()) };
            self.guest.check()?;
            let (message, cursor, is_all) = self.page(after, &pages).await?;
            if told == Some(cursor) {
                // What changed was no write, and others need the room.
                drop(room);
            } else {
                room.send(Ok(message));
                told = Some(cursor);
            }
            after.seq = after.seq.max(cursor.seq);
            if !is_all {
                continue;
            }
            if !self.follows {
                return Ok(());
            }
            let _ = changes.changed().await;
        }
    }

    /// The next page, where it ends, and whether it is all there is.
    async fn page(&self, after: Cursor, pages: &Semaphore) -> Result<(PullResponse, Cursor, bool)> {
        let _working = pages.acquire().await.expect("this semaphore is never closed");
        let (database, collection) = (Arc::clone(&self.database), Arc::clone(&self.collection));
        let (most_bytes, is_follower) = (self.most_bytes, self.is_follower);
        block(move || {
            let page = database.page(&collection, after, most_bytes, is_follower)?;
            let message = PullResponse { space: collection.space().0, page: encode_all(&page) };
            Ok((message, page.cursor, page.up_to_date.is_some()))
        })
        .await
    }
}
