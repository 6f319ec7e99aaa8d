//! The newest points: appended, searched by an exact scan, sealed as a whole.
//!
//! Rows live in blocks of [`BLOCK_ROWS`]. A snapshot holds the blocks by reference; the writer copies the last,
//! unfinished one before it appends to it, so what a reader sees never changes. Rows are numbered without end; a seal
//! takes a prefix of blocks away and leaves the numbers of the others as they are.

use alloc::sync::Arc;
use alloc::vec::Vec;
use hashbrown::HashMap;

use crate::metadata::Metadata;
use crate::types::{IdKey, Lsn, PointId, Stamp};

use super::Tombstone;

/// Rows in a block: the unit of copying when a snapshot still reads the last one.
pub const BLOCK_ROWS: usize = 128;

/// What a point carries beside its vector.
#[derive(Debug)]
pub struct Row {
    /// The id.
    pub id: PointId,
    /// When and by whom it was written.
    pub stamp: Stamp,
    /// Its number of replication, see [`Rec::seq`](crate::log::Rec::seq).
    pub seq: u64,
    /// Its metadata.
    pub metadata: Metadata,
}

/// The counts of an `Arc`, beside what it holds.
const ARC: usize = 2 * size_of::<usize>();
/// What a row takes beside its vector, the text of its id and its metadata.
const ROW: usize =
    size_of::<IdKey>() + size_of::<f32>() + size_of::<Arc<Row>>() + ARC + size_of::<Row>() + map_entry::<u64>();

/// What an entry takes in a map of keys: tables are half to wholly full, and keep a byte beside each slot.
const fn map_entry<T>() -> usize {
    2 * (size_of::<(IdKey, T)>() + 1)
}

/// What the text of an id takes.
fn id_bytes(id: &PointId) -> usize {
    match id {
        PointId::Int(_) => 0,
        PointId::Str(text) => ARC + text.len(),
    }
}

fn tombstone_bytes(tombstone: &Tombstone) -> usize {
    map_entry::<Tombstone>() + id_bytes(&tombstone.id)
}

impl Row {
    fn bytes(&self) -> usize {
        ROW + id_bytes(&self.id) + ARC + self.metadata.as_bytes().len()
    }
}

#[derive(Clone, Debug, Default)]
struct BlockRows {
    vectors: Vec<f32>,
    terms: Vec<f32>,
    /// The keys of the ids, side by side: looking one up reads nothing else.
    keys: Vec<IdKey>,
    rows: Vec<Arc<Row>>,
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
        self.data.rows.len()
    }

    /// Whether the block has no rows.
    pub fn is_empty(&self) -> bool {
        self.data.rows.is_empty()
    }

    /// All vectors, row after row.
    pub fn vectors(&self) -> &[f32] {
        &self.data.vectors
    }

    /// The metric's terms, one a row; empty when the metric has none.
    pub fn terms(&self) -> &[f32] {
        &self.data.terms
    }

    /// A row by its place in the block.
    pub fn row(&self, at: usize) -> &Arc<Row> {
        &self.data.rows[at]
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
        size_of_val(self.vectors()) + self.data.rows.iter().map(|row| row.bytes()).sum::<usize>()
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
    live: HashMap<IdKey, u64>,
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
        let live = self.find(key).map(|(block, at)| self.blocks[block].row(at).stamp);
        live.or_else(|| self.tombstones.get(key).map(|t| t.stamp))
    }

    /// The delete of an id.
    pub fn tombstone(&self, key: &IdKey) -> Option<&Tombstone> {
        self.tombstones.get(key)
    }

    /// Where the live row of an id is: its block and its place there.
    pub fn find(&self, key: &IdKey) -> Option<(usize, usize)> {
        let place = |&row| self.place(row).expect("the index names only rows that are held");
        self.live.get(key).map(place)
    }

    /// Whether a row number is held here and live.
    pub fn is_live(&self, row: u64) -> bool {
        self.place(row).is_some_and(|(block, at)| self.blocks[block].is_live(at))
    }

    /// Appends a point; an older row of the same id dies, a tombstone of it is forgotten.
    pub fn put(&mut self, key: IdKey, row: Row, vector: impl Iterator<Item = f32>, term: Option<f32>) {
        self.kill(&key);
        self.exhume(&key);
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK_ROWS) || self.last_is_frozen() {
            self.blocks.push(Block::default());
        }
        let block = self.blocks.len() - 1;
        let data = Arc::make_mut(&mut self.blocks[block].data);
        let number = self.first_row + (block * BLOCK_ROWS + data.rows.len()) as u64;
        let before = data.vectors.len();
        data.vectors.extend(vector);
        data.terms.extend(term);
        self.rows += 1;
        self.bytes += size_of_val(&data.vectors[before..]) + row.bytes();
        self.live.insert(key, number);
        data.keys.push(key);
        data.rows.push(Arc::new(row));
    }

    /// Kills the live row of an id; says whether there was one.
    pub fn kill(&mut self, key: &IdKey) -> bool {
        let Some(row) = self.live.remove(key) else { return false };
        let (block, at) = self.place(row).expect("the index names only rows that are held");
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
        self.live.retain(|_, row| *row >= before_row);
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

    const fn first_block(&self) -> u64 {
        self.first_row / BLOCK_ROWS as u64
    }

    fn last_is_frozen(&self) -> bool {
        self.first_block() + self.blocks.len() as u64 <= self.sealed_blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::PointId;

    fn row(id: u64, cseq: u64) -> Row {
        let id = PointId::Int(id);
        Row { id, stamp: Stamp { hlc: 1, writer: 1, cseq }, seq: 0, metadata: Metadata::default() }
    }

    fn grave(id: PointId, cseq: u64) -> Tombstone {
        Tombstone { key: id.key(), id, stamp: Stamp { hlc: 1, writer: 1, cseq }, seq: 0 }
    }

    fn put(table: &mut Memtable, id: u64, cseq: u64) {
        table.put(PointId::Int(id).key(), row(id, cseq), [id as f32, cseq as f32].into_iter(), None);
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
        // Its place in a block and in the index, what is behind the place, and two numbers.
        assert!(row > 16 + size_of::<usize>() + size_of::<Row>() + 16 + 8 + 2 * 4, "{row} bytes");
        table.bury(grave(PointId::Int(2), 2));
        let tombstone = table.bytes() - row;
        assert!(tombstone > 16 + size_of::<Tombstone>(), "{tombstone} bytes");
        let long = PointId::string(&"x".repeat(128)).unwrap();
        table.bury(grave(long.clone(), 3));
        assert!(table.bytes() >= row + 2 * tombstone + 128);
        let before = table.bytes();
        let fields = Metadata::from_bytes(&[1, 0, b'a', 0]).unwrap();
        let named = Row { id: long.clone(), stamp: Stamp::default(), seq: 0, metadata: fields };
        table.put(long.key(), named, [0.0; 2].into_iter(), None);
        assert!(table.bytes() >= before - 128 - tombstone + row + 128 + 4, "the row takes the tombstone's place");
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
