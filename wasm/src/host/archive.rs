//! The whole database as an archive, out and in.
//!
//! An import is all or nothing. Its collections get their space numbers, and a row in `meta` that marks these as
//! unfinished, in one strict transaction; then their points go into the log as any others do, while no row of the
//! catalog speaks of them; the last transaction, strict too, names all of them and takes the mark away. Whatever fails
//! in between is undone, and what a crash leaves is swept at the next opening, by the mark. Space numbers are never
//! given twice, so that a mark that was left behind speaks of nothing else.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use hyperspace_core::archive::{ArchiveReader, Block, Export};
use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::collection::{Collection, CollectionConfig, Snapshot};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::SpaceId;

use super::database::{Database, Entry, OpenCollection};
use super::identity::{Identity, identity_key};
use super::rows::{encode_space, space_key};
use crate::kv::{Blob, Durability, FrameKind, Key, Kv, KvTx, Store, frame, unframe};

pub(super) fn import_key() -> Key {
    b"import".to_vec()
}

/// The mark of an import that is not finished.
pub(super) fn encode_import(spaces: &Range<u64>) -> Vec<u8> {
    let mut body = Vec::with_capacity(16);
    body.put_u64(spaces.start);
    body.put_u64(spaces.end);
    frame(FrameKind::Import, 0, &body)
}

pub(super) fn decode_import(blob: &Blob) -> Result<Range<u64>> {
    let (_, body) = unframe(FrameKind::Import, blob, "the mark of an import")?;
    let mut reader = Reader::new(&body);
    let spaces = reader.u64("the first space")?..reader.u64("the last space")?;
    reader.finish("the mark of an import")?;
    // No import is begun without a collection, and no store takes a range that is upside down.
    if spaces.is_empty() {
        return Err(Error::corrupted(format!("the mark of an import names the spaces {spaces:?}")));
    }
    Ok(spaces)
}

/// Deletes what an import that was interrupted has left.
///
/// # Errors
/// `Corrupted` when its mark is.
pub(super) fn sweep_import(mark: &Blob, tx: &mut KvTx) -> Result<()> {
    remove(&decode_import(mark)?, tx);
    Ok(())
}

/// Deletes everything of an import, its mark too.
fn remove(spaces: &Range<u64>, tx: &mut KvTx) {
    for store in [Store::Spaces, Store::Wal] {
        tx.delete_range(store, space_key(SpaceId(spaces.start)), space_key(SpaceId(spaces.end)));
    }
    tx.delete(Store::Meta, import_key());
}

/// Collections that no catalog names yet.
#[derive(Default)]
struct Import {
    spaces: Range<u64>,
    collections: Vec<Rc<OpenCollection>>,
}

impl<K: Kv> Database<K> {
    /// Writes an archive of all collections as they are at one moment, piece by piece. Writes go on meanwhile.
    ///
    /// # Errors
    /// As [`Database::collection`]; whatever `take` answers.
    pub async fn write_archive(&self, mut take: impl AsyncFnMut(Vec<u8>) -> Result<()>) -> Result<()> {
        for piece in Export::new(self.everything().await?) {
            take(piece).await?;
        }
        Ok(())
    }

    /// Loads what is not loaded, and then takes all views without another await.
    async fn everything(&self) -> Result<Vec<Arc<Snapshot>>> {
        loop {
            self.check_open()?;
            self.settle_loaded().await?;
            self.check_whole()?;
            let mut views = Vec::new();
            let mut unloaded = None;
            for (name, (_, entry)) in &*self.spaces.borrow() {
                match entry {
                    Entry::Open(collection) => views.push(collection.snapshot()),
                    Entry::Stored(_) => unloaded = Some(name.clone()),
                }
            }
            let Some(name) = unloaded else { return Ok(views) };
            match self.collection(&name).await {
                // It was deleted meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                loaded => drop(loaded?),
            }
        }
    }

