//! `bench`: how many searches a server answers and how soon, asked for by several clients at once. The queries are points
//! of the collection.

use std::error::Error as _;
use std::time::{Duration, Instant};

use hyperspace_core::error::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::args::{self, Connection};
use super::connect::{Points, Session};
use super::failure::{Outcome, of_status};
use super::output::{Console, Side, Table, count, per_second};
use crate::proto;
use crate::proto::vectors::Rows;

/// How many different queries are asked again and again.
const QUERIES: u64 = 256;

/// What clients saw; of one, or of all together.
#[derive(Debug, Default)]
struct Seen {
    /// Microseconds that each answer took.
    answers: Vec<u32>,
    /// Searches that the server had no room for.
    refused: u64,
}

/// Searches for the time that was asked for, and says how that went.
pub(crate) async fn bench(connection: &Connection, arguments: args::Bench, console: &mut Console<'_>) -> Outcome<()> {
    let first = Session::open(connection).await?;
    let queries = queries(&first, &arguments.collection).await?;
    let mut clients = vec![first.points()];
    for _ in 1..arguments.connections {
        clients.push(Session::open(connection).await?.points());
    }
    let time = Duration::from_secs(arguments.seconds);
    let start = Instant::now();
    let mut running = JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let mut queries = queries.clone();
        let some = number * queries.len() / arguments.connections as usize;
        queries.rotate_left(some);
        let requests = queries.into_iter().map(|vector| request(&arguments, vector)).collect();
        running.spawn(ask(client, requests, start + time));
    }
    let mut all = Seen::default();
    while let Some(seen) = running.join_next().await {
        let seen = seen.map_err(|error| Error::internal(format!("a bug: a client failed: {error}")))??;
        all.answers.extend(seen.answers);
        all.refused += seen.refused;
    }
    let report = Report::of(all, start.elapsed());
    console.answer(|| report.to_json(), || report.to_text())
}

/// The vectors of the first points.
async fn queries(session: &Session, collection: &str) -> Outcome<Vec<proto::Vectors>> {
    let request = proto::ScrollRequest {
        collection: collection.to_string(),
        limit: QUERIES,
        with_vector: true,
        with_metadata: Some(false),
        ..Default::default()
    };
    let points = session.points().scroll(request).await?.into_inner().points;
    if points.is_empty() {
        return Err(Error::not_found(format!("collection `{collection}` has no points to search for")).into());
    }
    Ok(points.into_iter().map(|point| proto::Vectors { rows: Some(Rows::F32(point.vector.into())) }).collect())
}

fn request(arguments: &args::Bench, vector: proto::Vectors) -> proto::SearchRequest {
    proto::SearchRequest {
        collection: arguments.collection.clone(),
        vector: Some(vector),
        top_k: arguments.top_k,
        filter: arguments.filter.clone().unwrap_or_default(),
        ef_search: arguments.ef,
        exact: arguments.exact,
        ..Default::default()
    }
}

/// Asks one after the other until the time is up.
async fn ask(mut client: Points, requests: Vec<proto::SearchRequest>, end: Instant) -> Outcome<Seen> {
    let mut seen = Seen::default();
    for request in requests.iter().cycle() {
        let start = Instant::now();
        if start >= end {
            break;
        }
        match client.search(request.clone()).await {
            Ok(_) => seen.answers.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)),
            Err(status) => {
                // One that has a source is no answer: the server is gone, and does not refuse.
                let is_answer = status.source().is_none();
                let error = of_status(&status);
                if !is_answer || error.kind() != ErrorKind::Unavailable {
                    return Err(error.into());
                }
                seen.refused += 1;
            }
        }
    }
    Ok(seen)
}

/// What is told of them all.
#[derive(Debug)]
struct Report {
    searches: u64,
    refused: u64,
    per_second: f64,
    /// Microseconds that so many percent of the answers took at most.
    percentiles: [(usize, u32); 4],
}

impl Report {
    fn of(mut seen: Seen, time: Duration) -> Self {
        seen.answers.sort_unstable();
        let at = |percent: usize| {
            let rank = (seen.answers.len() * percent).div_ceil(100);
            seen.answers.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        Self {
            searches: seen.answers.len() as u64,
            refused: seen.refused,
            per_second: seen.answers.len() as f64 / time.as_secs_f64(),
            percentiles: [50, 90, 99, 100].map(|percent| (percent, at(percent))),
        }
    }

    fn to_json(&self) -> Value {
        let [p50, p90, p99, max] = self.percentiles.map(|(_, micros)| f64::from(micros) / 1e3);
        json!({
            "searches": self.searches,
            "refused": self.refused,
            "searches_per_second": self.per_second,
            "p50_ms": p50,
            "p90_ms": p90,
            "p99_ms": p99,
            "max_ms": max,
        })
    }

    fn to_text(&self) -> String {
        let mut table = Table::new(&[("answered within", Side::Left), ("ms", Side::Right)]);
        for (percent, micros) in self.percentiles {
            table.row([format!("{percent} %"), format!("{:.2}", f64::from(micros) / 1e3)]);
        }
        let refused = if self.refused > 0 { format!(", {} refused", count(self.refused)) } else { String::new() };
        let (searches, rate) = (count(self.searches), per_second(self.per_second));
        format!("{}\n{searches} searches, {rate}{refused}", table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_times_that_so_many_answers_took_at_most() {
        let answers = (1..=1_000).rev().map(|milliseconds| milliseconds * 1_000).collect();
        let report = Report::of(Seen { answers, refused: 3 }, Duration::from_secs(2));
        assert_eq!(report.percentiles, [(50, 500_000), (90, 900_000), (99, 990_000), (100, 1_000_000)]);
        assert_eq!((report.searches, report.refused), (1_000, 3));
        assert!((report.per_second - 500.0).abs() < 1e-9);
        assert!(report.to_text().ends_with("1 000 searches, 500/s, 3 refused"), "{}", report.to_text());
        let one = Report::of(Seen { answers: vec![7_000], refused: 0 }, Duration::from_secs(1));
        assert_eq!(one.percentiles.map(|(_, micros)| micros), [7_000; 4]);
        let none = Report::of(Seen::default(), Duration::from_secs(1));
        assert_eq!(none.percentiles.map(|(_, micros)| micros), [0; 4]);
    }
}
