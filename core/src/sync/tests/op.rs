//! What can happen in a world, as values and as lines of text. A history is a list of these: it can be kept in a file,
//! and cut down to what makes it fail.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};

/// How much an operation takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Most {
    All,
    Some(usize),
}

/// What becomes of the offers of a push, and of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    AnswerLost,
    /// The offers are under way for long: they may still arrive as a late one.
    OffersLost,
}

/// Whose rows lose something without anybody noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Client(usize),
    Server,
}

/// One thing that happens. Clients are numbered from 0 in the order in which they came; what cannot happen is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A client comes into being.
    Join,
    /// A client is copied with all that it knows, and both go on (R13).
    Copy(usize),
    /// So many steps of time pass.
    Wait(u64),
    /// A client's clock is wrong by so many milliseconds.
    Skew(usize, i64),
    Put(usize, u64),
    Delete(usize, u64),
    Pull(usize, Most),
    Push {
        at: usize,
        most: Most,
        times: usize,
        fate: Fate,
    },
    /// An old push arrives (again): the one that was sent so many before the last one.
    Late(usize),
    /// The server forgets the tombstones of these ids.
    Forget(Vec<u64>),
    /// What a client knows becomes durable.
    Save(usize),
    /// A client goes back to what was durable, but not behind its reservation of counters.
    LosePower(usize),
    /// A client goes back to what was durable, as from a copy of its files.
    Restore(usize),
    /// A follower has got everything.
    Follow,
    /// The follower leads.
    Failover,
    /// A row is gone.
    Lose(Place, u64),
    /// The body of a row is another one.
    Alter(Place, u64),
}

impl Op {
    /// To which client it happens.
    pub(super) fn client(&self) -> Option<usize> {
        match *self {
            Self::Copy(at)
            | Self::Skew(at, _)
            | Self::Put(at, _)
            | Self::Delete(at, _)
            | Self::Pull(at, _)
            | Self::Push { at, .. }
            | Self::Save(at)
            | Self::LosePower(at)
            | Self::Restore(at)
            | Self::Lose(Place::Client(at), _)
            | Self::Alter(Place::Client(at), _) => Some(at),
            _ => None,
        }
    }

    /// Reads a line.
    pub(super) fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| -> u64 { words[at].parse().unwrap() };
        let client = |at: usize| number(at) as usize;
        let most = |at: usize| if words[at] == "all" { Most::All } else { Most::Some(client(at)) };
        let place = |at: usize| if words[at] == "server" { Place::Server } else { Place::Client(client(at)) };
        match words[0] {
            "join" => Self::Join,
            "copy" => Self::Copy(client(1)),
            "wait" => Self::Wait(number(1)),
            "skew" => Self::Skew(client(1), words[2].parse().unwrap()),
            "put" => Self::Put(client(1), number(2)),
            "delete" => Self::Delete(client(1), number(2)),
            "pull" => Self::Pull(client(1), most(2)),
            "push" => Self::Push {
                at: client(1),
                most: most(2),
                times: client(3),
                fate: match words[4] {
                    "arrives" => Fate::Arrives,
                    "answer-lost" => Fate::AnswerLost,
                    "offers-lost" => Fate::OffersLost,
                    other => panic!("no fate of a push is called {other}"),
                },
            },
            "late" => Self::Late(client(1)),
            "forget" => Self::Forget((1..words.len()).map(number).collect()),
            "save" => Self::Save(client(1)),
            "lose-power" => Self::LosePower(client(1)),
            "restore" => Self::Restore(client(1)),
            "follow" => Self::Follow,
            "failover" => Self::Failover,
            "lose" => Self::Lose(place(1), number(2)),
            "alter" => Self::Alter(place(1), number(2)),
            other => panic!("nothing that happens is called {other}"),
        }
    }

    /// The line that [`Op::parse`] reads.
    pub(super) fn line(&self) -> String {
        let most = |most: &Most| match most {
            Most::All => "all".to_string(),
            Most::Some(count) => count.to_string(),
        };
        let place = |place: &Place| match place {
            Place::Server => "server".to_string(),
            Place::Client(at) => at.to_string(),
        };
        match self {
            Self::Join => "join".into(),
            Self::Copy(at) => format!("copy {at}"),
            Self::Wait(steps) => format!("wait {steps}"),
            Self::Skew(at, ms) => format!("skew {at} {ms}"),
            Self::Put(at, id) => format!("put {at} {id}"),
            Self::Delete(at, id) => format!("delete {at} {id}"),
            Self::Pull(at, limit) => format!("pull {at} {}", most(limit)),
            Self::Push { at, most: offers, times, fate } => {
                let fate = match fate {
                    Fate::Arrives => "arrives",
                    Fate::AnswerLost => "answer-lost",
                    Fate::OffersLost => "offers-lost",
                };
                format!("push {at} {} {times} {fate}", most(offers))
            }
            Self::Late(before) => format!("late {before}"),
            Self::Forget(ids) => {
                let words: Vec<String> = ids.iter().map(ToString::to_string).collect();
                format!("forget {}", words.join(" "))
            }
            Self::Save(at) => format!("save {at}"),
            Self::LosePower(at) => format!("lose-power {at}"),
            Self::Restore(at) => format!("restore {at}"),
            Self::Follow => "follow".into(),
            Self::Failover => "failover".into(),
            Self::Lose(at, id) => format!("lose {} {id}", place(at)),
            Self::Alter(at, id) => format!("alter {} {id}", place(at)),
        }
    }
}

#[test]
fn a_history_can_be_read_back_from_its_lines() {
    let push = |fate| Op::Push { at: 1, most: Most::Some(2), times: 2, fate };
    let all = vec![
        Op::Join,
        Op::Copy(1),
        Op::Wait(3),
        Op::Skew(2, -600_000),
        Op::Put(0, 7),
        Op::Delete(1, 7),
        Op::Pull(2, Most::All),
        push(Fate::Arrives),
        push(Fate::AnswerLost),
        push(Fate::OffersLost),
        Op::Late(4),
        Op::Forget(vec![1, 2]),
        Op::Save(0),
        Op::LosePower(1),
        Op::Restore(2),
        Op::Follow,
        Op::Failover,
        Op::Lose(Place::Server, 3),
        Op::Alter(Place::Client(2), 3),
    ];
    for op in all {
        assert_eq!(Op::parse(&op.line()), op);
    }
}
