//! The dashboard without a terminal or a server: what keys and news make of it, and how that is drawn.

mod drawing;
mod model;

use super::model::{Dashboard, Effect, Key, Message};
use crate::proto::{
    CollectionConfig, CollectionStats, Follower, LogLine, Metric, Replication, SegmentStats, Stats, TenantStats,
};

/// A moment at 13:05:09 UTC.
const NOON: u64 = (13 * 3_600 + 5 * 60 + 9) * 1_000;

fn collection(name: &str, metric: Metric, pending: u64, ef_search: Option<u64>, sealed: u64) -> CollectionStats {
    let config = CollectionConfig {
        name: name.into(),
        dimension: 384,
        metric: metric.into(),
        ef_search,
        ..CollectionConfig::default()
    };
    let segment = |at: u64| SegmentStats {
        id: format!("{at:02x}").repeat(32),
        points: 20_000 * at,
        dead: 12 * at,
        bytes: (35 << 20) * at,
        coded: at == 1,
        merging: at > 2,
    };
    let sealed: Vec<_> = (1..=sealed).map(segment).collect();
    CollectionStats {
        name: name.into(),
        points: pending + sealed.iter().map(|one| one.points).sum::<u64>(),
        pending,
        segments: sealed.len() as u64,
        dead: sealed.iter().map(|one| one.dead).sum(),
        segment_bytes: sealed.iter().map(|one| one.bytes).sum(),
        memtable_bytes: pending * 1_600,
        indexing: pending > 0,
        searches: 1_234_567,
        config: Some(config),
        sealed,
        ..CollectionStats::default()
    }
}

/// What a busy server says in its `second`.
fn busy(second: u64) -> Stats {
    let tenant = |name: &str, collections, points| TenantStats {
        name: name.into(),
        collections,
        points,
        segment_bytes: points * 1_700,
        memtable_bytes: 4 << 20,
        searches: points * 3,
    };
    let follower = |id: &str, connected, behind| Follower { id: id.repeat(16), connected, behind };
    Stats {
        version: "1.2.3".into(),
        uptime_ms: second * 1_000,
        writable: true,
        searches: 1_000_000 + 8_130 * second,
        searches_per_second: 8_130.0 + (second % 7) as f64 * 300.0,
        search_p50_ms: 0.42,
        search_p99_ms: 1.9 + (second % 5) as f64,
        points_written: 100_000 * second,
        points_written_per_second: if second.is_multiple_of(3) { 98_765.4 } else { 12.5 },
        points_deleted: 7,
        resident_bytes: (200 + second) << 20,
        disk_bytes: 3 << 30,
        log_bytes: 12 << 20,
        log_syncs: 4_321,
        disk_free_bytes: 61 << 30,
        collections: vec![
            collection("faces", Metric::Cosine, 0, Some(128), 1),
            collection("notes", Metric::L2, 4_000 * (second % 9), None, 3),
        ],
        tenants: vec![tenant("ada", 2, 140_000), tenant("bob", 11, 5)],
        replication: Some(Replication {
            leads: true,
            term: 3,
            followers: vec![follower("a", true, 12), follower("b", false, 70_000)],
            ..Replication::default()
        }),
        ..Stats::default()
    }
}

fn line(number: u64, level: &str, text: &str) -> LogLine {
    LogLine { number, at_ms: NOON + number * 1_000, level: level.into(), text: text.into() }
}

/// A dashboard that has watched a busy server for half a minute.
fn watched() -> Dashboard {
    let mut dashboard = Dashboard::new("http://127.0.0.1:50051");
    for second in 1..=30 {
        dashboard.handle(Message::Stats(Box::new(busy(second))));
    }
    for number in 1..=30 {
        dashboard.handle(Message::Line(line(number, "INFO", &format!("collection {number} was sealed"))));
    }
    dashboard.handle(Message::Line(line(31, "WARN", "a follower is away follower=00000000000000ab")));
    dashboard
}

/// Presses keys one after the other; returns what the last one brings about.
fn press(dashboard: &mut Dashboard, keys: &[Key]) -> Option<Effect> {
    keys.iter().map(|&key| dashboard.handle(Message::Key(key))).last().flatten()
}

fn typed(text: &str) -> Vec<Key> {
    text.chars().map(Key::Char).collect()
}

fn lose(dashboard: &mut Dashboard, at_ms: u64, why: &str) {
    dashboard.handle(Message::Lost { at_ms, why: why.into() });
}
