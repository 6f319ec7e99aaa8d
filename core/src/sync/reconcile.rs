//! Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", SRDS 2023): two replicas find out which
//! items only one of them has, in messages whose size follows the difference and not the sets.
//!
//! Both order their items by time and id. A frame divides that order into ranges; for each it says nothing (they agree),
//! gives a fingerprint of the range, or lists its items. Whoever gets a fingerprint that is not its own splits the range
//! into [`FAN_OUT`] parts of equally many items, or lists it when it is small. The responder keeps nothing between frames;
//! the initiator collects the difference.
//!
//! ```text
//! frame: version u8 | ranges, each from the end of the one before it
//! range: end | 0 agreed, 1 fingerprint [12], 2 list: count varint, items
//! end:   length u8, 255 for the end of all | hlc - hlc of the end before, varint | so many bytes of a key, the rest is 0
//! item:  hlc - hlc of the item or the start of the range before, varint | key [16] | 8 bytes of its hash
//! ```
//! Whoever has filled a frame puts off what is still open: it gives a fingerprint of it, and so is asked again. Frames come
//! from elsewhere: decoding never panics, and allocates no more than their bytes hold.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use crate::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::sort::sort;
use crate::types::IdKey;

use super::digest::{Digest, Item};

const VERSION: u8 = 1;
/// Parts that a range is split into.
const FAN_OUT: usize = 16;
/// A range of so many items is listed.
const LISTED: usize = 32;
/// The least frame: it has room for some splits.
const LEAST_FRAME: usize = 4 << 10;
/// The most bytes of a split, and of a list that is not cut for want of room.
const SPLIT_BYTES: usize = 2 << 10;
const LONGEST_ITEM: usize = 10 + 16 + 8;

const AGREED: u8 = 0;
const FINGERPRINT: u8 = 1;
const LIST: u8 = 2;
/// The length of an end behind which there is nothing.
const OF_ALL: u8 = u8::MAX;

/// The items of one replica at one moment.
#[derive(Clone, Debug)]
pub struct ItemSet {
    items: Vec<Item>,
    /// The digest of the items before each one, and of all.
    before: Vec<Digest>,
}

impl ItemSet {
    /// A set; of items with the same time and id one is kept.
    pub fn new(mut items: Vec<Item>) -> Self {
        sort(&mut items);
        items.dedup_by_key(|item| (item.hlc, item.key));
        let mut before = Vec::with_capacity(items.len() + 1);
        let mut digest = Digest::default();
        before.push(digest);
        for item in &items {
            digest.add(item);
            before.push(digest);
        }
        Self { items, before }
    }

    /// All items, in order.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    fn digest(&self, range: &Range<usize>) -> Digest {
        self.before[range.end].without(&self.before[range.start])
    }

    /// The first item that is not below a bound.
    fn position(&self, bound: &Bound) -> usize {
        match bound {
            Bound::End => self.items.len(),
            Bound::At(place) => self.items.partition_point(|item| (item.hlc, item.key) < *place),
        }
    }
}

/// A place in the order of all possible items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    At((u64, IdKey)),
    /// Behind everything.
    End,
}

const START: Bound = Bound::At((0, IdKey([0; 16])));

impl Bound {
    const fn hlc(&self) -> u64 {
        match self {
            Self::At((hlc, _)) => *hlc,
            Self::End => u64::MAX,
        }
    }

    /// The shortest place that is behind one item and not behind the next.
    fn between(last: &Item, next: &Item) -> Self {
        if last.hlc != next.hlc {
            return Self::At((next.hlc, IdKey([0; 16])));
        }
        let common = last.key.0.iter().zip(&next.key.0).take_while(|(a, b)| a == b).count();
        let mut key = [0; 16];
        key[..=common].copy_from_slice(&next.key.0[..=common]);
        Self::At((next.hlc, IdKey(key)))
    }
}

/// An item as a list names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Listed {
    hlc: u64,
    key: IdKey,
    hash: u64,
}

impl From<&Item> for Listed {
    fn from(item: &Item) -> Self {
        Self { hlc: item.hlc, key: item.key, hash: item.hash as u64 }
    }
}

/// What one side says of a range.
enum Said<'a> {
    Agreed,
    Fingerprint(&'a [u8]),
    List(Vec<Listed>),
}

