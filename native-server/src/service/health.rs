//! The standard health checks: serving as long as writes are accepted, for the server and each of its services alike.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::router::SERVICES;
use super::until;
use crate::database::{Keeper, State};

/// How often health follows the state of the database.
const PULSE: Duration = Duration::from_secs(1);

/// Reports the present state: before the first request is answered, so that nobody is told of a time before it.
pub(super) async fn report(health: &HealthReporter, state: &State) {
    let status = match state {
        State::Ready => ServingStatus::Serving,
        State::ReadOnly(_) | State::Closed => ServingStatus::NotServing,
    };
    for service in services() {
        health.set_service_status(service, status).await;
    }
}

/// Goes on reporting, until the server stops; then ends the streams of those who watch, once they know.
pub(super) async fn follow(
    mut health: HealthReporter,
    mut reported: State,
    keeper: Arc<Keeper>,
    stopping: watch::Receiver<bool>,
) {
    let mut stopping = pin!(until(stopping));
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stopping => break,
            _ = pulse.tick() => {}
        }
        let state = keeper.database().state();
        // Watchers are told of changes only.
        if state != reported {
            report(&health, &state).await;
            reported = state;
        }
    }
    report(&health, &State::Closed).await;
    for service in services() {
        health.clear_service_status(service).await;
    }
}

/// The whole server, and what it offers.
fn services() -> impl Iterator<Item = &'static str> {
    [""].into_iter().chain(SERVICES)
}
