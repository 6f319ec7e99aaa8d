//! Sealed segments, read in place.
//!
//! A [`Segment`] borrows everything from one run of aligned bytes: a mapped file, or a buffer that a host filled.
//! Opening checks structure, and as much more as the host cannot vouch for ([`Checks`]); after that each accessor is a
//! cast. Invariants relied upon: section lengths equal those derived from the counts, ends rise, offsets
//! and links stay below the number of points.

use alloc::format;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Range;

use crate::bytes::{Reader, cast};
use crate::error::{Error, Result, Shown};
use crate::hnsw::{GraphParts, GraphView, HnswParams};
use crate::metadata::MetadataRef;
use crate::metric::{Metric, VectorSpace, validate_stored};
use crate::quant::{self, CodeSpace, Codes};
use crate::sync::{Digest, Item, SpaceKey};
use crate::types::{IdKey, Offset, PointId, SegmentId, Stamp};

use super::Tombstone;
use super::table::{self, Kind, Table};

/// Bytes of a segment that its host keeps: mapped or in memory, aligned to 64.
pub type SegmentBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How many bytes one tombstone takes in its section.
pub(super) const TOMBSTONE: usize = 56;

/// The most bytes that ids, metadata, or ids of tombstones take in a segment: where they end is said by a u32. So many
/// bytes of distinct ids are fewer than 2^30 points, which is what the graph can count.
pub const MAX_COLUMN_BYTES: u64 = u32::MAX as u64;

/// What opening verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checks {
    /// Everything: the bytes come from outside.
    All,
    /// Everything but the hash and the checksums below it: the host verified the hash while the bytes came from outside.
    Contents,
    /// Header, table, lengths and the checksum of every section: only this engine wrote the bytes, and the store may have
    /// damaged them.
    Sums,
    /// Header, table and lengths: the host verified checksums of all bytes while it read them, and only this engine
    /// wrote them.
    Structure,
}

/// An immutable run of points with its graph.
pub struct Segment {
    id: SegmentId,
    metric: Metric,
    table: Table,
    ranges: Ranges,
    newest_seq: u64,
    bytes: SegmentBytes,
}

#[derive(Debug)]
struct Ranges {
    vectors: Range<usize>,
    terms: Range<usize>,
    keys: Range<usize>,
    key_offsets: Range<usize>,
    id_ends: Range<usize>,
    ids: Range<usize>,
    stamps: Range<usize>,
    seqs: Range<usize>,
    metadata_ends: Range<usize>,
    metadata: Range<usize>,
    levels: Range<usize>,
    links0: Range<usize>,
    upper_at: Range<usize>,
    upper: Range<usize>,
    tombstones: Range<usize>,
    tombstone_ids: Range<usize>,
    codes: Range<usize>,
    code_factors: Range<usize>,
}

impl Segment {
    /// Opens a segment over bytes that a host keeps.
    ///
    /// # Errors
    /// `Corrupted` when a check fails or `id` is not the hash of the bytes (under [`Checks::All`]), `Unsupported` for
    /// a later version.
    pub fn open(id: SegmentId, bytes: SegmentBytes, checks: Checks) -> Result<Self> {
        let all = (*bytes).as_ref();
        let table = table::read(all)?;
        let metric = Metric::from_code(table.metric)?;
        let ranges = Ranges::derive(&table, metric)?;
        if matches!(checks, Checks::All | Checks::Sums) {
            table.check_sections(all)?;
        }
        if checks == Checks::All {
            let found = blake3::hash(all);
            if found.as_bytes() != &id.0 {
                return Err(Error::corrupted(format!(
                    "segment {id} has bytes of hash {}",
                    SegmentId(*found.as_bytes())
                )));
            }
        }
        let mut segment = Self { id, metric, table, ranges, newest_seq: 0, bytes };
        segment.check_casts()?;
        let points = segment.section::<u64>(&segment.ranges.seqs).iter().copied();
        let tombstones = (0..segment.tombstone_count()).map(|at| segment.tombstone_seq(at));
        segment.newest_seq = points.chain(tombstones).max().unwrap_or(0);
        if matches!(checks, Checks::All | Checks::Contents) {
            segment.check_contents()?;
        }
        Ok(segment)
    }

