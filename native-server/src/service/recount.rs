//! A leader looks from time to time whether its rows are still what was written: it counts their digests anew.
//!
//! A difference is told and left as it is: from nobody else could the right bytes be known for certain. Followers look by
//! themselves, and take what differs from their leader.

use std::pin::pin;

use tokio::time::sleep;
use tracing::error;

use super::handlers::Handlers;
use super::until;
use super::work::block;

/// Counts all collections, again and again, until the server stops.
pub(super) async fn run(handlers: Handlers) {
    let mut stopping = pin!(until(handlers.stopping.clone()));
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = sleep(handlers.peers.recount_every()) => {}
        }
        if !handlers.peers.leads() {
            continue;
        }
        let database = handlers.keeper.database();
        for collection in database.everything() {
            let of = std::sync::Arc::clone(&database);
            let counted = block(move || {
                if !of.recount(&collection) {
                    error!(
                        collection = collection.name(),
                        "stored points are not what was written: `hyperspace-server check` tells which file is damaged"
                    );
                }
                Ok(())
            });
            tokio::select! {
                () = &mut stopping => return,
                _ = counted => {}
            }
        }
    }
}
