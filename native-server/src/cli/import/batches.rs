//! Rows become batches: checked, with their ids, as the bytes that are sent.
//!
//! A batch ends before it would be larger than asked for or than the server takes; a row that is larger by itself is a
//! batch of its own. Every row is checked by the engine's own rules before its batch is sent, so that a bad row is named
//! by its place in the file.

use std::ops::Range;

use bytes::Bytes;
use hyperspace_core::collection::MAX_BATCH;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metric::{Metric, validate_f64};
use hyperspace_core::types::PointId;

use super::source::Row;
use crate::cli::wire::id_to_wire;
use crate::proto;
use crate::proto::vectors::Rows as WireRows;

/// What a message takes besides its points: names, tags and lengths.
const ENVELOPE_BYTES: usize = 256;

/// What the points of an import have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) metric: Metric,
    pub(super) dimension: usize,
    /// Whether components are sent as doubles: files of doubles are, and everything for `poincare`, which computes what is
    /// left to the rim before rounding.
    pub(super) doubles: bool,
    /// What is added to a row's number to make the id of a row that has none.
    pub(super) id_offset: u64,
}

/// The points of one request.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Which rows of the file these are, counted from 0.
    pub(super) rows: Range<u64>,
    /// Their ids.
    pub(super) ids: Vec<PointId>,
    /// How far the file was read when the batch was full.
    pub(super) position: u64,
    doubles: bool,
    vectors: Bytes,
    metadata: Vec<String>,
}

impl Batch {
    /// The request that writes these points. A repeated one writes the same points.
    pub(super) fn request(&self, collection: &str, durability: proto::Durability) -> proto::UpsertRequest {
        let vectors = self.vectors.clone();
        let rows = if self.doubles { WireRows::F64(vectors) } else { WireRows::F32(vectors) };
        let has_metadata = self.metadata.iter().any(|metadata| !metadata.is_empty());
        proto::UpsertRequest {
            collection: collection.to_string(),
            ids: self.ids.iter().map(id_to_wire).collect(),
            vectors: Some(proto::Vectors { rows: Some(rows) }),
            metadata: if has_metadata { self.metadata.clone() } else { Vec::new() },
            durability: durability.into(),
        }
    }
}

/// Collects rows until they are a batch.
pub(super) struct Collector {
    shape: Shape,
    most_bytes: usize,
    open: Batch,
    vectors: Vec<u8>,
    bytes: usize,
    /// The row as the server will store it; only its checks matter here.
    rounded: Vec<f32>,
}

impl Collector {
    /// A collector whose first row is number `first` of the file.
    pub(super) fn new(shape: Shape, most_bytes: usize, first: u64) -> Self {
        let open = Batch { rows: first..first, doubles: shape.doubles, ..Batch::default() };
        Self { shape, most_bytes, open, vectors: Vec::new(), bytes: ENVELOPE_BYTES, rounded: Vec::new() }
    }

    /// Adds a row, which ends at `position` of the file; answers the batch that became full before it.
    ///
    /// # Errors
    /// As [`validate_f64`], and `InvalidArgument` when the row's number does not fit into an id.
    pub(super) fn push(&mut self, row: &Row, position: u64) -> Result<Option<Batch>> {
        self.rounded.clear();
        let Shape { metric, dimension, .. } = self.shape;
        validate_f64(metric, dimension, &row.vector, &mut self.rounded)?;
        let id = row.id.clone().map_or_else(|| self.default_id(), Ok)?;

        let bytes = point_bytes(&id, dimension * self.component_bytes(), &row.metadata);
        let is_full = self.open.ids.len() == MAX_BATCH || self.bytes + bytes > self.most_bytes;
        let full = if is_full { self.take() } else { None };

        self.bytes += bytes;
        if self.shape.doubles {
            self.vectors.extend(row.vector.iter().flat_map(|component| component.to_le_bytes()));
        } else {
            self.vectors.extend(self.rounded.iter().flat_map(|component| component.to_le_bytes()));
        }
        self.open.ids.push(id);
        self.open.metadata.push(row.metadata.clone());
        self.open.rows.end += 1;
        self.open.position = position;
        Ok(full)
    }

    /// Answers the rows that are left, if any, as a batch.
    pub(super) fn take(&mut self) -> Option<Batch> {
        if self.open.rows.is_empty() {
            return None;
        }
        let next = self.open.rows.end;
        let empty = Batch { rows: next..next, doubles: self.shape.doubles, ..Batch::default() };
        let mut batch = std::mem::replace(&mut self.open, empty);
        batch.vectors = Bytes::from(std::mem::take(&mut self.vectors));
        self.bytes = ENVELOPE_BYTES;
        Some(batch)
    }

    fn default_id(&self) -> Result<PointId> {
        let (row, offset) = (self.open.rows.end, self.shape.id_offset);
        let id = row.checked_add(offset);
        id.map(PointId::Int)
            .ok_or_else(|| Error::invalid_argument(format!("row {row} + offset {offset} is more than a u64 holds")))
    }

    const fn component_bytes(&self) -> usize {
        if self.shape.doubles { 8 } else { 4 }
    }
}