/// What only one of two replicas has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Items of this replica that the other one lacks, or has with other content.
    pub here: Vec<Item>,
    /// Points of the other replica that this one lacks, or has with other content: time and id.
    pub there: Vec<(u64, IdKey)>,
}

/// The side that asks and learns the difference.
#[derive(Debug)]
pub struct Initiator {
    set: ItemSet,
    most: usize,
    difference: Difference,
}

impl Initiator {
    /// Begins; also says the first frame. Frames will have about `most` bytes at most, 4 KiB at least.
    pub fn start(set: ItemSet, most: usize) -> (Self, Vec<u8>) {
        let mut frame = Frame::new(&set, most);
        frame.split(START, Bound::End);
        let first = frame.finish();
        (Self { set, most, difference: Difference::default() }, first)
    }

    /// Takes an answer; gives the next frame, or nothing when the whole difference is known.
    ///
    /// # Errors
    /// `Corrupted` when the answer is not a frame; `Unsupported` when it is of a later version.
    pub fn receive(&mut self, answer: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut ranges = Ranges::new(answer)?;
        let mut frame = Frame::new(&self.set, self.most);
        while let Some((from, to, said)) = ranges.next()? {
            match said {
                Said::Agreed => frame.agree(to),
                Said::Fingerprint(theirs) => frame.compare(from, to, theirs),
                Said::List(theirs) => {
                    self.difference.compare(&self.set, from, to, &theirs);
                    frame.agree(to);
                }
            }
        }
        let next = frame.finish();
        Ok((next.len() > 1).then_some(next))
    }

    /// What was found.
    pub fn finish(self) -> Difference {
        self.difference
    }
}

impl Difference {
    /// Takes in what a range has of one set and of the other.
    fn compare(&mut self, set: &ItemSet, from: Bound, to: Bound, theirs: &[Listed]) {
        let own = &set.items[set.position(&from)..set.position(&to)];
        let lacks = |item: &&Item| theirs.binary_search(&Listed::from(*item)).is_err();
        self.here.extend(own.iter().filter(lacks));
        let has = |item: &&Listed| {
            let found = own.binary_search_by_key(&(item.hlc, item.key), |own| (own.hlc, own.key));
            found.is_ok_and(|at| Listed::from(&own[at]) == **item)
        };
        self.there.extend(theirs.iter().filter(|item| !has(item)).map(|item| (item.hlc, item.key)));
    }
}

/// Answers a frame of an [`Initiator`] in about `most` bytes, 4 KiB at least.
///
/// # Errors
/// As [`Initiator::receive`].
pub fn respond(set: &ItemSet, frame: &[u8], most: usize) -> Result<Vec<u8>> {
    let mut ranges = Ranges::new(frame)?;
    let mut answer = Frame::new(set, most);
    while let Some((from, to, said)) = ranges.next()? {
        match said {
            Said::Agreed => answer.agree(to),
            Said::Fingerprint(theirs) => answer.compare(from, to, theirs),
            Said::List(theirs) => {
                let own = set.position(&from)..set.position(&to);
                if set.items[own.clone()].iter().map(Listed::from).eq(theirs) {
                    answer.agree(to);
                } else {
                    answer.list(from, to);
                }
            }
        }
    }
    Ok(answer.finish())
}

/// A frame that is being written.
struct Frame<'a> {
    set: &'a ItemSet,
    bytes: Vec<u8>,
    most: usize,
    /// Where the last range that was written ends.
    end: Bound,
    /// Up to where all is agreed behind it.
    agreed: Bound,
    /// Up to where all is put off behind that.
    put_off: Bound,
}

impl<'a> Frame<'a> {
    fn new(set: &'a ItemSet, most: usize) -> Self {
        let most = most.max(LEAST_FRAME);
        Self { set, bytes: [VERSION].into(), most, end: START, agreed: START, put_off: START }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() + SPLIT_BYTES > self.most
    }

    fn finish(mut self) -> Vec<u8> {
        self.write_open();
        self.bytes
    }

    /// Takes note that a range needs no more words.
    fn agree(&mut self, to: Bound) {
        self.write_open();
        self.agreed = to;
        self.put_off = to;
    }

    /// Leaves a range for the next frame.
    fn put_off(&mut self, to: Bound) {
        self.put_off = to;
    }

