//! Opening a directory: catalog, manifests and segments, then the log; what a crash left over is swept.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};

use hyperspace_core::collection::Collection;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::types::{SegmentId, SpaceId, Tenant};
use tokio::sync::{Notify, watch};

use super::builders::Builders;
use super::collection::OpenCollection;
use super::options::{DatabaseOptions, State};
use super::{Database, Entry, Environment, Workers};
use crate::disk::{Disk, failed};
use crate::mutation::{self, Mutation};
use crate::store::catalog::Catalog;
use crate::store::files::{
    self, CATALOG, LOG, MANIFEST, SNAPSHOTS, SPACES, UNFINISHED, manifest_file, segment_file, space_directory,
    space_name,
};
use crate::store::log::Log;
use crate::store::replay::{Records, replay};
use crate::tenancy;

/// A collection on its way into service.
struct Recovering {
    tenant: Tenant,
    name: String,
    state: Result<Collection>,
}

impl Database {
    pub(super) fn recover(environment: Environment, options: DatabaseOptions) -> Result<Self> {
        let disk = &environment.disk;
        let catalog = read_catalog(&environment)?;
        let mut spaces = BTreeMap::new();
        for (&space, owned) in &catalog.spaces {
            let state = open_collection(&**disk, space, &owned.name).map(|mut engine| {
                engine.set_policy(options.policy);
                engine
            });
            let tenant = tenancy::of_catalog(&owned.tenant)?;
            spaces.insert(
                space,
                Recovering { tenant, name: owned.name.clone(), state: state.map_err(|e| of(&owned.name, &e)) },
            );
        }
        let mut replayed = replay(&**disk, catalog.database, |records| apply(&mut spaces, records))?;
        let started = match replayed.obstacle.take() {
            Some(obstacle) => Err(obstacle),
            None => sweep(&**disk, &catalog, &spaces)
                .and_then(|()| Log::start(Arc::clone(disk), catalog.database, replayed, options.bytes_of_log_file())),
        };
        let is_damaged = matches!(&started, Err(error) if error.kind() == ErrorKind::Corrupted);
        let (log, state) = match started {
            Ok(log) => (Some(log), State::Ready),
            // What is there can be searched all the same.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::LimitExceeded) => {
                tracing::error!(reason = error.message(), "the database is read-only until it is opened again");
                (None, State::ReadOnly(error.message().to_owned()))
            }
            Err(error) => return Err(error),
        };
        let engines = spaces.values().filter_map(|recovering| recovering.state.as_ref().ok());
        let newest_hlc = engines.map(Collection::newest_hlc).max().unwrap_or(0).max(catalog.newest_hlc);
        let builders = if environment.workers == Workers::Own { options.indexers } else { 0 };
        let database = Self {
            stamper: Mutex::new(Stamper::new(catalog.writer, newest_hlc, catalog.reserved)),
            environment,
            options,
            spaces: RwLock::default(),
            numbered: RwLock::default(),
            managing: Mutex::default(),
            catalog: Mutex::new(catalog),
            layout: RwLock::default(),
            log_bytes: AtomicU64::new(log.as_ref().map_or(0, Log::bytes)),
            log: Mutex::new(log),
            queue: Arc::default(),
            committing: Mutex::default(),
            due: Arc::default(),
            builders: Builders::start(builders)?,
            state: Mutex::new(state),
            failure: Notify::new(),
            is_damaged,
            threads: Mutex::default(),
            lock: Mutex::default(),
            term: AtomicU32::new(1),
            points_written: AtomicU64::new(0),
            points_deleted: AtomicU64::new(0),
            pinned: Mutex::default(),
            lent: Mutex::default(),
            told: watch::Sender::new(()),
            catalogued: watch::Sender::new(()),
        };
        database.put_all_into_service(spaces);
        if database.state() == State::Ready {
            database.cut_log();
            database.shorten_log();
        }
        Ok(database)
    }

    fn put_all_into_service(&self, recovered: BTreeMap<SpaceId, Recovering>) {
        for (space, Recovering { tenant, name, state }) in recovered {
            let key = (tenant.clone(), name);
            let entry = match state {
                Ok(engine) => {
                    let collection = OpenCollection::new(space, tenant, engine, self.told.clone());
                    super::write(&self.numbered).insert(space, Arc::clone(&collection));
                    self.due.seal(space);
                    self.due.merge(space);
                    Entry::Open(collection)
                }
                Err(error) => {
                    tracing::error!(collection = key.1, %error, "a collection is damaged; the others are in service");
                    Entry::Damaged(space, error)
                }
            };
            super::write(&self.spaces).insert(key, entry);
        }
    }
}

fn of(name: &str, error: &Error) -> Error {
    Error::new(error.kind(), format!("collection `{name}`: {}", error.message()))
}

