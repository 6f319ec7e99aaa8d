//! The columns of a segment that is being made, and how they become its bytes.
//!
//! A draft gathers the live rows of memtable blocks and of older segments; the graph is built over its vectors; then
//! [`Draft::seal`] lays everything out. For each row it remembers where it came from, because rows may die while the
//! graph is built.

use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashMap;

use crate::bytes::{AlignedBytes, Writer};
use crate::error::{Error, Result};
use crate::hnsw::{Graph, HnswParams};
use crate::metric::{Metric, VectorSpace};
use crate::quant::{CodeSpace, Codes, Quantization};
use crate::sort::sort_by_key;
use crate::types::{IdKey, Offset, SegmentId, Stamp};

use super::memtable::Block;
use super::order::along_the_curve;
use super::sealed::{Segment, TOMBSTONE};
use super::table::{self, Kind, Table};
use super::{LiveBitmap, Tombstone};

/// Where a row of a draft came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The row of this number in the memtable.
    Memtable(u64),
    /// A point of the `source`-th segment of the job.
    Segment {
        /// Which of the job's segments.
        source: u32,
        /// The offset there.
        offset: Offset,
    },
}

/// Columns of a segment in the making.
#[derive(Debug)]
pub struct Draft {
    metric: Metric,
    dimension: usize,
    vectors: Vec<f32>,
    terms: Vec<f32>,
    keys: Vec<IdKey>,
    id_ends: Vec<u32>,
    ids: Vec<u8>,
    stamps: Vec<Stamp>,
    seqs: Vec<u64>,
    metadata_ends: Vec<u32>,
    metadata: Vec<u8>,
    origins: Vec<Origin>,
    tombstones: HashMap<IdKey, Tombstone>,
    codes: Option<Codes>,
}

impl Draft {
    /// Starts without rows; `rows` and the metric's terms are allocated at once for that many.
    pub fn new(metric: Metric, dimension: usize, rows: usize) -> Self {
        Self {
            metric,
            dimension,
            vectors: Vec::with_capacity(rows * dimension),
            terms: Vec::with_capacity(if metric.has_terms() { rows } else { 0 }),
            keys: Vec::with_capacity(rows),
            id_ends: Vec::with_capacity(rows),
            ids: Vec::new(),
            stamps: Vec::with_capacity(rows),
            seqs: Vec::new(),
            metadata_ends: Vec::with_capacity(rows),
            metadata: Vec::new(),
            origins: Vec::with_capacity(rows),
            tombstones: HashMap::new(),
            codes: None,
        }
    }

    /// How many rows it has.
    pub fn len(&self) -> u32 {
        self.keys.len() as u32
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether there is nothing to seal, neither rows nor tombstones.
    pub fn is_void(&self) -> bool {
        self.keys.is_empty() && self.tombstones.is_empty()
    }

    /// Vectors and terms.
    pub fn space(&self) -> VectorSpace<'_> {
        VectorSpace { metric: self.metric, dimension: self.dimension, rows: &self.vectors, terms: &self.terms }
    }

    /// Encodes all rows, where that is asked for and codes can carry them.
    pub fn encode(&mut self, quantization: Quantization) {
        self.codes = if quantization == Quantization::None { None } else { Codes::of(&self.space()) };
    }

