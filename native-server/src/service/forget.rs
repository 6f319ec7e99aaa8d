//! Deletes are remembered for a while, and then forgotten, so that tombstones do not pile up for ever.
//!
//! What goes is old, was there when this was last looked at, and every follower has it (R11 of the protocol). So only replicas
//! that were away for long take the whole state anew; what a replica never heard of is what it never asks for.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::types::SpaceId;
use tokio::time::sleep;
use tracing::{info, warn};

use super::handlers::Handlers;
use super::peers::Peers;
use super::until;
use super::work::block;
use crate::database::Database;
use crate::mutation::{self, Mutation};

/// Looked at so often in the time for which a delete is remembered, and no more than once a second.
const LOOKS: u32 = 30;
const SHORTEST: Duration = Duration::from_secs(1);

/// Forgets what may be forgotten, again and again, until the server stops.
pub(super) async fn run(handlers: Handlers) {
    let mut stopping = pin!(until(handlers.stopping.clone()));
    let mut seen = BTreeMap::new();
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = sleep((handlers.peers.tombstones_for() / LOOKS).max(SHORTEST)) => {}
        }
        if handlers.peers.leads() {
            let (peers, before) = (Arc::clone(&handlers.peers), seen);
            let database = handlers.keeper.database();
            seen = block(move || Ok(forget(&peers, &database, &before))).await.unwrap_or_default();
        }
    }
}

/// Forgets in every collection what was there at the last look; answers where they stand now.
pub(super) fn forget(peers: &Peers, database: &Database, before: &BTreeMap<SpaceId, u64>) -> BTreeMap<SpaceId, u64> {
    let now_ms = database.environment().clock.now_ms();
    let oldest = now_ms.saturating_sub(peers.tombstones_for().as_millis() as u64);
    let mut seen = BTreeMap::new();
    for collection in database.everything() {
        let space = collection.space();
        seen.extend(database.cursor(&collection).map(|head| (space, head.seq)));
        let Some(&known) = before.get(&space) else { continue };
        let acknowledged = if mutation::is(Mutation::ForgetUnacknowledged) { known } else { peers.acknowledged(space) };
        let through = known.min(acknowledged);
        match database.forget(&collection, through, oldest) {
            Ok(0) => {}
            Ok(deletes) => info!(collection = collection.name(), deletes, "old deletes are forgotten"),
            Err(error) => warn!(collection = collection.name(), %error, "old deletes cannot be forgotten now"),
        }
    }
    seen
}
