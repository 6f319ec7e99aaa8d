//! The newest points: appended, searched by an exact scan, sealed as a whole.
//!
//! Rows live in blocks of [`BLOCK_ROWS`], in columns: no row has an allocation of its own. A snapshot holds the blocks by
//! reference; the writer copies the last, unfinished one before it appends to it, so what a reader sees never changes. Rows
//! are numbered without end; a seal takes a prefix of blocks away and leaves the numbers of the others as they are. The
//! index holds numbers only: the keys that it finds them by stand in the blocks.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::BuildHasher as _;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::metadata::MetadataRef;
use crate::types::{IdKey, Lsn, PointId, Stamp};

use super::Tombstone;

/// Rows in a block: the unit of copying when a snapshot still reads the last one.
pub const BLOCK_ROWS: usize = 128;
/// Nothing is added to a block whose ids and metadata take so many bytes, or a point would be copied megabytes.
const BLOCK_TEXTS: usize = 256 << 10;

/// What a point carries beside its vector.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The key of its id.
    pub key: IdKey,
    /// The id.
    pub id: &'a PointId,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// Its number of replication, see [`Rec::seq`](crate::log::Rec::seq).
    pub seq: u64,
    /// Its metadata.
    pub metadata: MetadataRef<'a>,
}

/// The counts of an `Arc`, beside what it holds.
const ARC: usize = 2 * size_of::<usize>();
/// What a row takes beside its vector, its term, its id and its metadata: its places in the columns and in the index.
const ROW: usize =
    size_of::<IdKey>() + size_of::<Stamp>() + size_of::<u64>() + size_of::<Ends>() + table_entry::<u64>();

/// What an entry takes in a table: tables are half to wholly full, and keep a byte beside each slot.
const fn table_entry<T>() -> usize {
    2 * (size_of::<T>() + 1)
}

fn tombstone_bytes(tombstone: &Tombstone) -> usize {
    let id = match &tombstone.id {
        PointId::Int(_) => 0,
        PointId::Str(text) => ARC + text.len(),
    };
    table_entry::<(IdKey, Tombstone)>() + id
}

/// Where the bytes of a row end in its block.
#[derive(Clone, Copy, Debug)]
struct Ends {
    id: u32,
    metadata: u32,
}

#[derive(Clone, Debug, Default)]
struct BlockRows {
    vectors: Vec<f32>,
    terms: Vec<f32>,
    /// The keys of the ids, side by side: looking one up reads nothing else.
    keys: Vec<IdKey>,
    stamps: Vec<Stamp>,
    seqs: Vec<u64>,
    ends: Vec<Ends>,
    /// Of each row its id, canonical, and its metadata.
    texts: Vec<u8>,
}

impl BlockRows {
    fn bytes(&self) -> usize {
        self.keys.len() * ROW + size_of_val(&*self.vectors) + size_of_val(&*self.terms) + self.texts.len()
    }

    fn push(&mut self, row: &Row<'_>, vector: impl Iterator<Item = f32>, term: Option<f32>) {
        self.vectors.extend(vector);
        self.terms.extend(term);
        self.keys.push(row.key);
        self.stamps.push(row.stamp);
        self.seqs.push(row.seq);
        row.id.put_canonical(&mut self.texts);
        let id = self.texts.len() as u32;
        self.texts.extend_from_slice(row.metadata.as_bytes());
        self.ends.push(Ends { id, metadata: self.texts.len() as u32 });
        if self.is_full() {
            self.give_back_room();
        }
    }

    fn is_full(&self) -> bool {
        self.keys.len() == BLOCK_ROWS || self.texts.len() >= BLOCK_TEXTS
    }

    /// Nothing follows: what the columns have reserved for more is not needed.
    fn give_back_room(&mut self) {
        self.vectors.shrink_to_fit();
        self.terms.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.stamps.shrink_to_fit();
        self.seqs.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.texts.shrink_to_fit();
    }
}

/// Up to [`BLOCK_ROWS`] rows with their live bits.
#[derive(Clone, Debug, Default)]
pub struct Block {
    data: Arc<BlockRows>,
    dead: [u64; BLOCK_ROWS / 64],
}

impl Block {
    /// How many rows the block has, dead ones included.
    pub fn len(&self) -> usize {
        self.data.keys.len()
    }