    /// The codes of all rows, once they are encoded.
    pub fn codes(&self) -> Option<CodeSpace<'_>> {
        self.codes.as_ref().map(Codes::space)
    }

    /// Where each row came from.
    pub fn origins(&self) -> &[Origin] {
        &self.origins
    }

    /// Where each row came from and its stamp, when all else is not needed any more.
    pub fn into_origins(self) -> (Vec<Origin>, Vec<Stamp>) {
        (self.origins, self.stamps)
    }

    /// The tombstones it carries.
    pub fn tombstones(&self) -> impl Iterator<Item = &Tombstone> {
        self.tombstones.values()
    }

    /// Adds the live rows of a memtable block whose first row has this number.
    pub fn add_block(&mut self, block: &Block, first: u64) -> Result<()> {
        for at in block.live() {
            self.vectors.extend_from_slice(&block.vectors()[at * self.dimension..][..self.dimension]);
            self.terms.extend(block.terms().get(at));
            self.add(
                block.key(at),
                block.id_bytes(at),
                block.stamp(at),
                block.seq(at),
                block.metadata(at).as_bytes(),
                Origin::Memtable(first + at as u64),
            )?;
        }
        Ok(())
    }

    /// Adds the live points of a segment, by rising offset.
    pub fn add_segment(&mut self, segment: &Segment, live: &LiveBitmap, source: u32) -> Result<()> {
        let space = segment.space();
        let (keys, key_offsets) = segment.keys();
        let mut key_of = alloc::vec![IdKey([0; 16]); keys.len()];
        for (key, &offset) in keys.iter().zip(key_offsets) {
            key_of[offset as usize] = *key;
        }
        for offset in live.iter() {
            self.vectors.extend_from_slice(space.row(offset.0));
            self.terms.extend(space.terms.get(offset.index()));
            let origin = Origin::Segment { source, offset };
            let (id, metadata) = (segment.id_bytes(offset), segment.metadata(offset).as_bytes());
            self.add(key_of[offset.index()], id, segment.stamp(offset), segment.seq(offset), metadata, origin)?;
        }
        Ok(())
    }

    fn add(&mut self, key: IdKey, id: &[u8], stamp: Stamp, seq: u64, metadata: &[u8], origin: Origin) -> Result<()> {
        if seq != 0 && self.seqs.is_empty() {
            self.seqs = alloc::vec![0; self.keys.len()];
        }
        if seq != 0 || !self.seqs.is_empty() {
            self.seqs.push(seq);
        }
        self.keys.push(key);
        self.ids.extend_from_slice(id);
        self.id_ends.push(end_of(&self.ids, "ids")?);
        self.stamps.push(stamp);
        self.metadata.extend_from_slice(metadata);
        self.metadata_ends.push(end_of(&self.metadata, "metadata")?);
        self.origins.push(origin);
        Ok(())
    }

    /// Puts the rows from `first` on in an order in which near ones lie near each other, where that gains anything.
    pub fn arrange(&mut self, first: u32) {
        let Some(order) = along_the_curve(&self.space(), first) else { return };
        permute(&mut self.vectors, self.dimension, &order);
        permute(&mut self.terms, 1, &order);
        permute(&mut self.keys, 1, &order);
        permute(&mut self.stamps, 1, &order);
        permute(&mut self.seqs, 1, &order);
        permute(&mut self.origins, 1, &order);
        permute_texts(&mut self.ids, &mut self.id_ends, &order);
        permute_texts(&mut self.metadata, &mut self.metadata_ends, &order);
    }

    /// Carries a tombstone on; of two for the same id the newer stays.
    pub fn bury(&mut self, tombstone: Tombstone) {
        let newest = self.tombstones.entry(tombstone.key).or_insert_with(|| tombstone.clone());
        if newest.stamp < tombstone.stamp {
            *newest = tombstone;
        }
    }

    /// Lays out the bytes and names them.
    ///
    /// # Errors
    /// As [`Draft::lay_out`].
    pub fn seal(&self, graph: &Graph, params: &HnswParams) -> Result<(SegmentId, AlignedBytes)> {
        let bytes = self.lay_out(graph, params)?;
        Ok((SegmentId(*blake3::hash(bytes.as_ref()).as_bytes()), bytes))
    }

    /// Lays out the bytes.
    ///
    /// A tombstone that an own row of a newer stamp supersedes is left out.
    ///
    /// # Errors
    /// `Internal` when the graph is not one of these rows.
    pub fn lay_out(&self, graph: &Graph, params: &HnswParams) -> Result<AlignedBytes> {
        if graph.len() != self.keys.len() {
            return Err(Error::internal(format!("a graph of {} nodes for {} rows", graph.len(), self.keys.len())));
        }
        let mut order: Vec<u32> = (0..self.len()).collect();
        sort_by_key(&mut order, |&offset| self.keys[offset as usize]);
        let sorted_keys: Vec<IdKey> = order.iter().map(|&offset| self.keys[offset as usize]).collect();
        let superseded = |t: &&Tombstone| {
            let own = sorted_keys.binary_search(&t.key).ok().map(|at| self.stamps[order[at] as usize]);
            own.is_none_or(|stamp| stamp < t.stamp)
        };
        let mut graves: Vec<&Tombstone> = self.tombstones.values().filter(superseded).collect();
        sort_by_key(&mut graves, |t| t.key);
        let (tombstones, tombstone_ids) = encode_tombstones(&graves)?;
        let (codes, factors) = self.codes().map_or((&[][..], &[][..]), |codes| (codes.codes(), codes.factors()));
        let stamps = self.stamps.iter().chain(graves.iter().map(|t| &t.stamp));
        let table = Table {
            metric: self.metric.code(),
            dimension: self.dimension as u32,
            points: self.len(),
            tombstones: graves.len() as u32,
            m: graph.m,
            m0: graph.m0,
            ef_construction: params.ef_construction,
            seed: params.seed,
            entry: graph.entry,
            top: graph.top,
            newest_hlc: stamps.map(|s| s.hlc).max().unwrap_or(0),
            sections: Vec::new(),
        };
        table::assemble(
            table,
            &[
                (Kind::Vectors, bytemuck::cast_slice(&self.vectors)),
                (Kind::Terms, bytemuck::cast_slice(&self.terms)),
                (Kind::Keys, bytemuck::cast_slice(&sorted_keys)),
                (Kind::KeyOffsets, bytemuck::cast_slice(&order)),
                (Kind::IdEnds, bytemuck::cast_slice(&self.id_ends)),
                (Kind::Ids, &self.ids),
                (Kind::Stamps, bytemuck::cast_slice(&self.stamps)),
                (Kind::Seqs, bytemuck::cast_slice(&self.seqs)),
                (Kind::MetadataEnds, bytemuck::cast_slice(&self.metadata_ends)),
                (Kind::Metadata, &self.metadata),
                (Kind::Levels, &graph.levels),
                (Kind::Links0, bytemuck::cast_slice(&graph.links0)),
                (Kind::UpperAt, bytemuck::cast_slice(&graph.upper_at)),
                (Kind::Upper, bytemuck::cast_slice(&graph.upper)),
                (Kind::Tombstones, &tombstones),
                (Kind::TombstoneIds, &tombstone_ids),
                (Kind::Codes, bytemuck::cast_slice(codes)),
                (Kind::CodeFactors, bytemuck::cast_slice(factors)),
            ],
        )
    }
}

