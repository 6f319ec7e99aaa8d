//! A collection's conversation with its leader, as far as it is not stored.
//!
//! Pages of the stream that follows come whenever they like, in order. One is kept until the session has nothing else to do.
//! It is taken when none before it was passed over, and when it is of a moment after the last own write that was answered: an
//! older one does not amount to what is here. Whatever is passed over and may be news makes the session pull.

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::{BodyParts, MAX_CLOCK_LEAD_MS, Rec, Stamper};
use hyperspace_core::metadata::Metadata;
use hyperspace_core::sync::{
    Answer, Ask, Chain, Cursor, Hello, Local as _, Page, Session, Sizes, SpaceKey, State, Verdict, decode_all,
};
use hyperspace_core::types::PointId;

use super::ship::Shipment;
use super::wire::{self, Asker, Request};
use crate::host::database::OpenCollection;

/// What is known of a conversation.
pub(crate) struct Talk {
    pub(super) session: Session,
    /// Whom the first greeting met: the leader's number of the space, and the key.
    pub(super) met: Option<(u64, SpaceKey)>,
    /// The leader's newest number when it last answered offers.
    head: u64,
    /// A page that the stream brought.
    page: Option<Page>,
    /// One was passed over.
    has_missed: bool,
    /// The leader said that segments are cheaper than rows.
    pub(super) ships: bool,
    /// They are on their way.
    pub(super) shipment: Option<Shipment>,
    /// Some could not be right: only rows are taken from now on.
    pub(super) takes_rows: bool,
}

impl Default for Talk {
    fn default() -> Self {
        let session = Session::new(Sizes::default());
        Self {
            session,
            met: None,
            head: 0,
            page: None,
            has_missed: false,
            ships: false,
            shipment: None,
            takes_rows: false,
        }
    }
}

impl Talk {
    /// Whether there is something to look at before the session waits, where a replica stands at this cursor.
    pub(super) fn has_news(&mut self, at: Cursor) -> Result<bool> {
        let is_news = |page: &Page| page.cursor.epoch != at.epoch || page.cursor.seq > at.seq;
        if let Some(page) = self.page.take().filter(is_news) {
            let fits = page.cursor.epoch == at.epoch && page.cursor.seq >= self.head;
            if fits && !self.has_missed {
                self.session.receive(Answer::Page(page))?;
                return Ok(true);
            }
            self.has_missed = true;
        }
        if self.has_missed {
            self.session.look_again();
        }
        Ok(core::mem::take(&mut self.has_missed))
    }
}

/// The greeting of a collection that has never met another one.
pub(super) const fn stranger(stamper: &Stamper) -> Hello {
    Hello {
        writer: stamper.writer(),
        next_cseq: stamper.next_cseq(),
        acked: Chain { cseq: 0, hash: [0; 16] },
        cursor: Cursor { epoch: 0, seq: 0 },
        is_resyncing: false,
    }
}

/// How far a collection is in following its leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `local`, `following` or `resyncing`.
    pub state: &'static str,
    /// Everything up to this number of the leader's is here.
    pub seq: u64,
    /// Own writes that are not answered.
    pub pending: usize,
    /// What the leader refused and nobody has settled.
    pub conflicts: usize,
    /// Whether the session has nothing to do.
    pub is_at_rest: bool,
}

/// A write that the leader refused: what it changes was deleted long ago.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Which point.
    pub id: PointId,
    /// What was written, unless the point was deleted.
    pub point: Option<(Vec<f32>, Metadata)>,
}

impl OpenCollection {
    /// Makes the session begin anew, after whatever failed.
    pub fn sync_restart(&self) {
        let mut talk = self.talk.borrow_mut();
        (talk.met, talk.head, talk.shipment) = (None, 0, None);
        talk.session.restart();
    }

    /// How far the collection is.
    pub fn sync_status(&self) -> Status {
        let (engine, talk) = (self.engine.borrow(), self.talk.borrow());
        let State::Replica(replica) = engine.sync() else {
            let pending = engine.snapshot().len();
            return Status { state: "local", seq: 0, pending, conflicts: 0, is_at_rest: false };
        };
        Status {
            state: if replica.is_resyncing() { "resyncing" } else { "following" },
            seq: replica.cursor().seq,
            pending: replica.sent().len() + replica.outbox(&*engine).len(),
            conflicts: replica.conflicts().len(),
            is_at_rest: talk.session.is_at_rest(),
        }
    }