    /// Whether the block has no rows.
    pub fn is_empty(&self) -> bool {
        self.data.keys.is_empty()
    }

    /// All vectors, row after row.
    pub fn vectors(&self) -> &[f32] {
        &self.data.vectors
    }

    /// The metric's terms, one a row; empty when the metric has none.
    pub fn terms(&self) -> &[f32] {
        &self.data.terms
    }

    /// The id of a row.
    ///
    /// # Panics
    /// Never: its bytes were made by [`PointId::to_canonical`].
    pub fn point_id(&self, at: usize) -> PointId {
        PointId::from_canonical(self.id_bytes(at)).expect("the ids of a block are canonical")
    }

    /// The canonical bytes of a row's id.
    pub fn id_bytes(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.data.ends[before].metadata as usize);
        &self.data.texts[start..self.data.ends[at].id as usize]
    }

    /// When and by whom a row was written.
    pub fn stamp(&self, at: usize) -> Stamp {
        self.data.stamps[at]
    }

    /// A row's number of replication.
    pub fn seq(&self, at: usize) -> u64 {
        self.data.seqs[at]
    }

    /// A row's metadata.
    #[inline(always)]
    pub fn metadata(&self, at: usize) -> MetadataRef<'_> {
        let Ends { id, metadata } = self.data.ends[at];
        MetadataRef::trusted(&self.data.texts[id as usize..metadata as usize])
    }

    /// The key of a row's id.
    pub fn key(&self, at: usize) -> IdKey {
        self.data.keys[at]
    }

    /// The place of the live row of an id.
    pub fn find(&self, key: &IdKey) -> Option<usize> {
        for (at, other) in self.data.keys.iter().enumerate() {
            if other == key && self.is_live(at) {
                return Some(at);
            }
        }
        None
    }

    /// Whether the row at this place is live.
    #[inline(always)]
    pub fn is_live(&self, at: usize) -> bool {
        at < self.len() && self.dead[at / 64] >> (at % 64) & 1 == 0
    }

    /// The places of live rows, rising.
    pub fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|&at| self.is_live(at))
    }

    fn bytes(&self) -> usize {
        self.data.bytes()
    }

    fn kill(&mut self, at: usize) {
        self.dead[at / 64] |= 1 << (at % 64);
    }
}

/// The writer's side of the memtable.
#[derive(Debug, Default)]
pub struct Memtable {
    /// The number of the first row of the first block.
    first_row: u64,
    blocks: Vec<Block>,
    /// The numbers of the live rows, by the hashes of their keys.
    live: HashTable<u64>,
    hasher: DefaultHashBuilder,
    tombstones: HashMap<IdKey, Tombstone>,
    rows: usize,
    bytes: usize,
    sealed_blocks: u64,
    newest: Lsn,
}

impl Memtable {
    /// The blocks, oldest first.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// How many rows there are, dead ones included.
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// How many live points there are.
    pub fn live_points(&self) -> usize {
        self.live.len()
    }