    /// Makes the collections of an archive, all of them or none; `next` gives the bytes of the archive in order, so many
    /// as are asked for, or fewer where it ends. They survive what a strict write survives, and wait for their graphs.
    ///
    /// # Errors
    /// `AlreadyExists` when a name is taken; `Corrupted`, `Unsupported` or `InvalidArgument` as
    /// [`ArchiveReader::take`]; whatever `next` or the store answers.
    pub async fn read_archive(
        &self,
        next: impl AsyncFnMut(usize) -> Result<Vec<u8>>,
    ) -> Result<Vec<Rc<OpenCollection>>> {
        let _held = self.importing.hold().await;
        self.check_open()?;
        let mut import = Import::default();
        let outcome = self.fill(&mut import, next).await;
        match outcome {
            Ok(()) => Ok(import.collections),
            Err(error) => {
                // What cannot be deleted now is found by its mark at the next opening; had the last transaction been
                // applied after all, there is no mark, and everything is there.
                let _ = self.undo(&import).await;
                Err(error)
            }
        }
    }

    async fn fill(&self, import: &mut Import, mut next: impl AsyncFnMut(usize) -> Result<Vec<u8>>) -> Result<()> {
        let mut reader = ArchiveReader::default();
        let mut done = 0;
        loop {
            let block = reader.take(&next(reader.wanted()).await?)?;
            let told = reader.collections();
            if matches!(block, Some(Block::Points(_) | Block::Done(_))) && import.collections.is_empty() {
                self.begin_import(import, told).await?;
            }
            match block {
                Some(Block::Collection) => told.last().map_or(Ok(()), |config| self.check_name(config))?,
                Some(Block::Points(points)) => {
                    let collection = &import.collections[done];
                    self.upsert(collection, &points.as_batch(), Some(Durability::Relaxed), None).await?;
                }
                Some(Block::Done(_)) => done += 1,
                Some(Block::End) => return self.finish_import(import).await,
                None => {}
            }
        }
    }

    fn check_name(&self, config: &CollectionConfig) -> Result<()> {
        self.check_whole()?;
        if self.spaces.borrow().contains_key(config.name.as_str()) {
            return Err(Error::already_exists(format!("collection `{}` exists", config.name)));
        }
        Ok(())
    }

    /// Makes the collections for this engine alone, and marks their spaces in the store.
    async fn begin_import(&self, import: &mut Import, configs: &[CollectionConfig]) -> Result<()> {
        let _held = self.hold_settled().await?;
        let first = self.identity.get().next_space;
        import.spaces = first..first + configs.len() as u64;
        for (space, config) in import.spaces.clone().zip(configs) {
            let collection = Collection::create(config.clone())?;
            import.collections.push(OpenCollection::new(SpaceId(space), config.name.as_str(), collection));
        }
        // Before it is known whether the mark is stored: a space that may be marked is nobody else's.
        let identity = Identity { next_space: import.spaces.end, ..self.identity.get() };
        self.identity.set(identity);
        let mut tx = self.transaction();
        tx.put(Store::Meta, identity_key(), identity.encode());
        tx.put(Store::Meta, import_key(), encode_import(&import.spaces));
        self.store(&tx, Durability::Strict).await
    }

    /// Names the collections. Strict, so that what was logged relaxed is on the device as well.
    async fn finish_import(&self, import: &Import) -> Result<()> {
        let _held = self.cataloguing.hold().await;
        let _writing = self.hold_settled().await?;
        let mut tx = self.transaction();
        for collection in &import.collections {
            let engine = collection.engine.borrow();
            self.check_name(engine.config())?;
            let row = encode_space(collection.name(), &engine.manifest().encode());
            tx.put(Store::Spaces, space_key(collection.space), row);
        }
        tx.delete(Store::Meta, import_key());
        self.store(&tx, Durability::Strict).await?;
        let mut spaces = self.spaces.borrow_mut();
        for collection in &import.collections {
            spaces.insert(collection.name().to_owned(), (collection.space, Entry::Open(Rc::clone(collection))));
        }
        Ok(())
    }

    async fn undo(&self, import: &Import) -> Result<()> {
        if import.spaces.is_empty() {
            return Ok(());
        }
        let _held = self.hold_settled().await?;
        let mut tx = self.transaction();
        remove(&import.spaces, &mut tx);
        self.store(&tx, Durability::Strict).await
    }
}