    /// The hash that names the segment.
    pub const fn id(&self) -> SegmentId {
        self.id
    }

    /// How many points it holds, dead ones included.
    pub const fn len(&self) -> u32 {
        self.table.points
    }

    /// Whether it holds tombstones only.
    pub const fn is_empty(&self) -> bool {
        self.table.points == 0
    }

    /// How many bytes it has.
    pub fn byte_len(&self) -> usize {
        self.bytes().len()
    }

    /// How many bytes the longest of ids, metadata and ids of tombstones takes: at most [`MAX_COLUMN_BYTES`].
    pub fn longest_column(&self) -> u64 {
        let Ranges { ids, metadata, tombstone_ids, .. } = &self.ranges;
        ids.len().max(metadata.len()).max(tombstone_ids.len()) as u64
    }

    /// All its bytes, as they are stored and shipped.
    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
    }

    /// The metric that its graph was built for.
    pub const fn metric(&self) -> Metric {
        self.metric
    }

    /// Components a vector.
    pub const fn dimension(&self) -> usize {
        self.table.dimension as usize
    }

    /// The newest hybrid logical time of its points and tombstones.
    pub const fn newest_hlc(&self) -> u64 {
        self.table.newest_hlc
    }

    /// Vectors and terms.
    pub fn space(&self) -> VectorSpace<'_> {
        VectorSpace {
            metric: self.metric,
            dimension: self.dimension(),
            rows: self.section(&self.ranges.vectors),
            terms: self.section(&self.ranges.terms),
        }
    }

    /// The codes of all rows, where the graph is over codes.
    pub fn codes(&self) -> Option<CodeSpace<'_>> {
        let (codes, factors) = (self.section(&self.ranges.codes), self.section(&self.ranges.code_factors));
        CodeSpace::over(self.metric, self.dimension(), codes, factors)
    }

    /// How many bytes of vectors a walk over the graph reads from: of codes, where there are any, else of full rows.
    pub fn walked_bytes(&self) -> usize {
        let Ranges { vectors, terms, .. } = &self.ranges;
        self.codes().map_or(vectors.len() + terms.len(), |codes| codes.byte_len())
    }

    /// The graph.
    pub fn graph(&self) -> GraphView<'_> {
        GraphView::trusted(self.graph_parts())
    }

    /// The numbers by which the graph was built.
    pub fn params(&self) -> HnswParams {
        let Table { m, m0, ef_construction, seed, .. } = self.table;
        HnswParams { m, m0, ef_construction, seed, ..HnswParams::for_space(self.metric, self.dimension()) }
    }

    /// Finds an id by binary search in the sorted keys.
    pub fn find(&self, key: &IdKey) -> Option<Offset> {
        let keys: &[IdKey] = self.section(&self.ranges.keys);
        let at = keys.binary_search(key).ok()?;
        Some(Offset(self.section::<u32>(&self.ranges.key_offsets)[at]))
    }

    /// The id of a point.
    pub fn point_id(&self, offset: Offset) -> PointId {
        PointId::from_canonical(self.id_bytes(offset)).expect("ids are canonical: checked when sealed or opened")
    }

    /// The canonical bytes of a point's id.
    pub fn id_bytes(&self, offset: Offset) -> &[u8] {
        let range = self.item(&self.ranges.id_ends, offset.index());
        &self.section::<u8>(&self.ranges.ids)[range]
    }

    /// The sorted keys, and the offset of each.
    pub fn keys(&self) -> (&[IdKey], &[u32]) {
        (self.section(&self.ranges.keys), self.section(&self.ranges.key_offsets))
    }

    /// The stamp of a point.
    pub fn stamp(&self, offset: Offset) -> Stamp {
        self.section::<Stamp>(&self.ranges.stamps)[offset.index()]
    }

    /// The server's number for a point; 0 before a server gave one.
    pub fn seq(&self, offset: Offset) -> u64 {
        self.section::<u64>(&self.ranges.seqs).get(offset.index()).copied().unwrap_or(0)
    }

    /// The newest server's number of its points and tombstones.
    pub const fn newest_seq(&self) -> u64 {
        self.newest_seq
    }

    /// The metadata of a point.
    pub fn metadata(&self, offset: Offset) -> MetadataRef<'_> {
        self.documents().of(offset)
    }

    /// The metadata of all points, found once for all of them.
    pub fn documents(&self) -> Documents<'_> {
        Documents { ends: self.section(&self.ranges.metadata_ends), encoded: self.section(&self.ranges.metadata) }
    }

    /// A point as digests see it; `key` is that of its id.
    pub fn digest_item(&self, space: &SpaceKey, key: IdKey, offset: Offset) -> Item {
        let (vectors, stamp) = (self.space(), self.stamp(offset));
        let (row, term) = (vectors.row(offset.0), vectors.term(offset.0));
        Item::of_parts(space, key, stamp, term, row, self.metadata(offset).as_bytes())
    }

    /// The digest of all its points, dead ones included.
    pub fn digest(&self, space: &SpaceKey) -> Digest {
        let (keys, offsets) = self.keys();
        keys.iter().zip(offsets).fold(Digest::default(), |mut digest, (key, &offset)| {
            digest.add(&self.digest_item(space, *key, Offset(offset)));
            digest
        })
    }

    /// How many tombstones the segment carries.
    pub const fn tombstone_count(&self) -> u32 {
        self.table.tombstones
    }

    /// The tombstones, by rising key.
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = Tombstone> + '_ {
        (0..self.tombstone_count() as usize).map(|at| self.tombstone_at(at as u32))
    }

    /// A tombstone by its place among them.
    pub(crate) fn tombstone_at(&self, at: u32) -> Tombstone {
        self.tombstone(at as usize).expect("checked when sealed or opened").0
    }

    /// The server's number for a tombstone, by its place among them.
    pub(crate) fn tombstone_seq(&self, at: u32) -> u64 {
        /// What stands before it: key and stamp.
        const BEFORE: usize = 16 + 24;
        let raw = &self.section::<u8>(&self.ranges.tombstones)[at as usize * TOMBSTONE + BEFORE..];
        raw.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// The tombstone of an id.
    pub fn tombstone_of(&self, key: &IdKey) -> Option<Tombstone> {
        let raw: &[u8] = self.section(&self.ranges.tombstones);
        let (mut low, mut high) = (0, self.tombstone_count() as usize);
        while low < high {
            let middle = usize::midpoint(low, high);
            match raw[middle * TOMBSTONE..][..16].cmp(&key.0) {
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
                core::cmp::Ordering::Equal => return self.tombstone(middle).ok().map(|(t, _)| t),
            }
        }
        None
    }

    fn graph_parts(&self) -> GraphParts<'_> {
        GraphParts {
            m: self.table.m,
            m0: self.table.m0,
            levels: self.section(&self.ranges.levels),
            links0: self.section(&self.ranges.links0),
            upper_at: self.section(&self.ranges.upper_at),
            upper: self.section(&self.ranges.upper),
            entry: self.table.entry,
            top: self.table.top,
        }
    }

    fn section<T: bytemuck::AnyBitPattern>(&self, range: &Range<usize>) -> &[T] {
        cast(self.bytes(), range, "a section").expect("every section was cast once when the segment was opened")
    }

    /// The range that item `at` takes in the section whose ends these are.
    fn item(&self, ends: &Range<usize>, at: usize) -> Range<usize> {
        let ends: &[u32] = self.section(ends);
        let start = at.checked_sub(1).map_or(0, |before| ends[before]);
        start as usize..ends[at] as usize
    }

    fn tombstone(&self, at: usize) -> Result<(Tombstone, Range<usize>)> {
        let raw = &self.section::<u8>(&self.ranges.tombstones)[at * TOMBSTONE..][..TOMBSTONE];
        let mut reader = Reader::new(raw);
        let mut key = IdKey([0; 16]);
        key.0.copy_from_slice(reader.bytes(16, "a key")?);
        let stamp = Stamp { hlc: reader.u64("hlc")?, writer: reader.u64("writer")?, cseq: reader.u64("cseq")? };
        let seq = reader.u64("seq")?;
        let range = reader.u32("start of an id")? as usize..reader.u32("end of an id")? as usize;
        let id = self
            .section::<u8>(&self.ranges.tombstone_ids)
            .get(range.clone())
            .ok_or_else(|| Error::corrupted(format!("the id of tombstone {at} lies outside its section")))?;
        Ok((Tombstone { key, id: PointId::from_canonical(id)?, stamp, seq }, range))
    }

    /// Casts every section once, so that accessors cannot fail later.
    fn check_casts(&self) -> Result<()> {
        let (bytes, r) = (self.bytes(), &self.ranges);
        cast::<f32>(bytes, &r.vectors, "vectors")?;
        cast::<f32>(bytes, &r.terms, "terms")?;
        cast::<f32>(bytes, &r.code_factors, "numbers beside codes")?;
        cast::<IdKey>(bytes, &r.keys, "keys")?;
        cast::<Stamp>(bytes, &r.stamps, "stamps")?;
        cast::<u64>(bytes, &r.seqs, "seqs")?;
        for (range, what) in [
            (&r.key_offsets, "key offsets"),
            (&r.id_ends, "id ends"),
            (&r.metadata_ends, "metadata ends"),
            (&r.links0, "links"),
            (&r.upper_at, "upper places"),
            (&r.upper, "upper links"),
        ] {
            cast::<u32>(bytes, range, what)?;
        }
        Ok(())
    }

    /// Checks what the accessors and the search rely on.
    fn check_contents(&self) -> Result<()> {
        let points = self.len() as usize;
        let keys: &[IdKey] = self.section(&self.ranges.keys);
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(Error::corrupted("a segment's keys do not rise"));
        }
        check_ends(self.section(&self.ranges.id_ends), &self.ranges.ids, "ids")?;
        check_ends(self.section(&self.ranges.metadata_ends), &self.ranges.metadata, "metadata")?;
        let mut seen = alloc::vec![false; points];
        for (key, &offset) in keys.iter().zip(self.section::<u32>(&self.ranges.key_offsets)) {
            let place = seen.get_mut(offset as usize);
            if place.is_none_or(|place| core::mem::replace(place, true)) {
                return Err(Error::corrupted(format!(
                    "a segment of {points} points has key offset {offset} twice or outside"
                )));
            }
            let range = self.item(&self.ranges.id_ends, offset as usize);
            let id = PointId::from_canonical(&self.section::<u8>(&self.ranges.ids)[range])?;
            if id.key() != *key {
                return Err(Error::corrupted(format!("point {offset} has id {id}, which has another key")));
            }
            let range = self.item(&self.ranges.metadata_ends, offset as usize);
            crate::metadata::Metadata::from_bytes(&self.section::<u8>(&self.ranges.metadata)[range])?;
        }
        self.check_vectors()?;
        let mut last = None;
        for at in 0..self.tombstone_count() as usize {
            let (tombstone, _) = self.tombstone(at)?;
            if tombstone.id.key() != tombstone.key || last.is_some_and(|last| last >= tombstone.key) {
                return Err(Error::corrupted(format!("tombstone {at} is out of order or of another id")));
            }
            last = Some(tombstone.key);
        }
        let stamps = self.section::<Stamp>(&self.ranges.stamps).iter().map(|s| s.hlc);
        let newest = stamps.chain(self.tombstones().map(|t| t.stamp.hlc)).max().unwrap_or(0);
        if newest != self.newest_hlc() {
            return Err(Error::corrupted(format!("the newest time is {newest}, the table says {}", self.newest_hlc())));
        }
        GraphView::new(self.graph_parts()).map(|_| ())
    }

    /// Checks what a write would have checked: searching relies on keys that are finite.
    fn check_vectors(&self) -> Result<()> {
        let space = self.space();
        for offset in 0..self.len() {
            let term = space.term(offset);
            let expected = validate_stored(self.metric, self.dimension(), space.row(offset), term)
                .map_err(|e| Error::corrupted(format!("point {offset} of a segment: {}", e.message())))?;
            let fits = (term / expected - 1.0).abs() < 1e-3;
            if !fits {
                return Err(Error::corrupted(format!(
                    "point {offset} of a segment has term {}",
                    Shown(f64::from(term))
                )));
            }
        }
        if self.codes().is_some_and(|codes| Codes::of(&space).is_none_or(|made| made.space() != codes)) {
            return Err(Error::corrupted("a segment's codes are not those of its rows"));
        }
        Ok(())
    }
}

