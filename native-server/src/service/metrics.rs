//! The server's figures for Prometheus: the same that a stream of them shows, in the text format of `OpenMetrics`.

use hdrhistogram::Histogram;
use hyperspace_core::error::{Error, Result};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::monitor::Figures;
use crate::database::State;

/// What the text is.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper ends of the buckets of latencies, in seconds.
const BUCKETS: [f64; 14] =
    [0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, f64::INFINITY];

/// Writes the figures down.
pub(super) fn text(figures: Figures) -> Result<String> {
    let Figures { state, reopenings, database, searches, resident_bytes } = figures;
    let mut registry = Registry::with_prefix("hyperspace");
    registry.register("build", "What runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry.register("writable", "Whether writes are accepted", ConstGauge::new(u64::from(state == State::Ready)));
    let counters = [
        ("points_written", "Points written since the start", database.points_written),
        ("points_deleted", "Points deleted since the start", database.points_deleted),
        ("log_syncs", "How often the log was made durable", database.log_syncs),
        ("log_records", "Writes that this covered", database.log_records),
        ("reopenings", "How often the database was opened again after a failure", reopenings),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let gauges = [
        ("resident", "Memory that the process occupies", resident_bytes),
        ("disk", "Segments, manifests and log, snapshots aside", database.disk_bytes),
        ("log", "The log", database.log_bytes),
    ];
    for (name, help, value) in gauges {
        registry.register_with_unit(name, help, Unit::Bytes, ConstGauge::new(value));
    }
    let help = "How long searches took inside the server";
    registry.register_with_unit("search", help, Unit::Seconds, Searches(searches));
    let mut out = String::new();
    encode(&mut out, &registry).map_err(|error| Error::internal(format!("figures that cannot be written: {error}")))?;
    Ok(out)
}

/// Latencies in microseconds, told in buckets of seconds.
#[derive(Debug)]
struct Searches(Histogram<u64>);

impl EncodeMetric for Searches {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
        let mut buckets = BUCKETS.map(|end| (end, 0));
        let mut sum = 0.0;
        for step in self.0.iter_recorded() {
            let seconds = step.value_iterated_to() as f64 / 1e6;
            let count = step.count_since_last_iteration();
            sum += seconds * count as f64;
            if let Some((_, bucket)) = buckets.iter_mut().find(|(end, _)| seconds <= *end) {
                *bucket += count;
            }
        }
        encoder.encode_histogram::<NoLabelSet>(sum, self.0.len(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::database::DatabaseStats;
    use crate::service::latency;

    #[test]
    fn figures_are_told_as_prometheus_reads_them() {
        let mut searches = latency::none();
        for micros in [50, 900, 1_500, 30_000_000] {
            searches.saturating_record(micros);
        }
        let database = DatabaseStats { points_written: 7, disk_bytes: 1_000, ..DatabaseStats::default() };
        let state = State::ReadOnly("full".into());
        let figures = Figures { state, reopenings: 3, database, searches, resident_bytes: 5 };
        let text = text(figures).unwrap();
        let lines = [
            concat!("hyperspace_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "hyperspace_writable 0",
            "hyperspace_points_written_total 7",
            "hyperspace_reopenings_total 3",
            "hyperspace_disk_bytes 1000",
            "hyperspace_resident_bytes 5",
            "# TYPE hyperspace_search_seconds histogram",
            "hyperspace_search_seconds_count 4",
            "hyperspace_search_seconds_bucket{le=\"0.0001\"} 1",
            "hyperspace_search_seconds_bucket{le=\"0.001\"} 2",
            "hyperspace_search_seconds_bucket{le=\"10.0\"} 3",
            "hyperspace_search_seconds_bucket{le=\"+Inf\"} 4",
        ];
        for line in lines {
            assert!(text.lines().any(|l| l == line), "{line:?} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