    /// What the leader refused, the oldest first.
    ///
    /// # Errors
    /// `Corrupted` when what is stored is no point.
    pub fn sync_conflicts(&self) -> Result<Vec<Refused>> {
        let engine = self.engine.borrow();
        let State::Replica(replica) = engine.sync() else { return Ok(Vec::new()) };
        let refused = replica.conflicts().iter().map(|offer| {
            let point = offer.body.as_ref().map(|body| {
                let parts = BodyParts::of(body, engine.config().dimension)?;
                Ok((parts.components().collect(), Metadata::from_bytes(parts.metadata)?))
            });
            Ok(Refused { id: offer.id.clone(), point: point.transpose()? })
        });
        refused.collect()
    }

    /// A question as it travels.
    pub(super) fn request(&self, ask: Ask) -> Request {
        let engine = self.engine.borrow();
        let (config, state) = (engine.config(), engine.sync());
        match ask {
            // Only who has never met it has a collection made: one that was deleted since stays so.
            Ask::Hello(hello) => wire::greeting(self.name(), (*state == State::Local).then_some(config), &hello),
            ask => wire::question(ask, &self.asker()),
        }
    }

    /// Who asks, once it follows.
    pub(super) fn asker(&self) -> Asker {
        let (engine, epoch) = (self.engine.borrow(), self.talk.borrow().session.epoch());
        Asker { space: engine.replica().space(), epoch, writer: engine.replica().writer() }
    }

    pub(super) fn receive(&self, method: &str, body: &[u8], now_ms: u64) -> Result<()> {
        let (engine, mut talk) = (self.engine.borrow(), self.talk.borrow_mut());
        if method == "GetManifest" {
            talk.shipment = Some(Shipment::read(body, talk.session.epoch())?);
            return Ok(());
        }
        if method.starts_with('/') {
            let waited = Error::corrupted("a piece of a segment came that nobody waited for");
            return talk.shipment.as_mut().ok_or(waited)?.take(body);
        }
        if method != "Hello" {
            let answer = wire::answer(method, body)?;
            check(engine.config(), &answer, now_ms)?;
            if let Answer::Pushed(pushed) = &answer {
                talk.head = pushed.seq;
            }
            return talk.session.receive(answer);
        }
        let (space, key, welcome, ships) = wire::welcome(body)?;
        let State::Replica(replica) = engine.sync() else {
            talk.met = Some((space, key));
            return Ok(());
        };
        if (replica.space(), replica.key()) != (space, &key) {
            return Err(Error::conflict(format!(
                "the server's collection `{}` is another one than the one that this follows: it was made anew, or is \
                 another user's",
                self.name()
            )));
        }
        talk.ships = ships && !talk.takes_rows;
        talk.session.receive(welcome)
    }

    /// From where on a stream is to follow: the leader's number of the space, its term, and the newest number that is here.
    pub(super) fn follow(&self) -> Option<(u64, Cursor)> {
        let (engine, talk) = (self.engine.borrow(), self.talk.borrow());
        let State::Replica(replica) = engine.sync() else { return None };
        Some((replica.space(), Cursor { epoch: talk.session.epoch(), seq: replica.cursor().seq }))
    }

    /// Keeps a page for when the session has nothing else to do.
    pub(super) fn take_page(&self, bytes: &[u8], now_ms: u64) -> Result<()> {
        let page: Page = decode_all(bytes, "a page")?;
        let answer = Answer::Page(page);
        check(self.engine.borrow().config(), &answer, now_ms)?;
        let Answer::Page(page) = answer else { return Ok(()) };
        let mut talk = self.talk.borrow_mut();
        if talk.page.is_some() {
            talk.has_missed = true;
        } else {
            talk.page = Some(page);
        }
        Ok(())
    }
}

/// Refuses what is dated far ahead: observed once, it would keep this database from giving stamps.
pub(super) fn check_time(hlc: u64, now_ms: u64) -> Result<()> {
    if hlc >> 16 <= now_ms.saturating_add(MAX_CLOCK_LEAD_MS) {
        return Ok(());
    }
    Err(Error::unavailable("the server's points are dated more than a year ahead of this clock"))
}

/// Checks what a leader knows as a write would have been.
fn check(config: &CollectionConfig, answer: &Answer, now_ms: u64) -> Result<()> {
    let recs: Vec<&Rec> = match answer {
        Answer::Page(page) => page.recs.iter().collect(),
        Answer::Fetched(recs, ..) => recs.iter().collect(),
        Answer::Pushed(pushed) => {
            let verdicts = pushed.verdicts.iter();
            verdicts
                .filter_map(|(_, verdict)| if let Verdict::Lost(rec) = verdict { Some(rec) } else { None })
                .collect()
        }
        Answer::Welcome(_) | Answer::Reconciled(_) => Vec::new(),
    };
    for Rec { id, stamp, body, .. } in recs {
        check_time(stamp.hlc, now_ms)?;
        if let Some(body) = body {
            let sent = |error: Error| Error::corrupted(format!("the server sent {}", error.message()));
            config.check_body(id, body).map_err(sent)?;
        }
    }
    Ok(())
}
