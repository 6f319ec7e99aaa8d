//! The collections of a database: reading the list, opening, creating, deleting, taking out and bringing in.

use std::rc::Rc;
use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{Collection, CollectionConfig, LiveSegment, Snapshot, Tuning};
use hyperspace_core::error::{Error, ErrorKind, Result, shortened};
use hyperspace_core::log::{MAX_CLOCK_LEAD_MS, RequestId};
use hyperspace_core::quant::Quantization;
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::sort::sort;
use hyperspace_core::types::{CollectionName, Lsn, Offset, SegmentId, SpaceId};

use super::answers::Asked;
use super::database::{Database, Entry, OpenCollection, was_deleted};
use super::doubt::Tried;
use super::identity::{Identity, identity_key};
use super::rows::{END, decode_space, encode_space, is_arriving, segment_key, space_key, space_of, space_range};
use crate::kv::{Blob, Durability, Key, Kv, Store};

/// Rows of the catalog read at once; a manifest is small.
const WINDOW: u32 = 256;

impl<K: Kv> Database<K> {
    /// Reads the names and manifests, and sweeps the segments that no manifest names.
    ///
    /// A row that cannot be read takes nothing else out of service. But nobody knows then what it names, so nothing
    /// is swept.
    pub(super) async fn read_catalog(&self) -> Result<()> {
        let mut named = Vec::new();
        let mut is_whole = true;
        let rows = self.all_rows(Store::Spaces).await?;
        for (key, blob) in &rows {
            if let Err(error) = self.read_entry(key, blob, &mut named) {
                self.environment.report(&error);
                is_whole = false;
            }
        }
        if !self.owns() {
            self.unowned.replace(rows);
        } else if is_whole {
            sort(&mut named);
            // Keys only: a segment that stays is read when its collection is opened, one that goes is not read at all.
            let stored = self.kv.keys(Store::Segs, &[], END).await?;
            let is_dead = |key: &Key| !is_arriving(key) && named.binary_search(key).is_err();
            self.sweep(stored.into_iter().filter(is_dead).collect()).await;
        }
        Ok(())
    }

    fn read_entry(&self, key: &[u8], blob: &Blob, named: &mut Vec<Key>) -> Result<()> {
        let space = space_of(key)?;
        // A creation that was applied although it was reported as failed: its number is taken.
        let next_space = self.identity.get().next_space.max(space.0 + 1);
        self.identity.set(Identity { next_space, ..self.identity.get() });
        let (name, manifest) = decode_space(blob, space).inspect_err(|error| {
            self.damage.replace(Some(error.clone()));
        })?;
        self.spaces.borrow_mut().insert(name.clone(), (space, Entry::Stored(manifest.clone())));
        let segments = Manifest::decode(&manifest).map_err(|error| in_collection(&name, &error))?.segments;
        named.extend(segments.iter().map(|segment| segment_key(space, &SegmentId(segment.id))));
        Ok(())
    }

    /// Checks that every row of the catalog was read: one that was not may be any collection's, and a new one of its
    /// name would look as if everything were gone.
    pub(super) fn check_whole(&self) -> Result<()> {
        self.damage.borrow().clone().map_or(Ok(()), Err)
    }

    pub(super) async fn all_rows(&self, store: Store) -> Result<Vec<(Key, Blob)>> {
        let mut rows = Vec::new();
        let mut from = Vec::new();
        loop {
            let window = self.kv.range(store, &from, END, WINDOW).await?;
            let Some((last, _)) = window.last() else { return Ok(rows) };
            from.clone_from(last);
            from.push(0);
            rows.extend(window);
        }
    }

    /// The names of all collections.
    pub fn names(&self) -> Vec<String> {
        self.spaces.borrow().keys().cloned().collect()
    }

    /// Opens a collection: its segments as they are, then its log. Nothing is indexed.
    ///
    /// # Errors
    /// `NotFound` when there is none of this name; `Corrupted` when what is stored fails its checks.
    pub async fn collection(&self, name: &str) -> Result<Rc<OpenCollection>> {
        self.check_open()?;
        let _held = self.cataloguing.hold().await;
        self.settle_loaded().await?;
        match self.find(name) {
            Some((_, Found::Open(collection))) => Ok(collection),
            Some((space, Found::Stored(manifest))) => self.load_collection(space, name, &manifest).await,
            None => {
                self.check_whole()?;
                Err(Error::not_found(format!("there is no collection `{}`", shortened(name))))
            }
        }
    }

