//! Calls to a tab's database, polled to their ends, and what is looked at in one.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use hyperspace_core::collection::Snapshot;
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_core::metadata::Value;
use hyperspace_core::types::PointId;
use hyperspace_wasm::kv::SimulatedKv;

use super::lent::{metadata, vector};
use super::life::State;

/// Polls after which a call counts as never answered.
pub(crate) const PATIENCE: usize = 100_000;

/// What is so, unless a promise is not kept.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// What a call came to: nothing, when the tab died.
pub(crate) enum Outcome<T> {
    Done(T),
    Failed(ErrorKind),
    Dead,
}

impl<T> Outcome<T> {
    /// The same for whoever asks only whether it was done.
    pub(crate) fn without_value(self) -> Outcome<()> {
        match self {
            Self::Done(_) => Outcome::Done(()),
            Self::Failed(kind) => Outcome::Failed(kind),
            Self::Dead => Outcome::Dead,
        }
    }
}

/// Polls a call to its end, or to the tab's.
pub(crate) fn drive<T>(kv: &SimulatedKv, call: impl Future<Output = Result<T, Error>>) -> Checked<Outcome<T>> {
    let mut call = pin!(call);
    for _ in 0..PATIENCE {
        if let Poll::Ready(done) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Ok(match done {
                Ok(value) => Outcome::Done(value),
                Err(error) => Outcome::Failed(expected(&error)?),
            });
        }
        if kv.is_dead() {
            return Ok(Outcome::Dead);
        }
    }
    Err("a call is never answered".into())
}

/// Faults of the store are told as what they are; anything else is a mistake of ours.
pub(crate) fn expected(error: &Error) -> Checked<ErrorKind> {
    match error.kind() {
        kind @ (ErrorKind::Unavailable | ErrorKind::LimitExceeded | ErrorKind::Closed) => Ok(kind),
        kind => Err(format!("a call fails with {}: {}", kind.code(), error.message())),
    }
}

/// The version of a point, which its vector and its metadata agree on.
pub(crate) fn found(snapshot: &Snapshot, id: u64) -> Checked<State> {
    let Some(point) = snapshot.get(&PointId::Int(id)) else { return Ok(None) };
    let Value::Map(fields) = point.metadata.to_value() else { return Err(format!("point {id} has no fields")) };
    let Some(&Value::I64(version)) = fields.get("n") else { return Err(format!("point {id} has no version")) };
    let version = u32::try_from(version).map_err(|_| format!("point {id} has version {version}"))?;
    if point.vector != vector(id, version) || point.metadata != metadata(version) {
        return Err(format!("point {id} is put together from two"));
    }
    Ok(Some(version))
}