    /// Says that a range differs which was put off: as one, however many it was.
    fn write_open(&mut self) {
        if self.put_off > self.agreed {
            let (from, to) = (self.agreed, self.put_off);
            self.fingerprint(&(self.set.position(&from)..self.set.position(&to)), to);
        }
    }

    fn compare(&mut self, from: Bound, to: Bound, theirs: &[u8]) {
        let own = self.set.position(&from)..self.set.position(&to);
        if self.set.digest(&own).fingerprint() == *theirs {
            self.agree(to);
        } else {
            self.split(from, to);
        }
    }

    fn split(&mut self, from: Bound, to: Bound) {
        let items = self.set.position(&from)..self.set.position(&to);
        if items.len() <= LISTED {
            return self.list(from, to);
        }
        if self.is_full() {
            return self.put_off(to);
        }
        self.write_open();
        let part = |n: usize| items.start + items.len() * n / FAN_OUT;
        for n in 0..FAN_OUT {
            let own = part(n)..part(n + 1);
            let end = if n + 1 == FAN_OUT { to } else { self.bound_before(own.end) };
            self.fingerprint(&own, end);
        }
    }

    fn fingerprint(&mut self, items: &Range<usize>, to: Bound) {
        self.begin(to, FINGERPRINT);
        let fingerprint = self.set.digest(items).fingerprint();
        self.bytes.extend_from_slice(&fingerprint);
    }

    /// Lists as many items as there is room for, and puts the rest off.
    fn list(&mut self, from: Bound, to: Bound) {
        if self.is_full() {
            return self.put_off(to);
        }
        self.write_open();
        let items = self.set.position(&from)..self.set.position(&to);
        let room = (self.most - self.bytes.len()) / LONGEST_ITEM;
        let listed = items.start..items.end.min(items.start + room);
        let is_cut = listed.end < items.end;
        let mut hlc = self.begin(if is_cut { self.bound_before(listed.end) } else { to }, LIST);
        put_varint(&mut self.bytes, listed.len() as u64);
        for item in &self.set.items[listed] {
            put_varint(&mut self.bytes, item.hlc - hlc);
            hlc = item.hlc;
            self.bytes.extend_from_slice(&item.key.0);
            self.bytes.put_u64(Listed::from(item).hash);
        }
        self.put_off(to);
    }

    /// Begins a range that is not agreed, after one that covers all that is; says the time at which it starts.
    fn begin(&mut self, to: Bound, mode: u8) -> u64 {
        if self.agreed > self.end {
            self.put_end(self.agreed);
            self.bytes.put_u8(AGREED);
        }
        let from = self.end.hlc();
        self.put_end(to);
        self.bytes.put_u8(mode);
        self.agreed = to;
        self.put_off = to;
        from
    }

    fn bound_before(&self, at: usize) -> Bound {
        Bound::between(&self.set.items[at - 1], &self.set.items[at])
    }

    fn put_end(&mut self, end: Bound) {
        match end {
            Bound::End => self.bytes.put_u8(OF_ALL),
            Bound::At((hlc, key)) => {
                let len = 16 - key.0.iter().rev().take_while(|&&byte| byte == 0).count();
                self.bytes.put_u8(len as u8);
                put_varint(&mut self.bytes, hlc - self.end.hlc());
                self.bytes.extend_from_slice(&key.0[..len]);
            }
        }
        self.end = end;
    }
}

/// The ranges of a frame.
struct Ranges<'a> {
    rest: Reader<'a>,
    end: Bound,
}

impl<'a> Ranges<'a> {
    fn new(frame: &'a [u8]) -> Result<Self> {
        let mut rest = Reader::new(frame);
        match rest.u8("a frame's version")? {
            VERSION => Ok(Self { rest, end: START }),
            version => Err(Error::unsupported(format!("reconciliation frames of version {version}, not {VERSION}"))),
        }
    }

    fn next(&mut self) -> Result<Option<(Bound, Bound, Said<'a>)>> {
        if self.rest.remaining() == 0 {
            return Ok(None);
        }
        let from = self.end;
        let to = self.read_end(from)?;
        if to <= from {
            return Err(Error::corrupted("a range of a reconciliation frame is empty"));
        }
        self.end = to;
        let said = match self.rest.u8("what is said of a range")? {
            AGREED => Said::Agreed,
            FINGERPRINT => Said::Fingerprint(self.rest.bytes(12, "a fingerprint")?),
            LIST => Said::List(self.read_list(from, to)?),
            mode => return Err(Error::corrupted(format!("a range of a reconciliation frame has mode {mode}"))),
        };
        Ok(Some((from, to, said)))
    }