    /// Opens the collection that has this name and this number: not another one that was made since under the name.
    ///
    /// # Errors
    /// `NotFound` when it was deleted; as [`Database::collection`].
    pub async fn reach(&self, name: &str, space: SpaceId) -> Result<()> {
        match self.collection(name).await {
            Ok(collection) if collection.space == space => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Err(was_deleted(name)),
        }
    }

    /// The collection that has this number and was reached.
    ///
    /// # Errors
    /// `NotFound` when it was deleted since.
    pub fn reached(&self, space: SpaceId) -> Result<Rc<OpenCollection>> {
        let spaces = self.spaces.borrow();
        let reached = spaces.values().find_map(|(is, entry)| match entry {
            Entry::Open(collection) if *is == space => Some(Rc::clone(collection)),
            _ => None,
        });
        reached.ok_or_else(|| Error::not_found(format!("collection number {} was deleted", space.0)))
    }

    /// Opens a collection, or creates it when there is none.
    ///
    /// # Errors
    /// `AlreadyExists` when there is one of another dimension or metric; `Unsupported` when its graph has other
    /// settings; as [`Database::collection`].
    pub fn collection_or_create(&self, config: CollectionConfig) -> impl Future<Output = Result<Rc<OpenCollection>>> {
        let quantization = Some(config.quantization);
        self.collection_as(config, quantization)
    }

    /// The same for whoever may not care about the quantization: `None` takes what is there, and that of `config` for a new one.
    ///
    /// # Errors
    /// As [`Database::collection_or_create`].
    pub async fn collection_as(
        &self,
        config: CollectionConfig,
        quantization: Option<Quantization>,
    ) -> Result<Rc<OpenCollection>> {
        self.check_open()?;
        let held = self.cataloguing.hold().await;
        self.settle_loaded().await?;
        let name = config.name.as_str().to_owned();
        let existing = match self.find(&name) {
            None => return self.create(config).await,
            Some((_, Found::Open(collection))) => collection,
            Some((space, Found::Stored(manifest))) => self.load_collection(space, &name, &manifest).await?,
        };
        drop(held);
        self.reconcile(&existing, &config, quantization).await?;
        Ok(existing)
    }

    async fn create(&self, config: CollectionConfig) -> Result<Rc<OpenCollection>> {
        let name = config.name.as_str().to_owned();
        let collection = Collection::create(config)?;
        let manifest = collection.manifest().encode();
        let space = self.add_space(&name, &manifest, &[], None).await?;
        let open = OpenCollection::new(space, &name, collection);
        self.spaces.borrow_mut().insert(name, (space, Entry::Open(Rc::clone(&open))));
        Ok(open)
    }

    /// Stores a new space with its segments, if it comes with some, and the request that it answers.
    async fn add_space(
        &self,
        name: &str,
        manifest: &[u8],
        segments: &[Arc<Segment>],
        request: Option<RequestId>,
    ) -> Result<SpaceId> {
        let _held = self.hold_settled().await?;
        self.check_whole()?;
        let space = SpaceId(self.identity.get().next_space);
        for segment in segments {
            self.stage(space, &segment.id(), segment.bytes()).await?;
        }
        let identity = Identity { next_space: space.0 + 1, ..self.identity.get() };
        let mut tx = self.transaction();
        tx.put(Store::Meta, identity_key(), identity.encode());
        tx.put(Store::Spaces, space_key(space), encode_space(name, manifest));
        if request.is_some() {
            self.answers.borrow_mut().write(&mut tx, request);
        }
        self.store(&tx, Durability::Strict).await?;
        self.identity.set(identity);
        self.note_done(request);
        Ok(space)
    }

    async fn load_collection(&self, space: SpaceId, name: &str, manifest: &[u8]) -> Result<Rc<OpenCollection>> {
        let loaded = self.load_rows(space, name, manifest).await.map_err(|error| in_collection(name, &error))?;
        self.spaces.borrow_mut().insert(name.to_owned(), (space, Entry::Open(Rc::clone(&loaded))));
        Ok(loaded)
    }

