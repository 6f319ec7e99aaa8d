//! A server among others: its database on a disk in memory, what it decides as a leader and as a follower by the server's own
//! code, and no network. It answers messages, and sends its own when it is its turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::port::Clock;
use hyperspace_core::sync::{Ask, Cursor};
use hyperspace_core::types::{SpaceId, Tenant};
use hyperspace_server::database::{Database, Keeper, OpenCollection};
use hyperspace_server::proto::LeaderMessage;
use hyperspace_server::service::simulation::{Conversation, Member, NOBODY, Next, has_all};
use hyperspace_server::settings::{Role, Settings, WriteConcern};

use super::counts::Counts;
use super::model::Accepted;
use super::network::{Network, Node, Payload, Reply};
use crate::random::Random;
use crate::server::harness::sim::{Crash, SimDisk};
use crate::sync::drive::Checked;
use crate::sync::lent::Platform;
use crate::sync::service::{self, Asker};

/// A clock that goes otherwise than the others.
#[derive(Debug)]
struct Skewed {
    platform: Arc<Platform>,
    ahead_ms: AtomicU64,
}

impl Clock for Skewed {
    fn now_ms(&self) -> u64 {
        self.platform.now_ms() + self.ahead_ms.load(Ordering::Relaxed)
    }
}

/// A server: its machine, and its process while there is one.
pub(super) struct Server {
    number: usize,
    disk: SimDisk,
    platform: Arc<Platform>,
    clock: Arc<Skewed>,
    concern: WriteConcern,
    /// The server that its settings tell it to follow.
    pub(super) follows: Option<usize>,
    /// The term that it knew of last.
    pub(super) term: u64,
    pub(super) process: Option<Process>,
}

/// What is in memory.
pub(super) struct Process {
    pub(super) keeper: Arc<Keeper>,
    pub(super) member: Member,
    /// The question to the leader what there is, and as whom it was asked.
    asked: Option<(u64, u64)>,
    following: Option<Following>,
    /// Where collections stood when old deletes were forgotten last.
    seen: BTreeMap<SpaceId, u64>,
    /// Answers that wait for a majority.
    held: Vec<Held>,
}

/// A leader that is followed.
#[derive(Default)]
struct Following {
    /// The name under which it follows.
    follower: u64,
    spaces: BTreeMap<SpaceId, Space>,
    heads: BTreeMap<SpaceId, Cursor>,
}

/// A collection of a follower.
struct Space {
    collection: Arc<OpenCollection>,
    conversation: Conversation,
    state: State,
}

enum State {
    Ready,
    /// The message of this number is not answered.
    Asked(u64),
    Waiting(Cursor),
}

/// An answer that waits until a majority has what it confirms.
pub(super) struct Held {
    pub(super) to: Option<(Node, u64, Reply)>,
    pub(super) space: SpaceId,
    pub(super) wanted: Cursor,
    pub(super) accepted: Vec<Accepted>,
}

impl Process {
    pub(super) fn database(&self) -> Arc<Database> {
        self.keeper.database()
    }

    pub(super) fn collection(&self, name: &str) -> Option<Arc<OpenCollection>> {
        self.database().collection(&Tenant::local(), name).ok()
    }

    /// Whether it takes writes.
    pub(super) fn leads(&self) -> bool {
        self.member.check_leads().is_ok()
    }

    /// Keeps an answer until a majority has what it confirms.
    pub(super) fn hold(&mut self, held: Held) {
        self.held.push(held);
    }

    /// The answers for which a majority was found; now and then one that waited for too long is refused.
    pub(super) fn release(&mut self, random: &mut Random) -> Vec<Held> {
        let member = &self.member;
        let is_done = |held: &mut Held| member.is_confirmed(held.space, held.wanted);
        let mut released: Vec<Held> = self.held.extract_if(.., is_done).collect();
        if !self.held.is_empty() && random.one_in(30) {
            let mut late = self.held.remove(0);
            late.accepted.clear();
            late.to = late.to.map(|(to, number, _)| (to, number, Reply::Refused(ErrorKind::Unavailable)));
            released.push(late);
        }
        released
    }

    /// Whether everything is here that the leader had when it last said so, and nothing is left to be done.
    pub(super) fn is_at_rest(&self) -> bool {
        self.following.as_ref().is_some_and(|following| {
            following.spaces.iter().all(|(space, one)| match one.state {
                State::Waiting(own) => following.heads.get(space).is_some_and(|head| has_all(own, *head)),
                _ => false,
            })
        })
    }
}

