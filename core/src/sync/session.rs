//! A replica's conversation with its leader about one space, from the greeting until the two are equal, and on.
//!
//! A host asks [`Session::next`] what to do, does it, and asks again: it stores a change, or carries a question to the leader
//! and hands the answer to [`Session::receive`]. When anything fails, whatever it was, it calls [`Session::restart`]: what is
//! stored is all that counts. So a tab, a follower and a simulation take the same way.
//!
//! The way: greet, settle what was answered unheard (R16), go back behind a change of leaders (R12), pull up to the head,
//! compare digests and repair, push the outbox; then wait.

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use core::mem;

use crate::error::{Error, Result};
use crate::log::{Rec, Stamper};
use crate::sort::sort_by_key;
use crate::types::IdKey;

use super::digest::{Digest, Item};
use super::message::{Cursor, Hello, Offer, Page, Pushed, Rows, Welcome};
use super::reconcile::{Difference, Initiator, ItemSet};
use super::replica::Replica;
use super::state::Change;

/// A session gives up when so many repairs in a row have left a difference (R15).
const MOST_REPAIRS: u32 = 5;

/// How much a session sends at once.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a push.
    pub push: usize,
    /// Bytes of a frame of reconciliation.
    pub frame: usize,
    /// Ids that are fetched.
    pub fetch: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { push: 1 << 20, frame: 60 << 10, fetch: 4096 }
    }
}

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Make a change durable, and apply it.
    Store(Box<Change>),
    /// Carry a question to the leader.
    Ask(Ask),
    /// Somebody else writes under this replica's name: draw another one, then ask again (R13).
    Rename,
    /// Wait: for a write here, or for what the leader has to say.
    Wait,
}

/// A question to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Who is there? Answered by [`Answer::Welcome`].
    Hello(Hello),
    /// What is behind this? Answered by [`Answer::Page`].
    Pull(Cursor),
    /// What do you know of these ids? Answered by [`Answer::Fetched`].
    Fetch(Vec<IdKey>),
    /// What becomes of these? Answered by [`Answer::Pushed`].
    Push(Vec<Offer>),
    /// What do you have that I lack, at this number? Answered by [`Answer::Reconciled`].
    Reconcile(u64, Vec<u8>),
}

/// What a leader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a greeting.
    Welcome(Welcome),
    /// To a pull; one that follows goes on coming unasked.
    Page(Page),
    /// To a fetch: what is known of as many of the ids, from the first one on, and the newest number.
    Fetched(Vec<Rec>, usize, u64),
    /// To a push.
    Pushed(Pushed),
    /// To a frame.
    Reconciled(Vec<u8>),
}

/// The replica that a session speaks for.
pub trait Local: Rows {
    /// What it is in replication.
    fn replica(&self) -> &Replica;

    /// The digest of its live points.
    fn digest(&self) -> Digest;

    /// Its live points.
    fn items(&self) -> Vec<Item>;
}

/// A conversation. Nothing of it is stored.
#[derive(Debug)]
pub struct Session {
    sizes: Sizes,
    task: Task,
    /// The leader's term, as it said when it was greeted.
    epoch: u32,
    repairs: u32,
}

#[derive(Debug)]
enum Task {
    Greet,
    Heed(Welcome),
    Settle(Welcome, Fetching),
    Pull,
    Take(Page),
    Compare(u64, Digest),
    Reconcile(u64, Initiator, Vec<u8>),
    Repair(Vec<IdKey>, Fetching),
    Push,
    Send(Vec<Offer>),
    Hear(Pushed),
    Rest,
    /// A question is on its way; this is what it is for.
    Asked(Box<Task>),
}

/// Ids whose records are being fetched.
#[derive(Debug, Default)]
struct Fetching {
    keys: Vec<IdKey>,
    done: usize,
    found: Vec<Rec>,
    head: u64,
}

impl Fetching {
    fn of(keys: Vec<IdKey>) -> Self {
        Self { keys, ..Self::default() }
    }

    fn next(&self, most: usize) -> Option<Ask> {
        let left = &self.keys[self.done..];
        (!left.is_empty()).then(|| Ask::Fetch(left[..left.len().min(most)].to_vec()))
    }
}