/// Reads the catalog, or makes the first one of an empty directory.
fn read_catalog(environment: &Environment) -> Result<Catalog> {
    let disk = &*environment.disk;
    let path = Path::new(CATALOG);
    // A snapshot has not all of them, nor has a directory whose first start did not come far.
    for directory in [SPACES, LOG, SNAPSHOTS].map(Path::new) {
        disk.create_directory(directory).map_err(|error| failed("making", directory, error))?;
    }
    match disk.read(path) {
        Ok(bytes) => {
            let mut catalog = Catalog::decode(&bytes).map_err(|e| in_file(path, &e))?;
            if catalog.writer == 0 {
                // A snapshot, opened for the first time: from here on it goes its own way.
                catalog.writer = environment.random_u64();
                files::replace(disk, path, &catalog.encode()).map_err(|failure| failure.error)?;
            }
            Ok(catalog)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            for directory in [SPACES, LOG].map(Path::new) {
                let found = disk.list(directory).map_err(|error| failed("listing", directory, error))?;
                if !found.is_empty() {
                    return Err(Error::corrupted(format!(
                        "the data directory has {} entries in {} and no file {CATALOG}",
                        found.len(),
                        directory.display()
                    )));
                }
            }
            let (database, writer) = (environment.random_u64(), environment.random_u64());
            let catalog = Catalog { database, writer, ..Catalog::default() };
            files::replace(disk, path, &catalog.encode()).map_err(|failure| failure.error)?;
            Ok(catalog)
        }
        Err(error) => Err(failed("reading", path, error)),
    }
}

/// Opens a collection of this name as its manifest says; the log comes later.
pub(super) fn open_collection(disk: &dyn Disk, space: SpaceId, name: &str) -> Result<Collection> {
    let path = manifest_file(space);
    let bytes = disk.read(&path).map_err(|error| failed("reading", &path, error))?;
    let manifest = Manifest::decode(&bytes).map_err(|e| in_file(&path, &e))?;
    let mut segments = Vec::with_capacity(manifest.segments.len());
    for named in &manifest.segments {
        let id = SegmentId(named.id);
        let path = segment_file(space, id);
        let bytes = disk.map(&path).map_err(|error| failed("opening", &path, error))?;
        // Only this program wrote the file, so its checksums vouch for what is in it.
        segments.push(Arc::new(Segment::open(id, bytes, Checks::Sums).map_err(|e| in_file(&path, &e))?));
    }
    let engine = Collection::open(&manifest, &segments).map_err(|e| in_file(&path, &e))?;
    let named = engine.config().name.as_str();
    if named == name {
        return Ok(engine);
    }
    Err(Error::corrupted(format!("its manifest is of `{named}`")))
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("file {}: {}", path.display(), error.message()))
}

/// Replays the records of one log file. Records of spaces that the catalog does not name are of deleted collections.
fn apply(spaces: &mut BTreeMap<SpaceId, Recovering>, records: &Records<'_>) {
    for (space, records) in records {
        let Some(recovering) = spaces.get_mut(space) else { continue };
        if let Ok(engine) = &mut recovering.state
            && let Err(error) = engine.replay(records.iter().copied())
        {
            recovering.state = Err(of(&recovering.name, &error));
        }
    }
}

/// Removes what nothing names: the leftovers of a crash. A damaged collection keeps everything it has.
fn sweep(disk: &dyn Disk, catalog: &Catalog, spaces: &BTreeMap<SpaceId, Recovering>) -> Result<()> {
    let root = Path::new("");
    let open =
        spaces.iter().filter(|(_, recovering)| recovering.state.is_ok()).map(|(&space, _)| space_directory(space));
    for directory in [root.to_path_buf(), SPACES.into()].into_iter().chain(open) {
        // What a process that died had put in the place of something else has to last before that is removed.
        let synced = mutation::unless(Mutation::SweepBeforeSync, || disk.sync_directory(&directory));
        synced.map_err(|error| failed("syncing", &directory, error))?;
    }
    let list = |directory: &Path| disk.list(directory).map_err(|error| failed("listing", directory, error));
    for directory in [root, Path::new(LOG), Path::new(SNAPSHOTS)] {
        for entry in list(directory)?.into_iter().filter(|entry| entry.name.ends_with(UNFINISHED)) {
            remove(disk, &directory.join(entry.name), entry.is_directory)?;
        }
    }
    let known: BTreeMap<String, SpaceId> = catalog.spaces.keys().map(|&space| (space_name(space), space)).collect();
    for entry in list(Path::new(SPACES))? {
        let Some(space) = known.get(&entry.name) else {
            remove(disk, &Path::new(SPACES).join(entry.name), entry.is_directory)?;
            continue;
        };
        let Some(Ok(engine)) = spaces.get(space).map(|recovering| &recovering.state) else { continue };
        let view = engine.snapshot();
        let named = |name: &str| name == MANIFEST || view.segments().iter().any(|s| s.segment.id().to_string() == name);
        let directory = space_directory(*space);
        for entry in list(&directory)?.into_iter().filter(|entry| !named(&entry.name)) {
            remove(disk, &directory.join(entry.name), entry.is_directory)?;
        }
    }
    Ok(())
}

fn remove(disk: &dyn Disk, path: &Path, is_directory: bool) -> Result<()> {
    let removed = if is_directory { disk.remove_directory(path) } else { disk.remove(path) };
    removed.map_err(|error| failed("removing", path, error))
}
