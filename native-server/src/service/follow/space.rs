//! One collection of a follower: the conversation with the leader, as any replica has it, carried over gRPC.

use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::sync::{Answer, Ask, Cursor, Page, decode_all, encode_all};
use hyperspace_core::types::SpaceId;
use std::collections::BTreeMap;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::Streaming;
use tracing::{debug, error, info, warn};

use super::super::lead;
use super::super::peers::Peers;
use super::super::work::block;
use super::conversation::{Conversation, Next, has};
use super::{LONGEST, Leader, SHORTEST, jittered};
use crate::database::{Database, OpenCollection};
use crate::proto::{
    AcknowledgeRequest, FetchRequest, HelloRequest, PullRequest, PullResponse, PushRequest, ReconcileRequest, Wanted,
};
use crate::remote::of_status;

/// How long the leader may take for an answer, or for the next page.
const PATIENCE: Duration = Duration::from_mins(1);

/// A collection, and the way to the leader's.
pub(super) struct Space {
    pub(super) leader: Leader,
    pub(super) follower: u64,
    pub(super) database: Arc<Database>,
    pub(super) collection: Arc<OpenCollection>,
    pub(super) heads: watch::Receiver<BTreeMap<SpaceId, Cursor>>,
    pub(super) at_once: Arc<Semaphore>,
    pub(super) peers: Arc<Peers>,
    pub(super) next_recount: Instant,
}

impl Space {
    /// Keeps it equal, for as long as it is let.
    pub(super) async fn keep(mut self) {
        let mut pause = SHORTEST;
        loop {
            let mut conversation = Conversation::default();
            let Err(error) = self.converse(&mut conversation).await;
            let name = self.collection.name();
            match error.kind() {
                // The catalog will tell; or the term has changed, and a greeting tells that.
                ErrorKind::NotFound | ErrorKind::Conflict => debug!(collection = name, %error, "a session ended"),
                _ => warn!(collection = name, %error, "a session ended"),
            }
            pause = if conversation.is_at_rest() { SHORTEST } else { (pause * 2).min(LONGEST) };
            sleep(jittered(pause)).await;
        }
    }

    async fn converse(&mut self, conversation: &mut Conversation) -> Result<std::convert::Infallible> {
        let at_once = Arc::clone(&self.at_once);
        let mut place = Some(at_once.acquire().await.expect("this semaphore is never closed"));
        let mut pages = None;
        let mut is_repairing = false;
        loop {
            let (database, collection) = (Arc::clone(&self.database), Arc::clone(&self.collection));
            let mut lent = std::mem::take(conversation);
            let (next, lent) = block(move || {
                let next = lent.next(&database, &collection)?;
                Ok((next, lent))
            })
            .await?;
            *conversation = lent;
            let answer = match next {
                Next::Store(ticket) => {
                    ticket.wait().await?;
                    continue;
                }
                Next::Acknowledge(cursor) => {
                    self.acknowledge(cursor).await?;
                    continue;
                }
                Next::Ask(Ask::Pull(cursor)) => Answer::Page(self.page(&mut pages, cursor).await?),
                Next::Ask(question) => {
                    is_repairing = self.note_repair(&question, is_repairing);
                    self.ask(question, conversation.epoch()).await?
                }
                Next::Wait(own) => {
                    drop(place.take());
                    self.wait(own).await?;
                    place = Some(at_once.acquire().await.expect("this semaphore is never closed"));
                    Answer::Page(self.page(&mut pages, own).await?)
                }
            };
            conversation.receive(&self.collection, answer)?;
        }
    }

    /// Says what is found to differ; answers whether a repair is under way.
    fn note_repair(&self, question: &Ask, is_repairing: bool) -> bool {
        let name = self.collection.name();
        match question {
            Ask::Reconcile(..) => {
                if !is_repairing {
                    warn!(collection = name, "this copy differs from the leader's: looking where");
                }
                true
            }
            Ask::Fetch(keys) if is_repairing => {
                info!(collection = name, points = keys.len(), "points that differ are repaired");
                self.peers.link().repaired += keys.len() as u64;
                true
            }
            _ => false,
        }
    }