/// At most what a point takes in a message: the vector, and id and metadata with their tags and lengths.
fn point_bytes(id: &PointId, vector: usize, metadata: &str) -> usize {
    let id = match id {
        PointId::Int(_) => 13,
        PointId::Str(text) => 6 + text.len(),
    };
    vector + id + 4 + metadata.len()
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    const SHAPE: Shape = Shape { metric: Metric::L2, dimension: 2, doubles: false, id_offset: 0 };

    fn row(id: Option<PointId>, vector: &[f64], metadata: &str) -> Row {
        Row { id, vector: vector.to_vec(), metadata: metadata.to_string() }
    }

    /// Rows of all sizes: numbers and long names, with and without metadata.
    fn varied(number: u64) -> Row {
        let id = number.is_multiple_of(3).then(|| PointId::string(&"n".repeat(1 + number as usize % 128)).unwrap());
        let metadata = format!("{{\"text\":\"{}\"}}", "x".repeat(number as usize * 7 % 900));
        row(id, &[number as f64, -0.5], if number.is_multiple_of(4) { "" } else { &metadata })
    }

    fn collect(shape: Shape, most_bytes: usize, rows: impl IntoIterator<Item = Row>) -> Vec<Batch> {
        let mut collector = Collector::new(shape, most_bytes, 0);
        let mut batches: Vec<Batch> =
            rows.into_iter().enumerate().filter_map(|(at, row)| collector.push(&row, at as u64).unwrap()).collect();
        batches.extend(collector.take());
        assert!(collector.take().is_none(), "what was taken is gone");
        batches
    }

    #[test]
    fn batches_hold_every_row_once_in_order_and_stay_within_the_bytes() {
        for most_bytes in [1, 300, 1000, 4096, 1 << 20] {
            let batches = collect(SHAPE, most_bytes, (0..500).map(varied));
            let mut next = 0;
            for batch in &batches {
                assert_eq!(batch.rows.start, next);
                let request = batch.request("c", proto::Durability::Strict);
                assert!(batch.ids.len() == 1 || request.encoded_len() <= most_bytes, "{} bytes", request.encoded_len());
                let Some(WireRows::F32(bytes)) = request.vectors.unwrap().rows else {
                    panic!("floats are sent as floats")
                };
                for (at, number) in (next..batch.rows.end).enumerate() {
                    let expected = varied(number);
                    assert_eq!(batch.ids[at], expected.id.unwrap_or(PointId::Int(number)));
                    assert_eq!(bytes[8 * at..][..8], [number as f32, -0.5].map(f32::to_le_bytes).concat());
                    assert_eq!(batch.metadata[at], expected.metadata);
                }
                assert_eq!(batch.position, batch.rows.end - 1);
                next = batch.rows.end;
            }
            assert_eq!(next, 500);
            assert!(most_bytes > 1000 || batches.len() > 100, "{most_bytes} bytes a batch made {}", batches.len());
        }
    }

    #[test]
    fn a_batch_has_no_more_points_than_a_server_takes() {
        let rows = (0..=2 * MAX_BATCH as u64).map(|_| row(None, &[0.0, 0.0], ""));
        let sizes: Vec<_> = collect(SHAPE, usize::MAX, rows).iter().map(|batch| batch.ids.len()).collect();
        assert_eq!(sizes, [MAX_BATCH, MAX_BATCH, 1]);
    }

    #[test]
    fn metadata_are_left_out_when_no_point_of_the_batch_has_any() {
        let request = |rows: [Row; 2]| collect(SHAPE, 4096, rows)[0].request("c", proto::Durability::Unspecified);
        let bare = || row(None, &[0.0, 0.0], "");
        assert!(request([bare(), bare()]).metadata.is_empty());
        assert_eq!(request([bare(), row(None, &[0.0, 0.0], "{\"a\":1}")]).metadata, ["", "{\"a\":1}"]);
    }

    #[test]
    fn doubles_are_sent_bit_for_bit() {
        let shape = Shape { metric: Metric::Poincare, doubles: true, ..SHAPE };
        let near_the_rim = [0.999_999_999_9, 1e-300];
        let batches = collect(shape, 4096, [row(None, &near_the_rim, "")]);
        let vectors = batches[0].request("c", proto::Durability::Strict).vectors.unwrap();
        assert_eq!(vectors.rows, Some(WireRows::F64(Bytes::from(near_the_rim.map(f64::to_le_bytes).concat()))));
    }

    #[test]
    fn a_row_that_no_server_would_take_is_refused_before_it_is_sent() {
        let poincare = Shape { metric: Metric::Poincare, ..SHAPE };
        let cosine = Shape { metric: Metric::Cosine, ..SHAPE };
        let cases = [
            (SHAPE, vec![1.0], "vector has 1 dimensions, expected 2"),
            (SHAPE, vec![1.0, f64::NAN], "component 1 of the vector is NaN"),
            (SHAPE, vec![1e39, 1.0], "too large for a 32-bit float"),
            (poincare, vec![0.6, 0.8], "metric `poincare` needs less than 1"),
            (cosine, vec![0.0, 0.0], "it has no direction"),
        ];
        for (shape, vector, expected) in cases {
            let error = Collector::new(shape, 4096, 0).push(&row(None, &vector, ""), 0).unwrap_err();
            assert!(error.message().contains(expected), "{error}");
        }
    }

    #[test]
    fn the_number_of_a_row_and_the_offset_are_its_id() {
        let shape = Shape { id_offset: u64::MAX - 7, ..SHAPE };
        let mut collector = Collector::new(shape, 4096, 7);
        collector.push(&row(None, &[0.0, 0.0], ""), 0).unwrap();
        let error = collector.push(&row(None, &[0.0, 0.0], ""), 0).unwrap_err();
        assert!(error.message().contains("row 8 + offset 18446744073709551608 is more than"), "{error}");
        collector.push(&row(Some(PointId::Int(3)), &[0.0, 0.0], ""), 0).unwrap();
        assert_eq!(collector.take().unwrap().ids, [PointId::Int(u64::MAX), PointId::Int(3)]);
    }
}
