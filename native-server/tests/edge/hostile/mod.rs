//! Calls that nobody should make: each gets an error that says what is wrong, and the server goes on.

mod doors;
mod frames;
mod names;
mod numbers;
mod sizes;
mod texts;

use hyperspace_server::proto::Metric;

use crate::support::client::{Client, batch, found, nearest, number};

/// Checks that the server writes and finds as if nothing had happened.
async fn assert_alive(client: &Client) {
    let name = "still-alive";
    client.create(name, 2, Metric::L2).await;
    client.upsert(batch(name, vec![number(7)], &[1.0, 2.0])).await;
    assert_eq!(found(&client.search(nearest(name, &[1.0, 2.0], 3)).await), [7]);
}
