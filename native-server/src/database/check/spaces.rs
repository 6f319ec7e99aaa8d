//! Collections: their manifests and segments before the log, and what they hold behind it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::Collection;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{Checks, Manifest, Segment};
use hyperspace_core::types::{Lsn, Offset, SegmentId, SpaceId};

use super::Check;
use crate::database::recover::open_collection;
use crate::disk::failed;
use crate::store::files::{CATALOG, MANIFEST, manifest_file, segment_file, space_directory, space_name};
use crate::tenancy;

/// The collections of a catalog.
pub(super) struct Spaces(BTreeMap<SpaceId, Space>);

/// A collection as far as it was read.
pub(super) struct Space {
    pub(super) name: String,
    /// Up to where its segments go; unknown without a manifest.
    pub(super) sealed_through: Option<Lsn>,
    /// The newest record that was read.
    pub(super) newest: Option<Lsn>,
    /// Nothing when something that belongs to it is damaged.
    pub(super) engine: Option<Collection>,
}

impl Spaces {
    pub(super) fn get_mut(&mut self, space: SpaceId) -> Option<&mut Space> {
        self.0.get_mut(&space)
    }

    pub(super) fn are_named(&self, directory: &str) -> bool {
        self.0.keys().any(|&space| space_name(space) == directory)
    }
}

impl Check<'_> {
    /// Reads all manifests and segments.
    pub(super) fn spaces(&mut self) -> Spaces {
        let owned = self.catalog.spaces.clone();
        self.report.totals.collections = owned.len() as u64;
        let mut names = BTreeSet::new();
        let mut spaces = BTreeMap::new();
        for (space, owned) in owned {
            let path = manifest_file(space);
            if let Err(error) = tenancy::of_catalog(&owned.tenant) {
                self.report.damage(Path::new(CATALOG), &error);
            }
            if !names.insert((owned.tenant.clone(), owned.name.clone())) {
                let twice = format!("two spaces are collection `{}` of one tenant", owned.name);
                self.report.damage(Path::new(CATALOG), &Error::corrupted(twice));
            }
            let mut read = Space { name: owned.name, sealed_through: None, newest: None, engine: None };
            match self.manifest(space) {
                Ok(manifest) => {
                    read.sealed_through = Some(Lsn(manifest.sealed_through));
                    let are_whole = self.segments(space, &manifest);
                    self.leftovers_of(space, &manifest);
                    if are_whole {
                        let opened = open_collection(self.disk, space, &read.name);
                        read.engine = opened.inspect_err(|error| self.report.damage(&path, error)).ok();
                    }
                }
                Err(error) => self.report.damage(&path, &error),
            }
            spaces.insert(space, read);
        }
        Spaces(spaces)
    }

    fn manifest(&mut self, space: SpaceId) -> Result<Manifest> {
        let path = manifest_file(space);
        let bytes = self.disk.read(&path).map_err(|error| failed("reading", &path, error))?;
        self.report.totals.bytes += bytes.len() as u64;
        Manifest::decode(&bytes)
    }

    /// Checks the segments that a manifest names; says whether all are whole.
    fn segments(&mut self, space: SpaceId, manifest: &Manifest) -> bool {
        let mut are_whole = true;
        for named in &manifest.segments {
            let id = SegmentId(named.id);
            let path = segment_file(space, id);
            if let Err(error) = self.segment(id, &path) {
                self.report.damage(&path, &error);
                are_whole = false;
            }
        }
        are_whole
    }

    /// Checks one segment, read and not mapped: a page that the device cannot give is an error then and not a signal.
    fn segment(&mut self, id: SegmentId, path: &Path) -> Result<()> {
        let bytes = self.disk.read(path).map_err(|error| failed("reading", path, error))?;
        self.report.totals.bytes += bytes.len() as u64;
        self.report.totals.segments += 1;
        let segment = Segment::open(id, Arc::new(AlignedBytes::copy_of(&bytes)), Checks::All)?;
        if let [first, ..] = segment.graph().unreachable()[..] {
            return Err(Error::corrupted(format!("point {first} of {} cannot be reached by its graph", segment.len())));
        }
        let points = (0..segment.len()).map(|offset| segment.stamp(Offset(offset)));
        let stamps = points.chain(segment.tombstones().map(|tombstone| tombstone.stamp));
        match stamps.into_iter().find(|&stamp| self.is_unreserved(stamp)) {
            None => Ok(()),
            Some(stamp) => Err(Error::corrupted(format!(
                "it has stamp {} of this database, which reserved those below {}",
                stamp.cseq, self.catalog.reserved
            ))),
        }
    }

    fn leftovers_of(&mut self, space: SpaceId, manifest: &Manifest) {
        let segments: BTreeSet<String> = manifest.segments.iter().map(|s| SegmentId(s.id).to_string()).collect();
        self.leftovers_in(space_directory(space), |name, is_directory| {
            !is_directory && (name == MANIFEST || segments.contains(name))
        });
    }

    /// Checks what all collections hold behind the log.
    pub(super) fn replayed(&mut self, spaces: &Spaces) {
        for (&space, read) in &spaces.0 {
            let Some(engine) = &read.engine else { continue };
            let view = engine.snapshot();
            self.report.totals.points += view.len() as u64;
            let mut live = HashSet::with_capacity(view.len());
            if let Some(twice) = view.points().find(|point| !live.insert(point.id.key())) {
                let error = Error::corrupted(format!("point {} of collection `{}` is live twice", twice.id, read.name));
                self.report.damage(&manifest_file(space), &error);
            }
        }
    }
}
