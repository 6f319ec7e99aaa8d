//! Snapshots and vacuum.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::collection::{LiveSegment, Snapshot, Urgency};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::Manifest;
use hyperspace_core::types::{SegmentId, SpaceId};
use uuid::Builder;

use super::collection::OpenCollection;
use super::options::{SnapshotReport, VacuumReport};
use super::{Database, Entry, held, read, write};
use crate::disk::failed;
use crate::store::catalog::Catalog;
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
        let outcome = self.copy();
        // What could not be removed meanwhile.
        self.shorten_log();
        outcome
    }

    fn copy(&self) -> Result<SnapshotReport> {
        let _layout = write(&self.layout);
        self.check_writable()?;
        let mut random = [0; 10];
        self.environment.entropy.fill(&mut random);
        let name = Builder::from_unix_timestamp_millis(self.now_ms(), &random).into_uuid().simple().to_string();
        let unfinished = Path::new(SNAPSHOTS).join(format!("{name}{UNFINISHED}"));
        let place = Path::new(SNAPSHOTS).join(&name);
        let copied = self.copy_into(&unfinished).and_then(|report| {
            let placed = self.disk().rename(&unfinished, &place);
            placed
                .and_then(|()| self.disk().sync_directory(Path::new(SNAPSHOTS)))
                .map_err(|e| failed("placing", &place, e))?;
            Ok(report)
        });
        match copied {
            Ok((bytes, files)) => Ok(SnapshotReport { name, path: self.disk().location(&place), bytes, files }),
            Err(error) => {
                for left_over in [&unfinished, &place] {
                    let _ = self.disk().remove_directory(left_over);
                }
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
                // Not which: it may be another tenant's.
                Entry::Damaged(..) => {
                    return Err(Error::corrupted("a collection is damaged: nothing can be copied whole"));
                }
            }
        }
        for space in spaces {
            self.copy_space(space, target)?;
        }
        self.sync(&target.join(SPACES))?;
        // Opened as a database of its own it may not write under this one's name.
        let catalog = Catalog { writer: 0, reserved: 0, ..held(&self.catalog).clone() }.encode();
        files::replace(self.disk(), &target.join(CATALOG), &catalog).map_err(|failure| failure.error)?;
        self.sync(Path::new(SNAPSHOTS))?;
        let (mut bytes, mut count) = (0, 0);
        self.measure(target, &mut bytes, &mut count)?;
        Ok((bytes, count))
    }

    fn copy_space(&self, space: SpaceId, target: &Path) -> Result<()> {
        let manifest_path = manifest_file(space);
        let bytes = self.disk().read(&manifest_path).map_err(|error| failed("reading", &manifest_path, error))?;
        let directory = target.join(space_directory(space));
        self.make(&directory)?;
        for segment in Manifest::decode(&bytes)?.segments {
            self.link(&segment_file(space, SegmentId(segment.id)), target)?;
        }
        files::replace(self.disk(), &directory.join(MANIFEST), &bytes).map_err(|failure| failure.error)
    }

    fn make(&self, directory: &Path) -> Result<()> {
        self.disk().create_directory(directory).map_err(|error| failed("making", directory, error))
    }

    fn link(&self, file: &Path, target: &Path) -> Result<()> {
        self.disk().link(file, &target.join(file)).map_err(|error| failed("copying", file, error))
    }

    fn sync(&self, directory: &Path) -> Result<()> {
        self.disk().sync_directory(directory).map_err(|error| failed("syncing", directory, error))
    }

    fn measure(&self, directory: &Path, bytes: &mut u64, files: &mut u64) -> Result<()> {
        for entry in self.disk().list(directory).map_err(|error| failed("listing", directory, error))? {
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
        self.seal_all(collection)?;
        let before = collection.snapshot();
        // Points that die meanwhile may make more work; what was there at the start takes at most two rounds each.
        let mut rounds = 2 * before.segments().len();
        while rounds > 0 {
            collection.check()?;
            self.check_writable()?;
            let (job, others) = collection.read(|engine| (engine.next_merge(Urgency::Reclaim), engine.job_is_out()));
            match job {
                Some(job) => {
                    self.run(collection, job)?;
                    rounds -= 1;
                }
                None if others => {
                    let has_work =
                        || collection.read(|engine| engine.merge_is_due(Urgency::Reclaim) || !engine.job_is_out());
                    self.wait_until(collection, None, || self.check_writable().is_err() || has_work());
                }
                None => break,
            }
        }
        let after = collection.snapshot();
        let missing_in = |view: &Snapshot, other: &Snapshot| -> Vec<LiveSegment> {
            let is_there = |s: &&LiveSegment| other.segments().iter().any(|o| o.segment.id() == s.segment.id());
            view.segments().iter().filter(|s| !is_there(s)).cloned().collect()
        };
        let (gone, came) = (missing_in(&before, &after), missing_in(&after, &before));
        let bytes = |segments: &[LiveSegment]| segments.iter().map(|s| s.segment.byte_len() as u64).sum();
        Ok(VacuumReport {
            segments_rewritten: gone.len() as u64,
            points_dropped: gone.iter().map(|s| u64::from(s.live.dead())).sum(),
            bytes_before: bytes(&gone),
            bytes_after: bytes(&came),
        })
    }

    /// Seals what is in memory now; what comes meanwhile is not waited for. A seal that an indexer is at takes only what
    /// was there when it began.
    fn seal_all(&self, collection: &Arc<OpenCollection>) -> Result<()> {
        let newest = collection.read(|engine| engine.newest_lsn());
        loop {
            self.check_writable()?;
            collection.check()?;
            if collection.sealed_through() >= newest {
                return Ok(());
            }
            let (job, others) = collection.read(|engine| (engine.next_seal(Urgency::Reclaim), engine.seal_is_out()));
            match job {
                Some(job) => drop(self.run(collection, job)?),
                None if others => {
                    let is_over = || !collection.read(|engine| engine.seal_is_out());
                    collection.wait_until(None, || self.check_writable().is_err() || is_over());
                }
                None => return Ok(()),
            }
        }
    }
}