    /// Waits until the leader stands elsewhere, or it is time to look whether the rows are still what they were.
    async fn wait(&mut self, own: Cursor) -> Result<()> {
        let space = self.collection.space();
        let is_elsewhere = |heads: &BTreeMap<SpaceId, Cursor>| heads.get(&space).is_some_and(|head| !has(own, *head));
        tokio::select! {
            news = self.heads.wait_for(is_elsewhere) => {
                news.map_err(|_| Error::unavailable("the leader is followed no more"))?;
                return Ok(());
            }
            () = sleep_until(self.next_recount) => {}
        }
        self.recount().await
    }

    /// Compares the digest with what is stored; behind this the leader's is compared with it.
    async fn recount(&mut self) -> Result<()> {
        let (database, collection) = (Arc::clone(&self.database), Arc::clone(&self.collection));
        block(move || {
            if !database.recount(&collection) {
                error!(collection = collection.name(), "stored points are not what was written");
                database.count_anew(&collection);
            }
            Ok(())
        })
        .await?;
        self.next_recount = Instant::now() + self.peers.recount_every();
        Ok(())
    }

    /// Tells the leader what is durable here.
    async fn acknowledge(&mut self, cursor: Cursor) -> Result<()> {
        let heads = vec![lead::head(self.collection.space(), cursor)];
        answered(self.leader.acknowledge(AcknowledgeRequest { follower: self.follower, heads })).await.map(drop)
    }

    /// The next page of a stream that is open, if there are more; else the first one of a new stream.
    async fn page(&mut self, pages: &mut Option<Streaming<PullResponse>>, after: Cursor) -> Result<Page> {
        loop {
            if pages.is_none() {
                let wanted = Wanted { space: self.collection.space().0, epoch: after.epoch, after: after.seq };
                let request = PullRequest { spaces: vec![wanted], max_bytes: 0, follow: false, follower: true };
                *pages = Some(answered(self.leader.pull(request)).await?);
            }
            let Some(stream) = pages else { unreachable!("a stream was opened") };
            let next = timeout(PATIENCE, stream.message()).await.map_err(|_| late())?;
            let Some(message) = next.map_err(|status| of_status(&status))? else {
                *pages = None;
                continue;
            };
            if message.page.is_empty() {
                continue;
            }
            let page: Page = decode_all(&message.page, "a page")?;
            if page.up_to_date.is_some() {
                *pages = None;
            }
            return Ok(page);
        }
    }

    async fn ask(&mut self, question: Ask, epoch: u32) -> Result<Answer> {
        let space = self.collection.space().0;
        Ok(match question {
            Ask::Hello(hello) => {
                let collection = self.collection.name().to_owned();
                let request = HelloRequest { collection, config: None, hello: encode_all(&hello) };
                let answer = answered(self.leader.hello(request)).await?;
                if answer.space != space {
                    return Err(Error::not_found(format!("the leader's collection is space {:016x}", answer.space)));
                }
                Answer::Welcome(decode_all(&answer.welcome, "a welcome")?)
            }
            Ask::Push(offers) => {
                let writer = self.database.number();
                let request = PushRequest { space, epoch, writer, offers: encode_all(&offers) };
                Answer::Pushed(decode_all(&answered(self.leader.push(request)).await?.pushed, "an answer")?)
            }
            Ask::Fetch(keys) => {
                let keys = keys.iter().flat_map(|key| key.0).collect();
                let answer = answered(self.leader.fetch(FetchRequest { space, epoch, keys })).await?;
                Answer::Fetched(decode_all(&answer.recs, "records")?, answer.answered as usize, answer.head)
            }
            Ask::Reconcile(seq, frame) => {
                let request = ReconcileRequest { space, epoch, seq, frame };
                Answer::Reconciled(answered(self.leader.reconcile(request)).await?.frame)
            }
            Ask::Pull(_) => return Err(Error::internal("pages are pulled elsewhere")),
        })
    }
}

async fn answered<T>(call: impl Future<Output = std::result::Result<tonic::Response<T>, tonic::Status>>) -> Result<T> {
    let answer = timeout(PATIENCE, call).await.map_err(|_| late())?;
    answer.map(tonic::Response::into_inner).map_err(|status| of_status(&status))
}

fn late() -> Error {
    Error::unavailable(format!("the leader has not answered in {} s", PATIENCE.as_secs()))
}
