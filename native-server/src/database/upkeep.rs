//! Snapshots and vacuum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::collection::Urgency;
use hyperspace_core::error::Result;
use hyperspace_core::segment::Manifest;
use hyperspace_core::types::{SegmentId, SpaceId};
use uuid::Uuid;

use super::collection::OpenCollection;
use super::options::{SnapshotReport, VacuumReport};
use super::{Database, Entry, held, read, write};
use crate::disk::failed;
use crate::store::files::{
    self, CATALOG, LOG, MANIFEST, SNAPSHOTS, SPACES, UNFINISHED, log_file, manifest_file, segment_file, space_directory,
};

impl Database {
    /// Writes a copy of everything as of now, which opens as a database of its own.
    ///
    /// Segments and log files never change once they are complete, so the copy shares them by name where the file system
    /// can. Writes go on meanwhile; only what would change the set of files waits.
    ///
    /// # Errors
    /// `Corrupted` when a collection is damaged; `LimitExceeded` when the disk is full; nothing is left behind then.
    pub fn snapshot(&self) -> Result<SnapshotReport> {
        let _layout = write(&self.layout);
        self.check_writable()?;
        let name = Uuid::now_v7().simple().to_string();
        let unfinished = Path::new(SNAPSHOTS).join(format!("{name}{UNFINISHED}"));
        let place = Path::new(SNAPSHOTS).join(&name);
        let copied = self.copy_into(&unfinished).and_then(|report| {
            let placed = self.disk.rename(&unfinished, &place);
            placed
                .and_then(|()| self.disk.sync_directory(Path::new(SNAPSHOTS)))
                .map_err(|e| failed("placing", &place, e))?;
            Ok(report)
        });
        match copied {
            Ok((bytes, files)) => Ok(SnapshotReport { name, path: self.disk.location(&place), bytes, files }),
            Err(error) => {
                let _ = self.disk.remove_directory(&unfinished);
                Err(error)
            }
        }
    }

    /// Copies all files that belong to the database, while none of them comes or goes; says how many bytes and files these
    /// are.
    fn copy_into(&self, target: &Path) -> Result<(u64, u64)> {
        for directory in [LOG, SPACES] {
            self.make(&target.join(directory))?;
        }
        let log_files: Vec<PathBuf> = self.with_log(|log| {
            log.rotate()?;
            Ok(log.closed_files().map(log_file).collect())
        })?;
        for file in &log_files {
            self.link(file, target)?;
        }
        self.sync(&target.join(LOG))?;
        let mut spaces = Vec::new();
        for entry in read(&self.spaces).values() {
            match entry {
                Entry::Open(collection) => spaces.push(collection.space()),
                Entry::Damaged(_, error) => return Err(error.clone()),
            }
        }
        for space in spaces {
            self.copy_space(space, target)?;
        }
        self.sync(&target.join(SPACES))?;
        let catalog = held(&self.catalog).encode();
        files::replace(&*self.disk, &target.join(CATALOG), &catalog).map_err(|failure| failure.error)?;
        self.sync(Path::new(SNAPSHOTS))?;
        let (mut bytes, mut count) = (0, 0);
        self.measure(target, &mut bytes, &mut count)?;
        Ok((bytes, count))
    }

    fn copy_space(&self, space: SpaceId, target: &Path) -> Result<()> {
        let manifest_path = manifest_file(space);
        let bytes = self.disk.read(&manifest_path).map_err(|error| failed("reading", &manifest_path, error))?;
        let directory = target.join(space_directory(space));
        self.make(&directory)?;
        for segment in Manifest::decode(&bytes)?.segments {
            self.link(&segment_file(space, SegmentId(segment.id)), target)?;
        }
        files::replace(&*self.disk, &directory.join(MANIFEST), &bytes).map_err(|failure| failure.error)
    }

    fn make(&self, directory: &Path) -> Result<()> {
        self.disk.create_directory(directory).map_err(|error| failed("making", directory, error))
    }

    fn link(&self, file: &Path, target: &Path) -> Result<()> {
        self.disk.link(file, &target.join(file)).map_err(|error| failed("copying", file, error))
    }

    fn sync(&self, directory: &Path) -> Result<()> {
        self.disk.sync_directory(directory).map_err(|error| failed("syncing", directory, error))
    }

    fn measure(&self, directory: &Path, bytes: &mut u64, files: &mut u64) -> Result<()> {
        for entry in self.disk.list(directory).map_err(|error| failed("listing", directory, error))? {
            if entry.is_directory {
                self.measure(&directory.join(&entry.name), bytes, files)?;
            } else {
                *bytes += entry.len;
                *files += 1;
            }
        }
        Ok(())
    }

    /// Seals what waits and rewrites every segment that has dead points, on the calling thread; answers when that is done.
    ///
    /// # Errors
    /// `LimitExceeded` when the disk has no room for the new segments beside the old ones.
    pub fn vacuum(&self, collection: &Arc<OpenCollection>) -> Result<VacuumReport> {
        let mut report = VacuumReport::default();
        // Points that die meanwhile may make more work; what was there at the start takes at most one round each.
        let mut rounds = 2 * collection.snapshot().segments().len() + 2;
        while rounds > 0 {
            collection.check()?;
            self.check_writable()?;
            let (job, others) = collection.read(|engine| (engine.next_job(Urgency::Reclaim), engine.job_is_out()));
            match job {
                Some(job) => {
                    let (dead, before) = (job.dead_points() as u64, job.segment_bytes() as u64);
                    if let Some(after) = self.run(collection, job)?.filter(|_| before > 0) {
                        report.segments_rewritten += 1;
                        report.points_dropped += dead;
                        report.bytes_before += before;
                        report.bytes_after += after as u64;
                    }
                    rounds -= 1;
                }
                None if others => {
                    let is_over = || self.check_writable().is_err() || collection.read(|engine| !engine.job_is_out());
                    collection.wait_until(None, is_over);
                }
                None => break,
            }
        }
        Ok(report)
    }
}