    fn read_end(&mut self, from: Bound) -> Result<Bound> {
        let len = self.rest.u8("the end of a range")?;
        if len == OF_ALL {
            return Ok(Bound::End);
        }
        let hlc = self.read_hlc(from.hlc())?;
        let mut key = [0; 16];
        let prefix = key.get_mut(..usize::from(len));
        let prefix = prefix.ok_or_else(|| Error::corrupted(format!("{len} bytes of a key of 16")))?;
        prefix.copy_from_slice(self.rest.bytes(usize::from(len), "the end of a range")?);
        Ok(Bound::At((hlc, IdKey(key))))
    }

    fn read_list(&mut self, from: Bound, to: Bound) -> Result<Vec<Listed>> {
        let count = take_varint(&mut self.rest)?;
        // Each takes 25 bytes at least.
        let mut items: Vec<Listed> = Vec::with_capacity((count as usize).min(self.rest.remaining() / 25));
        let mut hlc = from.hlc();
        for _ in 0..count {
            hlc = self.read_hlc(hlc)?;
            let mut key = [0; 16];
            key.copy_from_slice(self.rest.bytes(16, "a key")?);
            let item = Listed { hlc, key: IdKey(key), hash: self.rest.u64("a hash")? };
            let place = Bound::At((hlc, item.key));
            let is_next = items.last().is_none_or(|last| (last.hlc, last.key) < (hlc, item.key));
            if !is_next || place < from || place >= to {
                return Err(Error::corrupted("a list of a reconciliation frame is not in order, or leaves its range"));
            }
            items.push(item);
        }
        Ok(items)
    }

    fn read_hlc(&mut self, before: u64) -> Result<u64> {
        let delta = take_varint(&mut self.rest)?;
        before.checked_add(delta).ok_or_else(|| Error::corrupted("a time of a reconciliation frame is past all times"))
    }
}