    async fn load_rows(&self, space: SpaceId, name: &str, manifest: &[u8]) -> Result<Rc<OpenCollection>> {
        let manifest = Manifest::decode(manifest)?;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for named in &manifest.segments {
            segments.push(self.load(space, named).await?);
        }
        let collection = OpenCollection::new(space, name, Collection::open(&manifest, &segments)?);
        self.replay_log(&collection, Lsn(manifest.sealed_through)).await?;
        Ok(collection)
    }

    /// Compares what was asked for with what is there; only how it searches can be changed.
    async fn reconcile(
        &self,
        existing: &OpenCollection,
        asked: &CollectionConfig,
        quantization: Option<Quantization>,
    ) -> Result<()> {
        let is = existing.engine.borrow().config().clone();
        let name = &existing.name;
        if (is.dimension, is.metric) != (asked.dimension, asked.metric) {
            return Err(Error::already_exists(format!(
                "collection `{name}` exists with {} dimensions and metric {}, not {} and {}",
                is.dimension,
                is.metric.as_str(),
                asked.dimension,
                asked.metric.as_str()
            )));
        }
        if let Some(asked) = quantization.filter(|asked| *asked != is.quantization) {
            return Err(Error::unsupported(format!(
                "collection `{name}` has quantization {}; rebuilding it with {asked} is not built yet",
                is.quantization
            )));
        }
        let (built, wanted) = (is.hnsw_params(), asked.hnsw_params());
        let m_differs = asked.m.is_some() && wanted.m != built.m;
        let ef_differs = asked.ef_construction.is_some() && wanted.ef_construction != built.ef_construction;
        if m_differs || ef_differs {
            return Err(Error::unsupported(format!(
                "collection `{name}` is built with m {} and ef_construction {}; rebuilding it with others is not built yet",
                built.m, built.ef_construction
            )));
        }
        if asked.ef_search.is_none() || asked.ef_search == is.ef_search {
            return Ok(());
        }
        let tuning = Tuning { ef_search: Some(asked.ef_search), ..Tuning::default() };
        let _held = self.hold_settled().await?;
        existing.check()?;
        let manifest = existing.engine.borrow().manifest_tuned(tuning)?.encode();
        let mut tx = self.transaction();
        tx.put(Store::Spaces, space_key(existing.space), encode_space(name, &manifest));
        // Strict: a large manifest written relaxed would not be flushed by what comes after it.
        self.store(&tx, Durability::Strict).await?;
        existing.engine.borrow_mut().tune(tuning)
    }

    /// Deletes a collection with everything it holds, in one transaction; false when there is none. Asked again, it
    /// leaves a collection of this name alone that was made since.
    ///
    /// # Errors
    /// Whatever the store answers.
    pub async fn delete_collection(&self, name: &str, asked: Option<Asked>) -> Result<bool> {
        self.check_open()?;
        let _held = self.cataloguing.hold().await;
        let _writing = self.hold_settled().await?;
        if self.answered(asked).is_some() {
            return Ok(true);
        }
        let request = asked.map(|asked| asked.id);
        let Some((space, _)) = self.find(name) else { return Ok(false) };
        let (from, to) = space_range(space);
        let mut tx = self.transaction();
        tx.delete(Store::Spaces, space_key(space));
        for store in [Store::Wal, Store::Segs, Store::Chunks] {
            tx.delete_range(store, from.clone(), to.clone());
        }
        if request.is_some() {
            self.answers.borrow_mut().write(&mut tx, request);
        }
        if let Err(error) = self.store(&tx, Durability::Strict).await {
            self.doubt(Tried::Deletion(space, name.to_owned(), request));
            return Err(error);
        }
        self.forget(name);
        self.note_done(request);
        Ok(true)
    }

    /// Takes a collection whose rows are gone out of service.
    pub(super) fn forget(&self, name: &str) {
        if let Some((_, Entry::Open(collection))) = self.spaces.borrow_mut().remove(name) {
            collection.dropped.set(true);
            self.job.borrow_mut().take_if(|job| Rc::ptr_eq(&job.collection, &collection));
        }
    }