    /// About how many bytes it takes: rows with all that keeps and finds them, dead ones included, and tombstones.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a seal would have anything to keep.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.tombstones.is_empty()
    }

    /// The deletes since the last seal.
    pub fn tombstones(&self) -> impl ExactSizeIterator<Item = &Tombstone> {
        self.tombstones.values()
    }

    /// The newest record whose effects are here.
    pub const fn newest(&self) -> Lsn {
        self.newest
    }

    /// Takes note of a record whose entries have been applied.
    pub fn advance(&mut self, lsn: Lsn) {
        self.newest = lsn;
    }

    /// The stamp under which the memtable knows the id, dead or alive.
    pub fn stamp_of(&self, key: &IdKey) -> Option<Stamp> {
        let live = self.find(key).map(|(block, at)| self.blocks[block].stamp(at));
        live.or_else(|| self.tombstones.get(key).map(|t| t.stamp))
    }

    /// The delete of an id.
    pub fn tombstone(&self, key: &IdKey) -> Option<&Tombstone> {
        self.tombstones.get(key)
    }

    /// Where the live row of an id is: its block and its place there.
    pub fn find(&self, key: &IdKey) -> Option<(usize, usize)> {
        let is_of_key = |&row: &u64| key_of(&self.blocks, self.first_row, row) == *key;
        self.live.find(self.hasher.hash_one(key), is_of_key).map(|&row| self.held(row))
    }

    /// Whether a row number is held here and live.
    pub fn is_live(&self, row: u64) -> bool {
        self.place(row).is_some_and(|(block, at)| self.blocks[block].is_live(at))
    }

    /// Appends a point; an older row of the same id dies, a tombstone of it is forgotten.
    pub fn put(&mut self, row: &Row<'_>, vector: impl Iterator<Item = f32>, term: Option<f32>) {
        self.kill(&row.key);
        self.exhume(&row.key);
        if self.blocks.last().is_none_or(|block| block.data.is_full()) || self.last_is_frozen() {
            self.blocks.push(Block::default());
        }
        let block = self.blocks.len() - 1;
        let number = self.number(block, self.blocks[block].len());
        let data = Arc::make_mut(&mut self.blocks[block].data);
        let before = data.bytes();
        data.push(row, vector, term);
        self.bytes += data.bytes() - before;
        self.rows += 1;
        let Self { live, hasher, blocks, first_row, .. } = self;
        let hash_of = |&row: &u64| hasher.hash_one(key_of(blocks, *first_row, row));
        live.insert_unique(hasher.hash_one(row.key), number, hash_of);
    }

    /// Kills the live row of an id; says whether there was one.
    pub fn kill(&mut self, key: &IdKey) -> bool {
        let Self { live, hasher, blocks, first_row, .. } = self;
        let entry = live.find_entry(hasher.hash_one(key), |&row| key_of(blocks, *first_row, row) == *key);
        let Ok(entry) = entry else { return false };
        let (row, _) = entry.remove();
        let (block, at) = self.held(row);
        self.blocks[block].kill(at);
        true
    }

    /// Remembers a delete.
    pub fn bury(&mut self, tombstone: Tombstone) {
        self.bytes += tombstone_bytes(&tombstone);
        if let Some(older) = self.tombstones.insert(tombstone.key, tombstone) {
            self.bytes -= tombstone_bytes(&older);
        }
    }

    /// Ends the last block, so that everything written from now on starts a new one; returns the number of the first
    /// row that a seal of the present blocks does not take.
    pub fn freeze(&mut self) -> u64 {
        self.sealed_blocks = self.first_block() + self.blocks.len() as u64;
        self.sealed_blocks * BLOCK_ROWS as u64
    }

    /// Forgets all rows before a number that [`Memtable::freeze`] returned, and the tombstones that were sealed.
    pub fn drop_sealed(&mut self, before_row: u64, sealed: &[Tombstone]) {
        let count = (before_row.saturating_sub(self.first_row) as usize / BLOCK_ROWS).min(self.blocks.len());
        for block in self.blocks.drain(..count) {
            self.rows -= block.len();
            self.bytes -= block.bytes();
        }
        self.first_row += (count * BLOCK_ROWS) as u64;
        self.live.retain(|row| *row >= before_row);
        // What a backlog took is given back with it.
        let Self { live, hasher, blocks, first_row, .. } = self;
        live.shrink_to(2 * live.len(), |&row| hasher.hash_one(key_of(blocks, *first_row, row)));
        for tombstone in sealed {
            if self.tombstones.get(&tombstone.key).is_some_and(|t| t.stamp == tombstone.stamp) {
                self.exhume(&tombstone.key);
            }
        }
    }

    /// The number of the row at a place of a block of [`Memtable::blocks`].
    pub const fn number(&self, block: usize, at: usize) -> u64 {
        self.first_row + (block * BLOCK_ROWS + at) as u64
    }

    /// Forgets the delete of an id.
    pub fn exhume(&mut self, key: &IdKey) {
        if let Some(tombstone) = self.tombstones.remove(key) {
            self.bytes -= tombstone_bytes(&tombstone);
        }
    }

    fn place(&self, number: u64) -> Option<(usize, usize)> {
        let at = number.checked_sub(self.first_row)? as usize;
        (at / BLOCK_ROWS < self.blocks.len()).then_some((at / BLOCK_ROWS, at % BLOCK_ROWS))
    }

    /// The place of a row that the index names.
    fn held(&self, number: u64) -> (usize, usize) {
        self.place(number).expect("the index names only rows that are held")
    }

    const fn first_block(&self) -> u64 {
        self.first_row / BLOCK_ROWS as u64
    }

    fn last_is_frozen(&self) -> bool {
        self.first_block() + self.blocks.len() as u64 <= self.sealed_blocks
    }
}