/// Orders a column of so many values a row, if there is one.
fn permute<T: Copy>(column: &mut Vec<T>, width: usize, order: &[u32]) {
    if column.is_empty() {
        return;
    }
    let mut ordered = Vec::with_capacity(column.len());
    order.iter().for_each(|&row| ordered.extend_from_slice(&column[row as usize * width..][..width]));
    *column = ordered;
}

/// Orders a column of texts that lie end to end.
fn permute_texts(bytes: &mut Vec<u8>, ends: &mut Vec<u32>, order: &[u32]) {
    let (mut ordered, mut ordered_ends) = (Vec::with_capacity(bytes.len()), Vec::with_capacity(ends.len()));
    for &row in order {
        let start = if row == 0 { 0 } else { ends[row as usize - 1] };
        ordered.extend_from_slice(&bytes[start as usize..ends[row as usize] as usize]);
        ordered_ends.push(ordered.len() as u32);
    }
    (*bytes, *ends) = (ordered, ordered_ends);
}

fn encode_tombstones(graves: &[&Tombstone]) -> Result<(Vec<u8>, Vec<u8>)> {
    let (mut records, mut ids) = (Vec::with_capacity(graves.len() * TOMBSTONE), Vec::new());
    for grave in graves {
        records.extend_from_slice(&grave.key.0);
        records.put_u64(grave.stamp.hlc);
        records.put_u64(grave.stamp.writer);
        records.put_u64(grave.stamp.cseq);
        records.put_u64(grave.seq);
        records.put_u32(end_of(&ids, "ids of tombstones")?);
        grave.id.put_canonical(&mut ids);
        records.put_u32(end_of(&ids, "ids of tombstones")?);
    }
    Ok((records, ids))
}

fn end_of(bytes: &[u8], what: &str) -> Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| {
        Error::limit_exceeded(format!("a segment holds at most 4 GiB of {what}; this one has {}", bytes.len()))
    })
}
