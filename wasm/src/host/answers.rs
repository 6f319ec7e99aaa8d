//! Which requests are done: what makes a request that is sent again be answered again, and not be done again.
//!
//! A tab sends whatever the owner of the database did not answer to the next owner, which cannot know by itself what
//! the one before it did. So every change carries the request that asked for it, as a completion record does in RIFL
//! (Lee et al., SOSP 2015): a write in its log record, the deletion or the import of a collection in [`Answers`]' own row,
//! in the same transaction; and when a log is cut, the requests in it move to that row in that same transaction.
//!
//! An answer is forgotten when its tab has it (each request says below which number its tab waits for nothing), and
//! when its tab is gone: only a tab that lives sends anything again. Invariant: a request that is done and whose tab
//! lives and waits for it is in a log or in the row. Nothing is inferred from the order of numbers: of two requests
//! of a tab the later one may be done and the earlier one not.

use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::Result;
use hyperspace_core::log::{Record, RecordBody, RequestId};
use hyperspace_core::types::Lsn;

use super::database::Database;
use crate::kv::{Blob, FrameKind, Key, Kv, KvTx, Store, frame, unframe};

/// A request for a change, and what its tab still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The tab and its number for the request.
    pub id: RequestId,
    /// The tab waits for no answer to a request below this number.
    pub since: u64,
}

/// What was answered: the log's number, and how many points were deleted. The log does not tell how many points of a
/// delete were there: then it is how many the record names, of which some may not have been there if another write was
/// under way. A change of the catalog answers only that it is done: twice zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) lsn: Lsn,
    pub(super) deleted: u64,
}

/// The answers that a tab may ask for again: few, as each tab waits for few.
#[derive(Default)]
pub(super) struct Answers {
    given: Vec<(RequestId, Answer)>,
    /// The tabs that live, once somebody has said so.
    living: Option<Vec<u64>>,
    is_stored: bool,
}

pub(super) fn answers_key() -> Key {
    b"answers".to_vec()
}

impl Answers {
    /// Reads the row. What is known from logs is kept, and what was read before is not taken twice.
    pub(super) fn read(&mut self, row: Option<&Blob>) -> Result<()> {
        let Some(row) = row else { return Ok(()) };
        let what = "the answered requests";
        let (_, body) = unframe(FrameKind::Answers, row, what)?;
        let mut reader = Reader::new(&body);
        self.is_stored = true;
        while reader.remaining() > 0 {
            let id = RequestId { tab: reader.u64("a tab")?, n: reader.u64("a request")? };
            let answer = Answer { lsn: Lsn(reader.u64("an lsn")?), deleted: reader.u64("a count")? };
            if self.given.iter().all(|(of, _)| *of != id) {
                self.given.push((id, answer));
            }
        }
        Ok(())
    }

    /// Writes the row, with the transaction's own request in it if that is one; a row that would say nothing is spared.
    pub(super) fn write(&mut self, tx: &mut KvTx, own: Option<RequestId>) {
        if own.is_none() && self.given.is_empty() && !self.is_stored {
            return;
        }
        self.is_stored = true;
        let own = own.map(|id| (id, Answer::default()));
        let mut body = Vec::new();
        for (id, answer) in self.given.iter().chain(own.iter()) {
            [id.tab, id.n, answer.lsn.0, answer.deleted].into_iter().for_each(|value| body.put_u64(value));
        }
        tx.put(Store::Meta, answers_key(), frame(FrameKind::Answers, 0, &body));
    }

    /// Takes note that a request is done, when its tab may ask for it again.
    pub(super) fn note(&mut self, id: Option<RequestId>, answer: Answer) {
        let Some(id) = id else { return };
        if self.living.as_ref().is_none_or(|living| living.contains(&id.tab)) {
            self.given.push((id, answer));
        }
    }

    /// Takes note of what a stored record answered.
    pub(super) fn note_record(&mut self, record: &[u8]) -> Result<()> {
        let Record { lsn, body } = Record::decode(record)?;
        if let RecordBody::Writes(writes) = body {
            self.note(writes.request, Answer { lsn, deleted: writes.len() as u64 });
        }
        Ok(())
    }

    /// What the request was answered before, if it was; what its tab waits for no longer is forgotten.
    pub(super) fn find(&mut self, asked: Option<Asked>) -> Option<Answer> {
        let Asked { id, since } = asked?;
        if let Some(living) = self.living.as_mut().filter(|living| !living.contains(&id.tab)) {
            living.push(id.tab);
        }
        self.given.retain(|(of, _)| of.tab != id.tab || of.n >= since);
        self.given.iter().find(|(of, _)| *of == id).map(|(_, answer)| *answer)
    }

    fn keep(&mut self, tabs: Vec<u64>) {
        self.given.retain(|(id, _)| tabs.contains(&id.tab));
        self.living = Some(tabs);
    }
}

impl<K: Kv> Database<K> {
    /// Says which tabs live: whatever others asked for is forgotten, here and in logs that are yet to be read.
    ///
    /// A tab that has asked for something since is to be among them.
    pub fn keep_tabs(&self, tabs: Vec<u64>) {
        self.answers.borrow_mut().keep(tabs);
    }

    /// What a request was answered before, if it was, as durably as it was asked for: its transaction was complete before
    /// the one that made this engine the owner. The caller has settled what a failed write left open.
    pub(super) fn answered(&self, asked: Option<Asked>) -> Option<Answer> {
        self.answers.borrow_mut().find(asked)
    }

    /// Takes note that a change of the catalog is done.
    pub(super) fn note_done(&self, request: Option<RequestId>) {
        self.answers.borrow_mut().note(request, Answer::default());
    }
}