/// LEB128: seven bits a byte, the lowest first.
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_varint(reader: &mut Reader<'_>) -> Result<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = reader.u8("a number")?;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Error::corrupted("a number of a reconciliation frame has more than 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::SpaceKey;
    use crate::types::{PointId, Stamp};
    use alloc::collections::BTreeSet;

    /// A generator of numbers (splitmix64).
    struct Random(u64);

    impl Random {
        fn below(&mut self, n: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % n
        }
    }

    fn item(id: u64, hlc: u64, content: u8) -> Item {
        let stamp = Stamp { hlc, writer: 1, cseq: id };
        Item::new(&SpaceKey([7; 32]), PointId::Int(id).key(), stamp, &[content; 16])
    }

    /// Two sets of about `n` items with about `d` differences of all kinds, and times of which many are equal when there
    /// are few.
    fn sets(n: u64, d: u64, times: u64, random: &mut Random) -> (ItemSet, ItemSet) {
        let common: Vec<Item> = (0..n).map(|id| item(id, random.below(times), 0)).collect();
        let (mut here, mut there) = (common.clone(), common);
        for id in 0..d {
            let hlc = random.below(times);
            match random.below(4) {
                0 => here.push(item(n + id, hlc, 0)),
                1 => there.push(item(n + id, hlc, 0)),
                2 if !here.is_empty() => drop(here.swap_remove(random.below(here.len() as u64) as usize)),
                _ => {
                    here.push(item(n + id, hlc, 0));
                    there.push(item(n + id, hlc, 1));
                }
            }
        }
        (ItemSet::new(here), ItemSet::new(there))
    }

    fn run(here: &ItemSet, there: &ItemSet, most: usize) -> (Difference, usize, usize) {
        let (mut initiator, mut frame) = Initiator::start(here.clone(), most);
        let (mut rounds, mut bytes) = (0, 0);
        loop {
            let answer = respond(there, &frame, most).unwrap();
            rounds += 1;
            bytes += frame.len() + answer.len();
            assert!(frame.len().max(answer.len()) <= 2 * most, "{} and {} bytes", frame.len(), answer.len());
            assert!(rounds < 2_000, "no end");
            let Some(next) = initiator.receive(&answer).unwrap() else {
                return (initiator.finish(), rounds, bytes);
            };
            frame = next;
        }
    }

    fn check(here: &ItemSet, there: &ItemSet, most: usize, what: &str) -> (usize, usize) {
        let (found, rounds, bytes) = run(here, there, most);
        let (ours, theirs): (BTreeSet<Item>, BTreeSet<Item>) =
            (here.items.iter().copied().collect(), there.items.iter().copied().collect());
        let here: Vec<Item> = ours.difference(&theirs).copied().collect();
        let there: Vec<_> = theirs.difference(&ours).map(|item| (item.hlc, item.key)).collect();
        let Difference { here: mut ours_alone, there: mut theirs_alone } = found;
        ours_alone.sort_unstable();
        theirs_alone.sort_unstable();
        assert!(ours_alone == here, "{what}: {} found, {} are", ours_alone.len(), here.len());
        assert!(theirs_alone == there, "{what}: {} found, {} are", theirs_alone.len(), there.len());
        (rounds, bytes)
    }

    #[test]
    fn the_difference_is_that_of_the_sets_whatever_their_sizes_times_and_frames() {
        for seed in 0..300 {
            let mut random = Random(seed);
            let (n, d) = ([0, 1, 30, 500, 3_000][random.below(5) as usize], [0, 1, 5, 100][random.below(4) as usize]);
            let times = [1, 3, 1_000, u64::MAX][random.below(4) as usize];
            let (here, there) = sets(n, d, times, &mut random);
            let most = [LEAST_FRAME, 60_000][random.below(2) as usize];
            check(
                &here,
                &there,
                most,
                &format!("seed {seed}: {n} items, {d} differences, {times} times, {most} bytes"),
            );
        }
    }

    #[test]
    fn one_set_may_be_empty_or_wholly_other() {
        let many = ItemSet::new((0..5_000).map(|id| item(id, id, 0)).collect());
        let others = ItemSet::new((5_000..9_000).map(|id| item(id, id % 7, 0)).collect());
        let none = ItemSet::new(Vec::new());
        for (here, there) in [(&many, &none), (&none, &many), (&many, &others), (&others, &many), (&none, &none)] {
            check(here, there, 60_000, "far apart");
        }
    }

    #[test]
    fn a_small_difference_costs_little() {
        let mut random = Random(1);
        let common: Vec<Item> = (0..100_000).map(|id| item(id, random.below(1 << 40), 0)).collect();
        let here = ItemSet::new(common.clone());
        let (rounds, bytes) = check(&here, &here, 60_000, "equal");
        assert!(rounds == 1 && bytes < 350, "{bytes} bytes in {rounds} rounds for equal sets");
        let there = ItemSet::new(common[1..].to_vec());
        let (rounds, bytes) = check(&here, &there, 60_000, "one of 100 000");
        assert!(rounds <= 3 && bytes < 2_500, "{bytes} bytes in {rounds} rounds for one difference");
    }

    #[test]
    fn frames_that_were_changed_on_their_way_are_errors_or_frames_and_never_a_panic() {
        let mut random = Random(2);
        let (here, there) = sets(2_000, 50, 1_000, &mut random);
        let (mut initiator, first) = Initiator::start(here.clone(), 60_000);
        let answer = respond(&there, &first, 60_000).unwrap();
        let second = initiator.receive(&answer).unwrap().unwrap();
        for frame in [first, answer, second] {
            for _ in 0..3_000 {
                let mut changed = frame.clone();
                for _ in 0..=random.below(3) {
                    let at = random.below(changed.len() as u64) as usize;
                    changed[at] = random.below(256) as u8;
                }
                changed.truncate(1 + random.below(changed.len() as u64) as usize);
                drop(respond(&there, &changed, 60_000));
                drop(Initiator::start(here.clone(), 60_000).0.receive(&changed));
            }
        }
        assert_eq!(respond(&there, &[2], 60_000).unwrap_err().kind(), crate::error::ErrorKind::Unsupported);
    }

    #[test]
    fn a_count_that_no_frame_can_hold_takes_no_memory() {
        let mut frame = Vec::from([VERSION, OF_ALL, LIST]);
        put_varint(&mut frame, u64::MAX >> 1);
        let set = ItemSet::new(Vec::new());
        assert_eq!(respond(&set, &frame, 60_000).unwrap_err().kind(), crate::error::ErrorKind::Corrupted);
    }
}
