//! What one writer did, step by step, and what may therefore be found after a crash.
//!
//! A lane owns its points: what it wrote is known after each of its steps, whatever other lanes do. After a crash its
//! points have to be as they were after one of its steps, from the last one whose answer was to last, up to the last one
//! that was begun: nothing answered is missing, nothing deleted is back, and no step is there by half.

use std::collections::BTreeMap;

use hyperspace_core::collection::{Snapshot, UpsertBatch, Vectors};
use hyperspace_core::error::Result;
use hyperspace_core::metadata::{Metadata, Value, ValueRef};
use hyperspace_core::port::Durability;
use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::database::{Database, Ticket, Which};

use super::support::{DIMENSION, Random, config, filter, metadata};

/// How many values the field `n` takes.
const VALUES: usize = 5;

/// A point as it is expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) vector: Vec<f32>,
    pub(crate) n: i64,
}

/// The points of a lane; none when it has no collection.
pub(crate) type Points = BTreeMap<PointId, Row>;

/// Something a lane does.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    CreateCollection,
    DeleteCollection,
    Upsert(Vec<(PointId, Row)>),
    Delete(Vec<PointId>),
    DeleteWhere(i64),
    SetMetadata(Vec<(PointId, i64)>),
}

/// A writer's points and steps so far.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    pub(crate) number: usize,
    pub(crate) tenant: Tenant,
    pub(crate) collection: String,
    /// Whether it makes and deletes its collection, which is then nobody else's.
    owns_collection: bool,
    random: Random,
    /// How many ids it has.
    ids: usize,
    /// How many points it writes at a time at most.
    batch: usize,
    /// What was there after each step; first what was there before all of them.
    states: Vec<Option<Points>>,
}

/// How far a lane had got at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Steps that were begun.
    pub(crate) begun: usize,
    /// Steps that were answered.
    pub(crate) answered: usize,
    /// Steps up to the last answer that promised to survive a loss of power.
    pub(crate) lasting: usize,
}

impl Lane {
    pub(crate) fn new(number: usize, tenant: Tenant, collection: &str, owns_collection: bool, seed: u64) -> Self {
        let states = vec![(!owns_collection).then(Points::new)];
        let random = Random::new(seed.wrapping_mul(1_000).wrapping_add(number as u64));
        Self { number, tenant, collection: collection.to_owned(), owns_collection, random, ids: 60, batch: 12, states }
    }

    /// The same with other numbers of points.
    pub(crate) fn with_points(self, ids: usize, batch: usize) -> Self {
        Self { ids, batch, ..self }
    }

    /// How many steps there were.
    pub(crate) fn steps(&self) -> usize {
        self.states.len() - 1
    }

    /// What is there after all steps so far.
    pub(crate) fn now(&self) -> Option<&Points> {
        self.states.last().and_then(Option::as_ref)
    }

    /// Draws the next step and takes note of what it will have done.
    pub(crate) fn advance(&mut self) -> Step {
        let step = self.draw();
        self.push(&step);
        step
    }

    /// Takes note of what a step will have done.
    pub(crate) fn push(&mut self, step: &Step) {
        let mut state = self.states.last().cloned().flatten();
        step.apply(&mut state);
        self.states.push(state);
    }

    /// Takes the last step back: it was refused.
    pub(crate) fn retreat(&mut self) {
        self.retreat_to(self.steps() - 1);
    }

    /// Takes all steps behind this one back.
    pub(crate) fn retreat_to(&mut self, step: usize) {
        self.states.truncate(step + 1);
    }

    /// What was there after a step.
    pub(crate) fn after(&self, step: usize) -> Option<&Points> {
        self.states[step].as_ref()
    }

    /// Begins anew with what was there after a step.
    pub(crate) fn go_on_from(&mut self, step: usize) {
        self.states = vec![self.states[step].clone()];
    }

    fn draw(&mut self) -> Step {
        if self.owns_collection {
            let ends = self.random.one_in(25);
            match self.now() {
                None => return Step::CreateCollection,
                Some(_) if ends => return Step::DeleteCollection,
                Some(_) => (),
            }
        }
        match self.random.below(12) {
            0..6 => {
                let count = 1 + self.random.below(self.batch);
                Step::Upsert((0..count).map(|_| (self.draw_id(), self.draw_row())).collect())
            }
            6..9 => {
                let count = 1 + self.random.below(8);
                Step::Delete((0..count).map(|_| self.draw_id()).collect())
            }
            9 => Step::DeleteWhere(self.draw_n()),
            _ => {
                let changes: BTreeMap<_, _> = (0..6).map(|_| (self.draw_id(), self.draw_n())).collect();
                Step::SetMetadata(changes.into_iter().collect())
            }
        }
    }

    fn draw_id(&mut self) -> PointId {
        let n = self.random.below(self.ids);
        if n.is_multiple_of(3) {
            return PointId::string(&format!("lane {} point {n}", self.number)).unwrap();
        }
        PointId::Int((self.number * self.ids + n) as u64)
    }

    fn draw_row(&mut self) -> Row {
        Row { vector: self.random.vector(DIMENSION), n: self.draw_n() }
    }

    fn draw_n(&mut self) -> i64 {
        i64::from(self.random.below(VALUES) as u32)
    }