impl Session {
    /// Begins, with a greeting.
    pub const fn new(sizes: Sizes) -> Self {
        Self { sizes, task: Task::Greet, epoch: 0, repairs: 0 }
    }

    /// Begins anew, after anything that failed.
    pub fn restart(&mut self) {
        self.task = Task::Greet;
    }

    /// Looks for news once more before it waits again: some that came was not taken.
    pub fn look_again(&mut self) {
        if self.is_at_rest() {
            self.task = Task::Pull;
        }
    }

    /// The leader's term, for questions that do not say it themselves; 0 before the first greeting.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Whether the two were equal when they last compared, and nothing is to be sent.
    pub const fn is_at_rest(&self) -> bool {
        matches!(self.task, Task::Rest)
    }

    /// Says what to do next. A change that it gives is stored before it is asked again, or the session is restarted.
    ///
    /// # Errors
    /// `Corrupted` when repairs do not help, or the leader says what cannot be; those of [`Stamper::stamp`].
    pub fn next(&mut self, local: &impl Local, stamper: &mut Stamper, now_ms: u64) -> Result<Step> {
        let replica = local.replica();
        loop {
            let (next, step) = match mem::replace(&mut self.task, Task::Greet) {
                Task::Greet if replica.writer() != stamper.writer() => {
                    (Task::Greet, Some(store(replica.rename(local, stamper, now_ms)?)))
                }
                Task::Greet => ask(Task::Greet, Ask::Hello(replica.hello(stamper))),
                Task::Heed(welcome) if replica.is_forked(&welcome, stamper) => (Task::Greet, Some(Step::Rename)),
                Task::Heed(mut welcome) if welcome.rewind.is_some() => {
                    let change = replica.rewind(local, &welcome, stamper, now_ms)?;
                    welcome.rewind = None;
                    (Task::Heed(welcome), Some(store(change)))
                }
                Task::Heed(welcome) => {
                    let keys = replica.unsettled(local, welcome.acked);
                    (Task::Settle(welcome, Fetching::of(keys)), None)
                }
                Task::Settle(welcome, fetching) => {
                    if let Some(question) = fetching.next(self.sizes.fetch) {
                        ask(Task::Settle(welcome, fetching), question)
                    } else if welcome.acked != replica.acked() || !fetching.keys.is_empty() {
                        let head = fetching.head.max(welcome.head.seq);
                        let change = replica.settle(local, welcome.acked, head, &fetching.found, stamper);
                        (Task::Settle(welcome, Fetching::default()), Some(store(change)))
                    } else if welcome.must_resync {
                        (Task::Pull, Some(store(replica.resync(&welcome))))
                    } else {
                        (Task::Pull, None)
                    }
                }
                Task::Pull => ask(Task::Pull, Ask::Pull(Cursor { epoch: self.epoch, seq: replica.cursor().seq })),
                Task::Take(page) => {
                    let next = page.up_to_date.map_or(Task::Pull, |digest| Task::Compare(page.cursor.seq, digest));
                    let is_floor_higher = page.floor.and(replica.floor()) != replica.floor();
                    let is_news = !page.recs.is_empty() || page.cursor != replica.cursor() || is_floor_higher;
                    (next, is_news.then(|| store(replica.pull(page))))
                }
                Task::Compare(seq, theirs) => {
                    let is_equal = local.digest() == theirs;
                    if !replica.is_resyncing() && (is_equal || !replica.is_answered(local)) {
                        self.repairs = if is_equal { 0 } else { self.repairs };
                        (Task::Push, None)
                    } else if self.repairs == MOST_REPAIRS {
                        return Err(Error::corrupted(format!("{MOST_REPAIRS} repairs have left a difference")));
                    } else {
                        let (initiator, frame) = Initiator::start(ItemSet::new(local.items()), self.sizes.frame);
                        (Task::Reconcile(seq, initiator, frame), None)
                    }
                }
                Task::Reconcile(seq, initiator, frame) => {
                    let question = Ask::Reconcile(seq, frame);
                    ask(Task::Reconcile(seq, initiator, Vec::new()), question)
                }
                Task::Repair(here, fetching) => {
                    if let Some(question) = fetching.next(self.sizes.fetch) {
                        ask(Task::Repair(here, fetching), question)
                    } else {
                        self.repairs += 1;
                        let change = replica.repair(local, &here, fetching.found, stamper, now_ms)?;
                        (Task::Pull, Some(store(change)))
                    }
                }
                Task::Push => {
                    let (offers, change) = replica.push(local, self.sizes.push);
                    let next = if offers.is_empty() { Task::Rest } else { Task::Send(offers) };
                    (next, change.map(store))
                }
                Task::Send(offers) => ask(Task::Push, Ask::Push(offers)),
                // Somebody else was answered since the greeting.
                Task::Hear(pushed) if replica.has_twin(pushed.acked, stamper) => (Task::Greet, Some(Step::Rename)),
                Task::Hear(pushed) => {
                    let is_heard = pushed.verdicts.len() == replica.sent().len();
                    let change = replica.pushed(local, pushed, stamper, now_ms)?;
                    // What was answered before, to a question whose answer was lost, is settled behind a greeting.
                    let next = if is_heard { Task::Push } else { Task::Greet };
                    (next, Some(store(change)))
                }
                Task::Rest if replica.is_answered(local) => (Task::Rest, Some(Step::Wait)),
                Task::Rest => (Task::Push, None),
                Task::Asked(_) => return Err(Error::internal("a session was asked on while it waits for an answer")),
            };
            self.task = next;
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    /// Takes an answer, or a page that came unasked while the session waits. One to a question from before a restart is as
    /// good as lost.
    ///
    /// # Errors
    /// `Corrupted` when it does not answer what was asked.
    pub fn receive(&mut self, answer: Answer) -> Result<()> {
        let asked = match mem::replace(&mut self.task, Task::Greet) {
            Task::Asked(asked) => *asked,
            Task::Rest => Task::Pull,
            Task::Greet => return Ok(()),
            other => {
                self.task = other;
                return Err(Error::corrupted("an answer came that nobody waited for"));
            }
        };
        self.task = match (asked, answer) {
            (Task::Greet, Answer::Welcome(welcome)) => {
                self.epoch = welcome.head.epoch;
                Task::Heed(welcome)
            }
            (Task::Settle(welcome, fetching), answer @ Answer::Fetched(..)) => {
                Task::Settle(welcome, fetched(fetching, answer)?)
            }
            (Task::Pull, Answer::Page(page)) => Task::Take(page),
            (Task::Reconcile(seq, mut initiator, _), Answer::Reconciled(frame)) => match initiator.receive(&frame)? {
                Some(next) => Task::Reconcile(seq, initiator, next),
                None => repair(&initiator.finish()),
            },
            (Task::Repair(here, fetching), answer @ Answer::Fetched(..)) => {
                Task::Repair(here, fetched(fetching, answer)?)
            }
            (Task::Push, Answer::Pushed(pushed)) => Task::Hear(pushed),
            _ => return Err(Error::corrupted("an answer is not to the question that was asked")),
        };
        Ok(())
    }
}

/// What a reconciliation has found is fetched.
fn repair(difference: &Difference) -> Task {
    let here: Vec<IdKey> = difference.here.iter().map(|item| item.key).collect();
    let there = difference.there.iter().map(|(_, key)| *key);
    let mut keys: Vec<IdKey> = here.iter().copied().chain(there).collect();
    sort_by_key(&mut keys, |key| *key);
    keys.dedup();
    Task::Repair(here, Fetching::of(keys))
}

fn store(change: Change) -> Step {
    Step::Store(Box::new(change))
}

fn ask(then: Task, question: Ask) -> (Task, Option<Step>) {
    (Task::Asked(Box::new(then)), Some(Step::Ask(question)))
}

fn fetched(mut fetching: Fetching, answer: Answer) -> Result<Fetching> {
    let Answer::Fetched(recs, answered, head) = answer else { return Err(Error::internal("not what was fetched")) };
    if answered == 0 || answered > fetching.keys.len() - fetching.done {
        return Err(Error::corrupted(format!(
            "{answered} ids were answered of {}",
            fetching.keys.len() - fetching.done
        )));
    }
    fetching.done += answered;
    fetching.found.extend(recs);
    fetching.head = head;
    Ok(fetching)
}
