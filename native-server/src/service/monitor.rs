//! Figures of the server: what a stream of them shows, and the differences that each stream takes for itself.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hyperspace_core::error::{Error, Result};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::config_to;
use super::handlers::{Answer, Handlers, collections_of};
use super::status::status;
use super::until;
use super::work::block;
use super::{latency, lead};
use crate::auth::{Caller, Scope};
use crate::database::{Database, DatabaseStats, OpenCollection, SegmentStats, State};
use crate::proto::{self, CollectionStats, MonitorRequest, Stats, TenantStats};

/// Rates are over at least this long: a second, less what one of two ticks may be late.
const SHORTEST_WINDOW: Duration = Duration::from_millis(900);
/// Between two messages when the caller does not say, in milliseconds.
const DEFAULT_INTERVAL: u64 = 1_000;

/// Figures, again and again.
pub(super) type StatsStream = ReceiverStream<std::result::Result<Stats, Status>>;

/// What counters said at one moment.
#[derive(Clone)]
struct Sample {
    at: Instant,
    searches: Histogram<u64>,
    points_written: u64,
}

/// The samples that a stream still compares with; the first one is that of the server's start.
struct Window {
    started: Instant,
    samples: VecDeque<Sample>,
}

/// Changes since an earlier sample.
struct Change {
    searches_per_second: f64,
    points_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Window {
    fn new(started: Instant) -> Self {
        let start = Sample { at: started, searches: latency::none(), points_written: 0 };
        Self { started, samples: VecDeque::from([start]) }
    }

    /// Compares with the newest sample that is old enough, and keeps this one.
    fn change(&mut self, now: Sample) -> Change {
        let is_old = |sample: &Sample| now.at.duration_since(sample.at) >= SHORTEST_WINDOW;
        while self.samples.get(1).is_some_and(is_old) {
            self.samples.pop_front();
        }
        let then = &self.samples[0];
        let seconds = now.at.duration_since(then.at).as_secs_f64().max(f64::MIN_POSITIVE);
        let mut searches = now.searches.clone();
        searches.subtract(&then.searches).expect("counts of the same histogram only grow");
        let change = Change {
            searches_per_second: searches.len() as f64 / seconds,
            points_per_second: now.points_written.saturating_sub(then.points_written) as f64 / seconds,
            p50_ms: milliseconds(&searches, 0.5),
            p99_ms: milliseconds(&searches, 0.99),
        };
        self.samples.push_back(now);
        change
    }
}

fn milliseconds(searches: &Histogram<u64>, quantile: f64) -> f64 {
    searches.value_at_quantile(quantile) as f64 / 1_000.0
}

/// Figures that belong to nobody in particular.
pub(super) struct Figures {
    pub(super) state: State,
    pub(super) reopenings: u64,
    pub(super) database: DatabaseStats,
    pub(super) searches: Histogram<u64>,
    pub(super) resident_bytes: u64,
}

impl Figures {
    /// Reads them now; may wait for the disk.
    pub(super) fn read(handlers: &Handlers) -> Self {
        Self {
            state: handlers.keeper.database().state(),
            reopenings: handlers.keeper.reopenings(),
            database: handlers.keeper.stats(),
            searches: handlers.latencies.until_now(),
            resident_bytes: resident_bytes().unwrap_or(0),
        }
    }
}

/// Why a state accepts no writes; `None` when it does.
pub(super) fn reason(state: &State) -> Option<&str> {
    match state {
        State::Ready => None,
        State::ReadOnly(reason) => Some(reason),
        State::Closed => Some("the database is closed"),
    }
}

/// Sends figures until the caller goes, has enough or loses the right to them, or the server stops.
pub(super) fn monitor(handlers: &Handlers, request: Request<MonitorRequest>) -> Answer<StatsStream> {
    let call = handlers.call(request).map_err(status)?;
    let interval = interval(call.message.interval_ms).map_err(status)?;
    let left = match call.message.count {
        0 => u64::MAX,
        count => count,
    };
    let place = handlers.watching().map_err(status)?;
    let (sender, receiver) = mpsc::channel(1);
    let handlers = handlers.clone();
    tokio::spawn(async move {
        let _place = place;
        watch(handlers, call.caller, interval, left, sender).await;
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

fn interval(milliseconds: u64) -> Result<Duration> {
    match milliseconds {
        0 => Ok(Duration::from_millis(DEFAULT_INTERVAL)),
        100..=60_000 => Ok(Duration::from_millis(milliseconds)),
        _ => Err(Error::invalid_argument(format!("interval_ms is 100 to 60000, or 0 for 1000, not {milliseconds}"))),
    }
}

async fn watch(
    handlers: Handlers,
    caller: Caller,
    interval: Duration,
    left: u64,
    sender: mpsc::Sender<std::result::Result<Stats, Status>>,
) {
    let mut stopping = pin!(until(handlers.stopping.clone()));
    let mut window = Window::new(handlers.started);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..left {
        tokio::select! {
            () = sender.closed() => return,
            () = &mut stopping => {
                let _ = sender.send(Err(status(Error::unavailable("the server is stopping")))).await;
                return;
            }
            _ = ticks.tick() => {}
        }
        let (of, caller) = (handlers.clone(), caller.clone());
        let read = block(move || {
            of.keyring.check(&caller)?;
            let collections = collections_of(&caller, &of.keeper.database());
            let collections: Vec<_> = collections.iter().map(|collection| describe(collection)).collect();
            Ok((Figures::read(&of), collections, lead::figures(&of), tenants(&caller, &of.keeper.database())))
        });
        let message = read.await.map(|(figures, collections, replication, tenants)| Stats {
            replication: Some(replication),
            tenants,
            ..stats(&mut window, figures, collections)
        });
        let is_last = message.is_err();
        if sender.send(message.map_err(status)).await.is_err() || is_last {
            return;
        }
    }
}

fn stats(window: &mut Window, figures: Figures, collections: Vec<CollectionStats>) -> Stats {
    let Figures { state, reopenings, database, searches, resident_bytes } = figures;
    let count = searches.len();
    let change = window.change(Sample { at: Instant::now(), searches, points_written: database.points_written });
    Stats {
        version: env!("CARGO_PKG_VERSION").into(),
        uptime_ms: u64::try_from(window.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        writable: state == State::Ready,
        reason: reason(&state).unwrap_or_default().into(),
        searches: count,
        searches_per_second: change.searches_per_second,
        search_p50_ms: change.p50_ms,
        search_p99_ms: change.p99_ms,
        points_written: database.points_written,
        points_written_per_second: change.points_per_second,
        points_deleted: database.points_deleted,
        resident_bytes,
        disk_bytes: database.disk_bytes,
        log_bytes: database.log_bytes,
        log_syncs: database.log_syncs,
        log_records: database.log_records,
        reopenings,
        collections,
        replication: None,
        disk_free_bytes: database.disk_free_bytes,
        tenants: Vec::new(),
    }
}

fn describe(collection: &OpenCollection) -> CollectionStats {
    let stats = collection.stats();
    CollectionStats {
        name: collection.name().into(),
        points: stats.points,
        pending: stats.pending,
        segments: stats.segments,
        dead: stats.dead,
        tombstones: stats.tombstones,
        segment_bytes: stats.segment_bytes,
        memtable_bytes: stats.memtable_bytes,
        indexing: stats.indexing,
        graph_insertions: stats.graph_insertions,
        searches: stats.searches,
        distances: stats.distances,
        sequence: stats.sequence,
        config: Some(config_to(collection.snapshot().config())),
        digest: format!("{:032x}", stats.digest.sum),
        coded: stats.coded,
        bytes_per_vector: stats.bytes_per_vector,
        sealed: collection.sealed().into_iter().map(segment).collect(),
    }
}

fn segment(SegmentStats { id, points, dead, bytes, coded, merging }: SegmentStats) -> proto::SegmentStats {
    proto::SegmentStats { id: id.to_string(), points, dead, bytes, coded, merging }
}

/// The sums of every tenant, for whoever may know that there are others.
fn tenants(caller: &Caller, database: &Database) -> Vec<TenantStats> {
    if caller.require(Scope::Admin).and_then(|()| caller.require_key()).is_err() {
        return Vec::new();
    }
    let mut sums: BTreeMap<String, TenantStats> = BTreeMap::new();
    for collection in database.open_collections() {
        let (name, stats) = (collection.tenant().name().to_owned(), collection.stats());
        let sum = sums.entry(name.clone()).or_insert_with(|| TenantStats { name, ..TenantStats::default() });
        sum.collections += 1;
        sum.points += stats.points;
        sum.segment_bytes += stats.segment_bytes;
        sum.memtable_bytes += stats.memtable_bytes;
        sum.searches += stats.searches;
    }
    sums.into_values().collect()
}

/// The memory that the process occupies, where the system tells it as Linux does.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, micros: &[u64], points_written: u64) -> Sample {
        let mut searches = latency::none();
        micros.iter().for_each(|&m| searches.saturating_record(m));
        Sample { at, searches, points_written }
    }

    fn assert_close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= expected.abs() * 0.01, "{found}, expected {expected}");
    }

    #[test]
    fn the_first_message_is_about_the_time_since_the_start() {
        let start = Instant::now();
        let change = Window::new(start).change(sample(start + Duration::from_secs(10), &[1_000; 20], 50));
        assert_close(change.searches_per_second, 2.0);
        assert_close(change.points_per_second, 5.0);
        assert_close(change.p50_ms, 1.0);
    }

    #[test]
    fn later_messages_are_about_the_time_since_the_one_before() {
        let start = Instant::now();
        let mut window = Window::new(start);
        let slow = vec![100_000; 100];
        window.change(sample(start + Duration::from_secs(5), &slow, 7));
        let both = [slow, vec![2_000; 30]].concat();
        let change = window.change(sample(start + Duration::from_secs(8), &both, 10));
        assert_close(change.searches_per_second, 10.0);
        assert_close(change.points_per_second, 1.0);
        assert_close(change.p99_ms, 2.0);
    }

    #[test]
    fn rates_are_over_a_second_however_often_one_asks() {
        let start = Instant::now();
        let mut window = Window::new(start);
        let mut searches = Vec::new();
        for tick in 1..=100_u32 {
            searches.extend([500; 10]);
            let change = window.change(sample(start + tick * Duration::from_millis(100), &searches, 0));
            if tick > 10 {
                assert_close(change.searches_per_second, 100.0);
            }
        }
        assert!(window.samples.len() <= 12, "{} samples are kept", window.samples.len());
    }

    #[test]
    fn a_message_that_comes_a_moment_early_is_still_about_the_time_since_the_one_before() {
        let start = Instant::now();
        let mut window = Window::new(start);
        window.change(sample(start + Duration::from_millis(3_020), &[500; 10], 0));
        let change = window.change(sample(start + Duration::from_secs(4), &[500; 108], 0));
        assert_close(change.searches_per_second, 100.0);
    }

    #[test]
    fn nothing_at_all_is_zero() {
        let start = Instant::now();
        let change = Window::new(start).change(sample(start, &[], 0));
        assert_eq!((change.searches_per_second, change.p50_ms, change.p99_ms), (0.0, 0.0, 0.0));
    }

    #[test]
    fn intervals_are_bounded() {
        assert_eq!(interval(0).unwrap(), Duration::from_secs(1));
        assert_eq!(interval(100).unwrap(), Duration::from_millis(100));
        for bad in [1, 99, 60_001, u64::MAX] {
            assert!(interval(bad).unwrap_err().message().contains(&bad.to_string()));
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_occupies_memory() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