    /// The manifest and the sealed segments of a collection, as bytes.
    pub fn export(&self, collection: &OpenCollection) -> (Vec<u8>, Vec<Arc<Segment>>) {
        let engine = collection.engine.borrow();
        let segments = engine.snapshot().segments().iter().map(|live| Arc::clone(&live.segment)).collect();
        (engine.manifest().encode(), segments)
    }

    /// Makes a collection of exported bytes, checked as anything from outside is.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `Corrupted` when the bytes fail their checks.
    pub async fn import(&self, name: &str, manifest: &[u8], segments: &[Vec<u8>], asked: Option<Asked>) -> Result<()> {
        self.check_open()?;
        let name = CollectionName::new(name)?;
        let _held = self.cataloguing.hold().await;
        if self.answered(asked).is_some() {
            return Ok(());
        }
        if self.find(name.as_str()).is_some() {
            return Err(Error::already_exists(format!("collection `{name}` exists")));
        }
        let mut manifest = Manifest::decode(manifest)?;
        manifest.name = name.as_str().as_bytes().to_vec();
        // No log comes along: the copy counts its records anew.
        manifest.sealed_through = 0;
        // Nor does what it was in replication: the copy has met nobody.
        manifest.sync = Vec::new();
        if segments.len() != manifest.segments.len() {
            let (given, named) = (segments.len(), manifest.segments.len());
            return Err(Error::invalid_argument(format!("{given} segments for a manifest that names {named}")));
        }
        let mut opened = Vec::with_capacity(segments.len());
        for (named, bytes) in manifest.segments.iter().zip(segments) {
            let bytes = Arc::new(AlignedBytes::copy_of(bytes));
            opened.push(Arc::new(Segment::open(SegmentId(named.id), bytes, Checks::All)?));
        }
        let collection = Collection::open(&manifest, &opened)?;
        if collection.newest_hlc() >> 16 > self.environment.now_ms().saturating_add(MAX_CLOCK_LEAD_MS) {
            // Observed once, it would keep this database from giving stamps.
            return Err(Error::invalid_argument("the export is dated more than a year ahead of this clock"));
        }
        if has_something_twice(&collection.snapshot()) {
            return Err(Error::corrupted("the export has a segment, a live point or a row twice"));
        }
        let space = self
            .add_space(name.as_str(), &collection.manifest().encode(), &opened, asked.map(|asked| asked.id))
            .await?;
        self.observe(collection.newest_hlc());
        let open = OpenCollection::new(space, name.as_str(), collection);
        self.spaces.borrow_mut().insert(name.as_str().to_owned(), (space, Entry::Open(open)));
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(SpaceId, Found)> {
        self.spaces.borrow().get(name).map(|(space, entry)| {
            let found = match entry {
                Entry::Stored(manifest) => Found::Stored(manifest.clone()),
                Entry::Open(collection) => Found::Open(Rc::clone(collection)),
            };
            (*space, found)
        })
    }
}

/// Whether a segment is named twice, an id is live in two, or a row, dead or alive, is stored in two: merges rely on it
/// that none is.
fn has_something_twice(snapshot: &Snapshot) -> bool {
    let segments = snapshot.segments();
    segments.iter().enumerate().any(|(number, earlier)| {
        let later = &segments[number + 1..];
        let (keys, offsets) = earlier.segment.keys();
        let mut rows = keys.iter().zip(offsets.iter().map(|&offset| Offset(offset)));
        let again = |s: &LiveSegment, key, offset| {
            s.segment.find(key).is_some_and(|other| {
                let both_live = earlier.live.is_live(offset) && s.live.is_live(other);
                both_live || earlier.segment.stamp(offset) == s.segment.stamp(other)
            })
        };
        later.iter().any(|s| s.segment.id() == earlier.segment.id())
            || rows.any(|(key, offset)| later.iter().any(|s| again(s, key, offset)))
    })
}

fn in_collection(name: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("collection `{name}` cannot be opened: {}", error.message()))
}

/// A catalog entry, taken out of its cell.
enum Found {
    Stored(Vec<u8>),
    Open(Rc<OpenCollection>),
}