impl Server {
    pub(super) fn new(number: usize, platform: &Arc<Platform>, concern: WriteConcern, ahead_ms: u64) -> Self {
        let clock = Skewed { platform: Arc::clone(platform), ahead_ms: AtomicU64::new(ahead_ms) };
        Self {
            number,
            disk: SimDisk::default(),
            platform: Arc::clone(platform),
            clock: Arc::new(clock),
            concern,
            follows: None,
            term: 0,
            process: None,
        }
    }

    pub(super) fn set_clock(&self, ahead_ms: u64) {
        self.clock.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }

    /// Begins, with what a crash has left.
    pub(super) fn start(&mut self, crash: Crash, random: &mut Random) -> Checked {
        self.process = None;
        self.disk = SimDisk::with(self.disk.tree().after(crash, random));
        self.open().map_err(|error| format!("server {} does not start: {error}", self.number))
    }

    fn open(&mut self) -> Result<()> {
        let (environment, options) =
            service::lent(&self.disk, &(Arc::clone(&self.clock) as _), &(Arc::clone(&self.platform) as _));
        let keeper = Arc::new(Keeper::open_on(environment, options)?);
        let settings = Settings {
            role: if self.follows.is_some() { Role::Follower } else { Role::Leader },
            leader: self.follows.map(|leader| format!("http://server-{leader}:1")),
            write_concern: self.concern,
            tombstone_seconds: 1.try_into().expect("one is not zero"),
            ..Settings::default()
        };
        let member = Member::open(Arc::clone(&keeper), &settings)?;
        self.term = member.term();
        let (seen, held) = (BTreeMap::new(), Vec::new());
        self.process = Some(Process { keeper, member, asked: None, following: None, seen, held });
        Ok(())
    }

    /// The disk and everything on it is lost; an empty one takes its place.
    pub(super) fn lose(&mut self) {
        self.process = None;
        self.disk = SimDisk::default();
        self.term = 0;
    }

    /// Stops the machine in the midst of one of its next calls to the disk.
    pub(super) fn halt_after(&self, calls: usize) {
        self.disk.halt_after(calls);
    }

    /// Looks whether the machine has stopped: then its process is gone.
    pub(super) fn look(&mut self) -> bool {
        if let Some(process) = &self.process {
            self.term = process.member.term().max(self.term);
        }
        let has_stopped = self.disk.is_halted() && self.process.is_some();
        if has_stopped {
            self.process = None;
        }
        has_stopped
    }

