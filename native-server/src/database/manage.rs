//! Collections come, change and go. Each is durable before it is answered.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use hyperspace_core::collection::{Collection, CollectionConfig, Tuning};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::sync::SpaceKey;
use hyperspace_core::types::{SpaceId, Tenant};

use super::collection::OpenCollection;
use super::{Database, Entry, held, read, write};
use crate::disk::failed;
use crate::mutation::{self, Mutation};
use crate::store::catalog::Owned;
use crate::store::files::{self, SPACES, manifest_file, space_directory};

impl Database {
    /// Makes an empty collection.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken; `InvalidArgument` when a setting is out of range.
    pub fn create(&self, tenant: &Tenant, config: CollectionConfig) -> Result<Arc<OpenCollection>> {
        let engine = Collection::create_leading(config, self.new_key(), self.term.load(Ordering::Relaxed))?;
        let managing = held(&self.managing);
        let space = self.unused_space();
        self.put_new(&managing, tenant, space, engine)
    }

    /// Stores an empty collection and puts it into service; the caller holds `managing`.
    pub(super) fn put_new(
        &self,
        _managing: &MutexGuard<'_, ()>,
        tenant: &Tenant,
        space: SpaceId,
        mut engine: Collection,
    ) -> Result<Arc<OpenCollection>> {
        engine.set_policy(self.options.policy);
        let name = engine.config().name.as_str().to_owned();
        let _layout = self.change_files()?;
        if read(&self.spaces).contains_key(&(tenant.clone(), name.clone())) {
            return Err(Error::already_exists(format!("collection `{name}` exists")));
        }
        let owned = Owned { tenant: tenant.name().to_owned(), name: name.clone() };
        // What fails between the two is swept when the database is opened again.
        self.store_new(space, &engine.manifest().encode())?;
        self.change_catalog(|catalog| drop(catalog.spaces.insert(space, owned)))?;
        let collection = OpenCollection::new(space, tenant.clone(), engine, self.told.clone());
        write(&self.numbered).insert(space, Arc::clone(&collection));
        write(&self.spaces).insert((tenant.clone(), name), Entry::Open(Arc::clone(&collection)));
        self.tell_of_catalog();
        Ok(collection)
    }

    /// Deletes a collection with everything in it, a damaged one too.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn delete_collection(&self, tenant: &Tenant, name: &str) -> Result<()> {
        let _managing = held(&self.managing);
        let _layout = self.change_files()?;
        let key = (tenant.clone(), name.to_owned());
        let entry = read(&self.spaces).get(&key).cloned();
        let entry =
            entry.ok_or_else(|| Error::not_found(format!("there is no collection `{}`", name.escape_debug())))?;
        let space = match &entry {
            Entry::Open(collection) => collection.space(),
            Entry::Damaged(space, _) => *space,
        };
        self.change_catalog(|catalog| drop(catalog.spaces.remove(&space)))?;
        write(&self.spaces).remove(&key);
        write(&self.numbered).remove(&space);
        self.tell_of_catalog();
        let _flipping = match &entry {
            Entry::Open(collection) => {
                collection.mark_dropped();
                Some(held(&collection.flipping))
            }
            Entry::Damaged(..) => None,
        };
        if let Err(error) = self.disk().remove_directory(&space_directory(space)) {
            tracing::warn!(%error, "files of a deleted collection stay until the next start");
        }
        self.cut_log();
        self.shorten_log();
        Ok(())
    }

    /// Changes how a collection searches and builds, from the next request on and for good.
    ///
    /// # Errors
    /// `InvalidArgument` when a number is out of range.
    pub fn configure(&self, collection: &OpenCollection, tuning: Tuning) -> Result<()> {
        let _layout = self.change_files()?;
        let _flipping = held(&collection.flipping);
        collection.check()?;
        let manifest = collection.read(|engine| engine.manifest_tuned(tuning))?;
        self.replace_manifest(collection.space(), &manifest.encode())?;
        collection.write(|engine| engine.tune(tuning))?;
        self.tell_of_catalog();
        Ok(())
    }

    /// Puts a manifest in the place of another; the caller holds the collection's `flipping`.
    ///
    /// It says which points are dead, also those that relaxed writes have replaced since. Had it outlived them, a loss of
    /// power would take both the old points and the new ones: so the log is made durable first.
    pub(super) fn replace_manifest(&self, space: SpaceId, manifest: &[u8]) -> Result<()> {
        mutation::unless(Mutation::ManifestBeforeLog, || self.sync_log())?;
        files::replace(self.disk(), &manifest_file(space), manifest).map_err(|failure| self.unreplaced(failure))
    }

    pub(super) fn by_number(&self, space: SpaceId) -> Option<Arc<OpenCollection>> {
        read(&self.numbered).get(&space).cloned()
    }

    pub(super) fn is_damaged(&self, space: SpaceId) -> bool {
        read(&self.spaces).values().any(|entry| matches!(entry, Entry::Damaged(damaged, _) if *damaged == space))
    }

    pub(super) fn is_any_damaged(&self) -> bool {
        read(&self.spaces).values().any(|entry| matches!(entry, Entry::Damaged(..)))
    }

    /// The key of a new space's digests.
    fn new_key(&self) -> SpaceKey {
        let mut key = SpaceKey([0; 32]);
        key.0.chunks_exact_mut(8).for_each(|part| part.copy_from_slice(&self.environment.random_u64().to_le_bytes()));
        key
    }

    /// Numbers are drawn, not counted: one that was ever used, if only in a log that is still there, hardly comes again.
    fn unused_space(&self) -> SpaceId {
        loop {
            let space = SpaceId(self.environment.random_u64());
            if !held(&self.catalog).spaces.contains_key(&space) {
                return space;
            }
        }
    }

    fn store_new(&self, space: SpaceId, manifest: &[u8]) -> Result<()> {
        let directory = space_directory(space);
        self.disk().create_directory(&directory).map_err(|error| failed("making", &directory, error))?;
        files::replace(self.disk(), &manifest_file(space), manifest).map_err(|failure| failure.error)?;
        let spaces = Path::new(SPACES);
        self.disk().sync_directory(spaces).map_err(|error| failed("syncing", spaces, error))
    }
}
