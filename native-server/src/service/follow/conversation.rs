//! What a follower does next for one collection, in which order: the steps of its session, and what it tells its leader in
//! between. Knows nothing of how anything is carried; whoever carries it begins a new conversation after any failure.
//!
//! Invariant: what the leader is told to be here is durable here, for it forgets deletes and confirms writes on that account.

use std::sync::Arc;

use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Rec;
use hyperspace_core::sync::{Answer, Ask, Cursor, Session, Sizes, Verdict};

use crate::database::{Database, OpenCollection, Stepped, Ticket};

/// A follower's conversation about one collection.
#[derive(Debug)]
pub struct Conversation {
    session: Session,
    /// Up to where the leader was told that everything is here.
    told: Option<Cursor>,
    /// Something was stored since, or nothing is left to do.
    is_telling: bool,
}

/// What to do next.
#[derive(Debug)]
pub enum Next {
    /// Wait until a change is durable.
    Store(Ticket),
    /// Tell the leader that everything up to here is durable.
    Acknowledge(Cursor),
    /// Carry a question to the leader, and its answer to [`Conversation::receive`].
    Ask(Ask),
    /// Wait until the leader stands elsewhere than here; then pull from here, and give the page to
    /// [`Conversation::receive`].
    Wait(Cursor),
}

impl Default for Conversation {
    fn default() -> Self {
        Self { session: Session::new(Sizes::default()), told: None, is_telling: false }
    }
}

impl Conversation {
    /// Says what to do next; asked again when that is done.
    ///
    /// # Errors
    /// Those of [`Database::step`].
    pub fn next(&mut self, database: &Database, collection: &Arc<OpenCollection>) -> Result<Next> {
        if let Some(news) = self.news(database, collection)? {
            return Ok(news);
        }
        Ok(match database.step(collection, &mut self.session)? {
            Stepped::Stored(ticket) => {
                self.is_telling = true;
                Next::Store(ticket)
            }
            Stepped::Ask(question) => Next::Ask(question),
            Stepped::Waits => {
                self.is_telling = true;
                match self.news(database, collection)? {
                    Some(news) => news,
                    None => Next::Wait(cursor(database, collection)?),
                }
            }
        })
    }

    /// What the leader is to be told before anything else is done.
    fn news(&mut self, database: &Database, collection: &OpenCollection) -> Result<Option<Next>> {
        if !std::mem::take(&mut self.is_telling) {
            return Ok(None);
        }
        let cursor = cursor(database, collection)?;
        Ok((self.told.replace(cursor) != Some(cursor)).then_some(Next::Acknowledge(cursor)))
    }

    /// Takes an answer. What a leader sends is checked as what anybody sends: it may be of another version, or damaged on the
    /// way.
    ///
    /// # Errors
    /// `InvalidArgument` naming a point that cannot be one of the collection; those of [`Session::receive`].
    pub fn receive(&mut self, collection: &OpenCollection, answer: Answer) -> Result<()> {
        check(collection.snapshot().config(), &answer)?;
        self.session.receive(answer)
    }

    /// The leader's term, for questions that do not say it themselves.
    pub const fn epoch(&self) -> u32 {
        self.session.epoch()
    }

    /// Whether the two were equal when they last compared.
    pub const fn is_at_rest(&self) -> bool {
        self.session.is_at_rest()
    }
}

fn cursor(database: &Database, collection: &OpenCollection) -> Result<Cursor> {
    database.cursor(collection).ok_or_else(|| Error::internal("a replica that stands nowhere"))
}

fn check(config: &CollectionConfig, answer: &Answer) -> Result<()> {
    let check = |rec: &Rec| rec.body.as_ref().map_or(Ok(()), |body| config.check_body(&rec.id, body));
    match answer {
        Answer::Page(page) => page.recs.iter().try_for_each(check),
        Answer::Fetched(recs, ..) => recs.iter().try_for_each(check),
        Answer::Pushed(pushed) => pushed.verdicts.iter().try_for_each(|(_, verdict)| match verdict {
            Verdict::Lost(winner) => check(winner),
            _ => Ok(()),
        }),
        Answer::Welcome(_) | Answer::Reconciled(_) => Ok(()),
    }
}

/// Whether who stands here has everything up to there. What was pulled may be newer than what was last said.
pub fn has(own: Cursor, head: Cursor) -> bool {
    own.epoch == head.epoch && own.seq >= head.seq
}