    /// Answers a message.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn answer(&mut self, payload: Payload) -> Result<Reply> {
        let process = self.process.as_mut().ok_or_else(|| Error::unavailable("nobody listens"))?;
        let database = process.database();
        match payload {
            Payload::Question { method, body } => {
                process.member.check_leads()?;
                service::answer(&database, &method, &body).map(Reply::ToTab)
            }
            Payload::Ask(asker, question) => {
                process.member.check_leads()?;
                service::ask(&database, &asker, question).map(Reply::ToFollower)
            }
            Payload::Replicate(request) => process.member.replicate(request).map(Reply::Told),
            Payload::Acknowledge(request) => process.member.acknowledge(&request).map(|()| Reply::Noted),
            Payload::Reply(..) => Err(Error::internal("an answer is no question")),
        }
    }

    /// Takes an answer, if it is still waited for.
    pub(super) fn receive(&mut self, number: u64, reply: Reply) -> Checked {
        let Some(process) = &mut self.process else { return Ok(()) };
        if let Some((_, follower)) = process.asked.take_if(|(asked, _)| *asked == number) {
            let heard = match reply {
                Reply::Told(message) => process.heed(message, follower),
                _ => Err(Error::unavailable("refused")),
            };
            return process.end_unless(heard.map(drop));
        }
        let is_it = |space: &&mut Space| matches!(space.state, State::Asked(asked) if asked == number);
        let spaces = process.following.iter_mut().flat_map(|following| following.spaces.values_mut());
        let Some(space) = { spaces }.find(is_it) else { return Ok(()) };
        let taken = match reply {
            Reply::ToFollower(answer) => space.conversation.receive(&space.collection, answer),
            Reply::Noted => Ok(()),
            _ => Err(Error::unavailable("refused")),
        };
        space.state = State::Ready;
        space.begin_anew_unless(taken)
    }

    /// Does something as a follower.
    pub(super) fn tick(&mut self, network: &mut Network, random: &mut Random, counts: &Counts) -> Checked {
        let own = Node::Server(self.number);
        let (Some(process), Some(leader)) = (&mut self.process, self.follows) else { return Ok(()) };
        let leader = Node::Server(leader);
        if process.leads() {
            // What it followed is over once it leads.
            process.following = None;
        }
        if process.asked.is_some() {
            if random.one_in(12) {
                // The stream breaks.
                (process.asked, process.following) = (None, None);
            }
        } else if process.following.is_none() || random.one_in(3) {
            let request = process.member.request();
            let follower = request.follower;
            process.asked = Some((network.send(own, leader, Payload::Replicate(request)), follower));
            return Ok(());
        }
        let database = process.database();
        let Some(following) = &mut process.following else { return Ok(()) };
        if following.spaces.is_empty() {
            return Ok(());
        }
        let chosen = random.below(following.spaces.len());
        let (number, space) = following.spaces.iter_mut().nth(chosen).expect("it is there");
        let number = *number;
        match space.state {
            State::Asked(_) if random.one_in(12) => space.begin_anew(),
            State::Asked(_) => {}
            State::Waiting(own_cursor) => {
                if following.heads.get(&number).is_some_and(|head| !has_all(own_cursor, *head)) {
                    let payload = space.question(&database, Ask::Pull(own_cursor));
                    space.state = State::Asked(network.send(own, leader, payload));
                }
            }
            State::Ready => match space.conversation.next(&database, &space.collection) {
                Ok(Next::Store(ticket)) => {
                    counts.count("changes that a follower stores");
                    space.begin_anew_unless(service::wait(&database, ticket))?;
                }
                Ok(Next::Acknowledge(cursor)) => {
                    let payload = Payload::Acknowledge(Member::progress(following.follower, number, cursor));
                    space.state = State::Asked(network.send(own, leader, payload));
                }
                Ok(Next::Ask(question)) => {
                    if let Ask::Push(offers) = &question {
                        counts.count_all("offers of a follower", offers.len() as u64);
                    }
                    let payload = space.question(&database, question);
                    space.state = State::Asked(network.send(own, leader, payload));
                }
                Ok(Next::Wait(cursor)) => space.state = State::Waiting(cursor),
                Err(error) => space.begin_anew_unless(Err(error))?,
            },
        }
        Ok(())
    }

    /// Forgets old deletes, as a leader does from time to time.
    pub(super) fn forget(&mut self) {
        if let Some(process) = self.process.as_mut().filter(|process| process.leads()) {
            process.seen = process.member.forget(&process.seen);
        }
    }
}

impl Process {
    fn heed(&mut self, message: LeaderMessage, follower: u64) -> Result<()> {
        let heads = Member::heads(&message);
        if self.following.is_none() {
            self.member.follow(&message)?;
            if follower == NOBODY {
                // It has led until now, and asks again under the name that it has from here on.
                return Ok(());
            }
        }
        let found = self.member.heed(message)?;
        let following = self.following.get_or_insert_default();
        following.follower = follower;
        following.spaces.retain(|space, _| found.iter().any(|collection| collection.space() == *space));
        for collection in found {
            let begin = || Space {
                collection: Arc::clone(&collection),
                conversation: Conversation::default(),
                state: State::Ready,
            };
            following.spaces.entry(collection.space()).or_insert_with(begin);
        }
        following.heads.extend(heads);
        Ok(())
    }

    /// Whatever fails ends the stream; what cannot be is no failure.
    fn end_unless(&mut self, heard: Result<()>) -> Checked {
        let Err(error) = heard else { return Ok(()) };
        self.following = None;
        allowed(&error)
    }
}

impl Space {
    fn question(&self, database: &Database, question: Ask) -> Payload {
        let (space, epoch) = (self.collection.space(), self.conversation.epoch());
        Payload::Ask(Asker { space, epoch, writer: database.number(), is_follower: true }, question)
    }

    fn begin_anew(&mut self) {
        (self.conversation, self.state) = (Conversation::default(), State::Ready);
    }

    fn begin_anew_unless(&mut self, outcome: Result<()>) -> Checked {
        let Err(error) = outcome else { return Ok(()) };
        self.begin_anew();
        allowed(&error)
    }
}

/// Servers come and go and change their terms; anything else is a mistake.
fn allowed(error: &Error) -> Checked {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::NotFound => Ok(()),
        kind => Err(format!("a follower fails with {}: {}", kind.code(), error.message())),
    }
}