/// The metadata of all points of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Documents<'a> {
    ends: &'a [u32],
    encoded: &'a [u8],
}

impl<'a> Documents<'a> {
    /// That of one point. A scan under a filter asks for each: in its place, also where the compiler optimises for size.
    ///
    /// # Panics
    /// When there is no such point.
    #[inline(always)]
    pub fn of(self, offset: Offset) -> MetadataRef<'a> {
        let at = offset.index();
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        MetadataRef::trusted(&self.encoded[start as usize..self.ends[at] as usize])
    }
}

impl Ranges {
    /// Takes the ranges from the table and compares their lengths with what the counts ask for.
    fn derive(table: &Table, metric: Metric) -> Result<Self> {
        let (n, d) = (u64::from(table.points), u64::from(table.dimension));
        let exact = |kind: Kind, expected: u64| {
            let range = table.range(kind);
            if range.len() as u64 == expected {
                return Ok(range);
            }
            Err(Error::corrupted(format!("section {kind:?} has {} bytes, {expected} expected", range.len())))
        };
        if !(1..=4096).contains(&table.dimension)
            || !(2..=1024).contains(&table.m0)
            || table.m == 0
            || table.m > table.m0
        {
            return Err(Error::corrupted(format!(
                "a segment of dimension {}, m {}, m0 {} is out of range",
                table.dimension, table.m, table.m0
            )));
        }
        let codes = match table.range(Kind::Codes) {
            none if none.is_empty() => none,
            _ => exact(Kind::Codes, n * d)?,
        };
        let factors = if codes.is_empty() { 0 } else { quant::factors(metric) as u64 };
        Ok(Self {
            vectors: exact(Kind::Vectors, n * d * 4)?,
            terms: exact(Kind::Terms, if metric.has_terms() { n * 4 } else { 0 })?,
            keys: exact(Kind::Keys, n * 16)?,
            key_offsets: exact(Kind::KeyOffsets, n * 4)?,
            id_ends: exact(Kind::IdEnds, n * 4)?,
            ids: table.range(Kind::Ids),
            stamps: exact(Kind::Stamps, n * 24)?,
            seqs: match table.range(Kind::Seqs) {
                none if none.is_empty() => none,
                _ => exact(Kind::Seqs, n * 8)?,
            },
            metadata_ends: exact(Kind::MetadataEnds, n * 4)?,
            metadata: table.range(Kind::Metadata),
            levels: exact(Kind::Levels, n)?,
            links0: exact(Kind::Links0, n * u64::from(table.m0) * 4)?,
            upper_at: exact(Kind::UpperAt, n * 4)?,
            upper: table.range(Kind::Upper),
            tombstones: exact(Kind::Tombstones, u64::from(table.tombstones) * TOMBSTONE as u64)?,
            tombstone_ids: table.range(Kind::TombstoneIds),
            codes,
            code_factors: exact(Kind::CodeFactors, n * factors * 4)?,
        })
    }
}

fn check_ends(ends: &[u32], section: &Range<usize>, what: &str) -> Result<()> {
    if ends.is_sorted() && ends.last().map_or(0, |&end| end as usize) == section.len() {
        return Ok(());
    }
    Err(Error::corrupted(format!("the ends of {what} do not rise to {}", section.len())))
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Segment");
        out.field("id", &self.id).field("points", &self.len()).field("bytes", &self.byte_len()).finish_non_exhaustive()
    }
}
