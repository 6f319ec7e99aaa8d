//! A writer that does not wait: its steps are queued, and it listens for their answers.
//!
//! An answer counts from the moment at which it is given, whatever the database does afterwards, and not at all when the
//! machine had stopped by then.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyperspace_core::error::{Error, Result};
use hyperspace_core::port::Durability;
use hyperspace_server::database::{Database, State, Ticket, Written};

use super::super::harness::lanes::{Lane, Points, Progress, Step};
use super::super::harness::sim::{Note, SimDisk};

pub(super) struct Writer {
    pub(super) lane: Lane,
    pub(super) progress: Progress,
    /// Steps behind the last answered one.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    step: Step,
    answer: Pin<Box<dyn Future<Output = Result<Written>>>>,
    outcome: Option<Result<Written>>,
    heard: Arc<Heard>,
}

/// Notes the moment of an answer.
struct Heard {
    disk: SimDisk,
    note: Note,
    came: AtomicBool,
}

impl Wake for Heard {
    fn wake(self: Arc<Self>) {
        self.hear();
    }
}

impl Heard {
    fn hear(&self) {
        if !self.disk.is_halted() {
            self.disk.note(self.note.clone());
            self.came.store(true, Ordering::Relaxed);
        }
    }
}

impl Waiting {
    fn new(step: Step, ticket: Ticket, disk: &SimDisk, note: Note) -> Self {
        let heard = Arc::new(Heard { disk: disk.clone(), note, came: AtomicBool::new(false) });
        let mut waiting = Self { step, answer: Box::pin(ticket.wait()), outcome: None, heard };
        waiting.poll();
        if waiting.outcome.is_some() {
            // Nobody had to be woken for what is answered at once.
            waiting.heard.hear();
        }
        waiting
    }

    fn poll(&mut self) {
        if self.outcome.is_none()
            && let Poll::Ready(outcome) =
                self.answer.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(&self.heard))))
        {
            self.outcome = Some(outcome);
        }
    }

    /// The answer, if it was heard.
    fn answer(&mut self) -> Option<Result<Written>> {
        self.poll();
        self.outcome.take_if(|_| self.heard.came.load(Ordering::Relaxed))
    }

    fn is_strict(&self) -> bool {
        matches!(self.heard.note, Note::Acknowledged { strict: true, .. })
    }
}

impl Writer {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, progress: Progress::default(), waiting: VecDeque::new() }
    }

    /// Whether its next step may be any.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Draws a step and queues it, or does it at once when it is none that can be queued. Answers with the error of one
    /// that was refused.
    pub(super) fn go_on(&mut self, database: &Database, disk: &SimDisk, durability: Durability) -> Option<Error> {
        let step = self.lane.advance();
        let (lane, number) = (self.lane.number, self.lane.steps());
        disk.note(Note::Started { lane, step: number });
        let submitted = self.lane.submit(&step, database, durability);
        let strict = durability == Durability::Strict;
        if step.is_write() {
            match submitted {
                Ok(ticket) => {
                    let ticket = ticket.expect("a write has a ticket");
                    self.progress.begun = number;
                    let note = Note::Acknowledged { lane, step: number, strict };
                    self.waiting.push_back(Waiting::new(step, ticket, disk, note));
                    return None;
                }
                Err(error) => {
                    self.lane.retreat();
                    return Some(error);
                }
            }
        }
        assert!(self.is_idle(), "collections come and go between writes");
        self.progress.begun = number;
        if disk.is_halted() {
            return None;
        }
        match submitted {
            Ok(_) => {
                self.progress = Progress { begun: number, answered: number, lasting: number };
                None
            }
            Err(error) => {
                if database.state() == State::Ready {
                    self.lane.retreat();
                    self.progress.begun = self.progress.answered;
                }
                Some(error)
            }
        }
    }

    /// Takes note of the answers that were given; hands on the errors among them.
    pub(super) fn listen(&mut self, database: &Database) -> Vec<Error> {
        let mut errors = Vec::new();
        while let Some(answer) = self.waiting.front_mut().and_then(Waiting::answer) {
            let answered = self.waiting.pop_front().expect("it was answered");
            match answer {
                Ok(_) => {
                    self.progress.answered += 1;
                    if answered.is_strict() {
                        self.progress.lasting = self.progress.answered;
                    }
                }
                Err(error) => {
                    errors.push(error);
                    if database.state() != State::Ready {
                        // It may have been done or not, and so may those behind it, which are refused as well.
                        self.waiting.clear();
                        break;
                    }
                    self.lane.retreat_to(self.progress.answered);
                    self.waiting.iter().for_each(|waiting| self.lane.push(&waiting.step));
                    self.progress.begun = self.lane.steps();
                }
            }
        }
        errors
    }

    /// What a search has to see now.
    pub(super) fn visible(&self) -> Option<&Points> {
        self.lane.after(self.progress.answered)
    }

    /// Goes on from what a crash left.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn recover(&mut self, database: &Database, from: usize) -> std::result::Result<(), String> {
        self.waiting.clear();
        let found = self.lane.find(database);
        let step = self.lane.check(found.as_ref(), from, self.progress.begun)?;
        self.lane.retreat_to(step);
        self.progress = Progress { begun: step, answered: step, lasting: step };
        Ok(())
    }
}