/// The key of a row that the index names.
fn key_of(blocks: &[Block], first_row: u64, number: u64) -> IdKey {
    let at = (number - first_row) as usize;
    blocks[at / BLOCK_ROWS].key(at % BLOCK_ROWS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;

    fn put_with(table: &mut Memtable, id: &PointId, cseq: u64, metadata: &[u8], vector: [f32; 2]) {
        let stamp = Stamp { hlc: 1, writer: 1, cseq };
        let row = Row { key: id.key(), id, stamp, seq: cseq + 7, metadata: MetadataRef::trusted(metadata) };
        table.put(&row, vector.into_iter(), None);
    }

    fn grave(id: PointId, cseq: u64) -> Tombstone {
        Tombstone { key: id.key(), id, stamp: Stamp { hlc: 1, writer: 1, cseq }, seq: 0 }
    }

    fn put(table: &mut Memtable, id: u64, cseq: u64) {
        put_with(table, &PointId::Int(id), cseq, &[], [id as f32, cseq as f32]);
    }

    #[test]
    fn a_reader_keeps_what_it_saw_while_the_writer_goes_on() {
        let mut table = Memtable::default();
        put(&mut table, 1, 1);
        let seen = table.blocks().to_vec();
        put(&mut table, 1, 2);
        put(&mut table, 2, 3);
        assert_eq!((seen[0].len(), seen[0].live().count()), (1, 1));
        assert_eq!(seen[0].vectors(), [1.0, 1.0]);
        assert_eq!((table.blocks()[0].len(), table.live_points()), (3, 2));
        assert_eq!(table.blocks()[0].live().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_seal_takes_the_frozen_rows_and_leaves_what_came_later() {
        let mut table = Memtable::default();
        for id in 0..300 {
            put(&mut table, id, id);
        }
        let frozen = table.freeze();
        put(&mut table, 5, 300);
        put(&mut table, 300, 301);
        let last = table.blocks().len() - 1;
        assert_eq!(table.blocks()[last].len(), 2, "rows after a freeze start a new block");
        assert!(!table.is_live(5) && table.is_live(6));
        table.drop_sealed(frozen, &[]);
        assert_eq!((table.rows(), table.live_points()), (2, 2));
        assert_eq!(table.stamp_of(&PointId::Int(5).key()).unwrap().cseq, 300);
        assert_eq!(table.stamp_of(&PointId::Int(6).key()), None);
        assert!(!table.is_live(6) && table.is_live(table.number(0, 0)));
    }

    #[test]
    fn a_tombstone_goes_with_its_seal_unless_a_newer_one_took_its_place() {
        let mut table = Memtable::default();
        let grave = |id: u64, cseq| grave(PointId::Int(id), cseq);
        table.bury(grave(1, 1));
        table.bury(grave(2, 2));
        let sealed: Vec<_> = table.tombstones().cloned().collect();
        table.bury(grave(2, 3));
        let frozen = table.freeze();
        table.drop_sealed(frozen, &sealed);
        assert_eq!(table.tombstones().map(|t| t.stamp.cseq).collect::<Vec<_>>(), [3]);
        put(&mut table, 2, 4);
        assert_eq!(table.tombstones().len(), 0, "a point written again has no tombstone");
    }

    #[test]
    fn what_keeps_a_row_or_a_tombstone_is_counted_with_it() {
        let mut table = Memtable::default();
        put(&mut table, 1, 1);
        let row = table.bytes();
        // Its key, stamp and number, its id, its place in the index, and two components.
        assert!(row > 16 + 24 + 8 + 9 + 8 + 2 * 4, "{row} bytes");
        table.bury(grave(PointId::Int(2), 2));
        let tombstone = table.bytes() - row;
        assert!(tombstone > 16 + size_of::<Tombstone>(), "{tombstone} bytes");
        let long = PointId::string(&"x".repeat(128)).unwrap();
        table.bury(grave(long.clone(), 3));
        assert!(table.bytes() >= row + 2 * tombstone + 128);
        let before = table.bytes();
        put_with(&mut table, &long, 4, &[1, 0, b'a', 0], [0.0; 2]);
        let (buried, longer) = (tombstone_bytes(&grave(long, 3)), 128 - 8);
        assert_eq!(table.bytes(), before - buried + row + longer + 4, "the row takes the tombstone's place");
    }

    #[test]
    fn every_row_reads_back_from_its_columns_which_reserve_nothing_in_a_full_block() {
        let mut table = Memtable::default();
        let mut seen = Vec::new();
        let id = |n: usize| {
            if n.is_multiple_of(3) {
                PointId::string(&"s".repeat(1 + n % 100)).unwrap()
            } else {
                PointId::Int(n as u64)
            }
        };
        let metadata = |n: usize| if n.is_multiple_of(2) { &[1, 0, b'a', 0][..] } else { &[] };
        for n in 0..BLOCK_ROWS {
            put_with(&mut table, &id(n), n as u64, metadata(n), [n as f32, 0.5]);
            // A reader at each row: the writer copies what it appends to.
            seen.push(table.blocks()[0].clone());
        }
        for (rows, block) in (1..).zip(&seen) {
            assert_eq!(block.len(), rows);
            let at = rows - 1;
            assert_eq!((block.point_id(at), block.key(at)), (id(at), id(at).key()));
            assert_eq!((block.stamp(at).cseq, block.seq(at)), (at as u64, at as u64 + 7));
            assert_eq!((block.metadata(at).as_bytes(), block.vectors()[2 * at]), (metadata(at), at as f32));
        }
        let data = &table.blocks()[0].data;
        let reserved = size_of::<f32>() * data.vectors.capacity()
            + data.keys.capacity() * (size_of::<IdKey>() + size_of::<Stamp>() + size_of::<u64>() + size_of::<Ends>())
            + data.texts.capacity();
        assert_eq!(reserved + BLOCK_ROWS * table_entry::<u64>(), data.bytes());
        assert!([data.stamps.capacity(), data.seqs.capacity(), data.ends.capacity()] == [BLOCK_ROWS; 3]);
    }

    #[test]
    fn a_block_ends_when_its_texts_are_long_and_every_row_is_found() {
        let mut table = Memtable::default();
        let metadata = alloc::vec![7; BLOCK_TEXTS / 3];
        for id in 0..10 {
            put_with(&mut table, &PointId::Int(id), id, &metadata, [id as f32; 2]);
        }
        let lengths: Vec<usize> = table.blocks().iter().map(Block::len).collect();
        assert_eq!(lengths, [3, 3, 3, 1]);
        let frozen = table.freeze();
        for id in 0..10 {
            let (block, at) = table.find(&PointId::Int(id).key()).unwrap();
            assert_eq!(table.blocks()[block].point_id(at), PointId::Int(id));
            assert!(table.is_live(table.number(block, at)));
        }
        put(&mut table, 4, 10);
        table.drop_sealed(frozen, &[]);
        assert_eq!((table.rows(), table.live_points(), table.blocks().len()), (1, 1, 1));
        assert_eq!(table.find(&PointId::Int(4).key()), Some((0, 0)));
    }

    #[test]
    fn as_many_bytes_are_counted_as_a_table_of_the_same_rows_and_tombstones_has() {
        let mut table = Memtable::default();
        let mut fresh = Memtable::default();
        for id in 0..300 {
            put(&mut table, id % 200, id);
            table.bury(grave(PointId::Int(id % 10 + 1_000), id));
        }
        let sealed: Vec<_> = table.tombstones().filter(|t| t.stamp.cseq % 2 == 0).cloned().collect();
        let frozen = table.freeze();
        for id in 0..5 {
            put(&mut table, id, 400 + id);
            table.kill(&PointId::Int(id).key());
            put(&mut fresh, id, 400 + id);
        }
        table.drop_sealed(frozen, &sealed);
        assert_eq!(table.tombstones().len(), 5);
        table.tombstones().for_each(|t| fresh.bury(t.clone()));
        assert_eq!((table.rows(), table.bytes()), (fresh.rows(), fresh.bytes()), "dead rows are counted too");
        let sealed: Vec<_> = table.tombstones().cloned().collect();
        let frozen = table.freeze();
        table.drop_sealed(frozen, &sealed);
        assert_eq!((table.rows(), table.bytes()), (0, 0));
    }
}