    /// Checks what a crash left; says as after which step that is.
    ///
    /// # Errors
    /// What is wrong, when it is the outcome of none of the steps that it may be.
    pub(crate) fn check(&self, found: Option<&Points>, from: usize, to: usize) -> std::result::Result<usize, String> {
        let is_as_after = |step: &usize| self.states[*step].as_ref() == found;
        (from..=to).rev().find(is_as_after).ok_or_else(|| {
            let (as_after, expected) = ((0..self.states.len()).find(is_as_after), self.states[from].as_ref());
            format!(
                "lane {} is as after step {as_after:?} instead of one of {from} to {to}; other than after step {from}: {}",
                self.number,
                difference(expected, found)
            )
        })
    }

    /// Whether each of these points was there as it is after some step, though not all of them after the same.
    pub(crate) fn wrote_all(&self, found: &Points) -> bool {
        let was_there =
            |(id, row): (&PointId, &Row)| self.states.iter().flatten().any(|state| state.get(id) == Some(row));
        found.iter().all(was_there)
    }

    /// The points of this lane that a view shows.
    pub(crate) fn points_in(&self, view: &Snapshot) -> Points {
        let points = view.points().filter(|point| field(&point.metadata, "lane") == self.tag());
        points.map(|point| (point.id, Row { vector: point.vector, n: field(&point.metadata, "n") })).collect()
    }

    /// The points of this lane in a database.
    pub(crate) fn find(&self, database: &Database) -> Option<Points> {
        let collection = database.collection(&self.tenant, &self.collection).ok()?;
        Some(self.points_in(&collection.snapshot()))
    }

    /// Does a step in a database and waits for the answer.
    pub(crate) fn run(&self, step: &Step, database: &Database, durability: Durability) -> Result<()> {
        self.submit(step, database, durability)?.map_or(Ok(()), |ticket| ticket.wait_blocking().map(drop))
    }

    /// Does a step in a database; a write is queued.
    pub(crate) fn submit(&self, step: &Step, database: &Database, durability: Durability) -> Result<Option<Ticket>> {
        let collection = || database.collection(&self.tenant, &self.collection);
        let durability = Some(durability);
        let ticket = match step {
            Step::CreateCollection => return database.create(&self.tenant, config(&self.collection)).map(|_| None),
            Step::DeleteCollection => return database.delete_collection(&self.tenant, &self.collection).map(|()| None),
            Step::Upsert(points) => {
                let ids: Vec<_> = points.iter().map(|(id, _)| id.clone()).collect();
                let rows: Vec<_> = points.iter().flat_map(|(_, row)| row.vector.iter().copied()).collect();
                let metadata: Vec<_> = points.iter().map(|(_, row)| self.metadata(row.n)).collect();
                let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&rows), metadata: &metadata };
                database.upsert(&collection()?, &batch, durability)?
            }
            Step::Delete(ids) => database.delete(&collection()?, Which::Ids(ids), durability)?,
            Step::DeleteWhere(n) => {
                let filter = filter(&[("lane", self.tag()), ("n", *n)]);
                database.delete(&collection()?, Which::Matching(&filter), durability)?
            }
            Step::SetMetadata(changes) => {
                let changes: Vec<_> = changes.iter().map(|(id, n)| (id.clone(), self.metadata(*n))).collect();
                database.set_metadata(&collection()?, &changes, durability)?
            }
        };
        Ok(Some(ticket))
    }

    /// What tells the points of this lane from those of others in its collection.
    fn tag(&self) -> i64 {
        i64::from(self.number as u32)
    }

    /// What a point of this lane carries.
    fn metadata(&self, n: i64) -> Metadata {
        metadata(&[("lane", self.tag()), ("n", n)])
    }
}

impl Step {
    /// Whether the step is a write of points, whose durability can be chosen.
    pub(crate) const fn is_write(&self) -> bool {
        !matches!(self, Self::CreateCollection | Self::DeleteCollection)
    }

    fn apply(&self, state: &mut Option<Points>) {
        match (self, state.as_mut()) {
            (Self::CreateCollection, None) => *state = Some(Points::new()),
            (Self::DeleteCollection, Some(_)) => *state = None,
            (Self::Upsert(points), Some(state)) => state.extend(points.iter().cloned()),
            (Self::Delete(ids), Some(state)) => state.retain(|id, _| !ids.contains(id)),
            (Self::DeleteWhere(n), Some(state)) => state.retain(|_, row| row.n != *n),
            (Self::SetMetadata(changes), Some(state)) => {
                for (id, n) in changes {
                    if let Some(row) = state.get_mut(id) {
                        row.n = *n;
                    }
                }
            }
            (step, state) => panic!("{step:?} over {state:?}"),
        }
    }
}

/// An integer in the metadata; -1 for none.
fn field(metadata: &Metadata, name: &str) -> i64 {
    match metadata.view().get(name).map(ValueRef::to_value) {
        Some(Value::I64(n)) => n,
        _ => -1,
    }
}

/// How two states differ, in a few words.
fn difference(expected: Option<&Points>, found: Option<&Points>) -> String {
    let (Some(expected), Some(found)) = (expected, found) else {
        return format!("the collection is there: {} instead of {}", found.is_some(), expected.is_some());
    };
    let missing: Vec<_> = expected.keys().filter(|id| !found.contains_key(id)).collect();
    let back: Vec<_> = found.keys().filter(|id| !expected.contains_key(id)).collect();
    let other: Vec<_> = expected.iter().filter(|(id, row)| found.get(id).is_some_and(|it| it != *row)).collect();
    format!("{missing:?} are missing, {back:?} are more, {} have other contents", other.len())
}
