//! The log: its frames, the records in them, and whether it goes on where the manifests end.

use std::path::Path;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::{Record, RecordBody};
use hyperspace_core::sync::{Change, RowChange};
use hyperspace_core::types::{Lsn, SpaceId};

use super::Check;
use super::spaces::{Space, Spaces};
use crate::store::files::{LOG, log_file};
use crate::store::frame::{Body, Frame};
use crate::store::replay::{Gap, LogFile, list_files, read_file};

impl Check<'_> {
    /// Reads all files of the log and replays them over the segments.
    pub(super) fn log(&mut self, spaces: &mut Spaces) {
        let files = match list_files(self.disk) {
            Ok(files) => files,
            Err(error) => return self.report.damage(Path::new(LOG), &error),
        };
        let newest = files.keys().next_back().copied();
        let (mut expected, mut next_seq, mut durable) = (None, 1, 0);
        for (&number, &len) in &files {
            let path = log_file(number);
            let bytes = match read_file(self.disk, number, len) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.report.damage(&path, &error);
                    expected = None;
                    continue;
                }
            };
            self.report.totals.log_files += 1;
            let told = self.report.findings.len();
            self.report.totals.bytes += len;
            let file = LogFile::new(self.catalog.database, number, &bytes, newest == Some(number));
            let gaps = file.read(expected, &mut next_seq, |at, frame| {
                if let Err(error) = self.frame(frame, &mut durable, spaces) {
                    self.report.damage_at(&path, at, &error);
                }
                Ok(())
            });
            match gaps {
                Ok(gaps) => {
                    expected = Some(next_seq);
                    for Gap { at, damage } in gaps {
                        match damage {
                            Some(error) => self.report.damage_at(&path, at, &error),
                            None => self.report.torn(&path, at, bytes.len()),
                        }
                    }
                }
                Err(error) => {
                    self.report.damage(&path, &error);
                    expected = None;
                }
            }
            // What cannot be read comes before what follows from it.
            self.report.findings[told..].sort_by_key(|finding| finding.offset);
        }
    }

    /// Checks a frame; `durable` is what the one before it said.
    fn frame(&mut self, frame: Frame<'_>, durable: &mut u64, spaces: &mut Spaces) -> Result<()> {
        let known = std::mem::replace(durable, frame.durable.max(*durable));
        let claim = if frame.durable < known || frame.durable >= frame.seq {
            Err(Error::corrupted(format!(
                "frame {} says that {} was durable before it, and an earlier one said {known}",
                frame.seq, frame.durable
            )))
        } else {
            Ok(())
        };
        let record = match frame.body {
            Body::Record(space, record) => self.record(space, record, spaces),
            Body::End => Ok(()),
        };
        claim.and(record)
    }

    fn record(&mut self, space: SpaceId, bytes: &[u8], spaces: &mut Spaces) -> Result<()> {
        self.report.totals.log_records += 1;
        let record = Record::decode(bytes)?;
        let unreserved = match &record.body {
            RecordBody::Writes(writes) => {
                writes.entries().map(|(stamp, ..)| stamp).find(|&stamp| self.is_unreserved(stamp))
            }
            RecordBody::Change(change) => {
                let rows = Change::decode(change)?.rows;
                let stamps = rows.iter().map(|row| match row {
                    RowChange::Put(rec) => rec.stamp,
                    RowChange::Forget(_, stamp) => *stamp,
                });
                stamps.into_iter().find(|&stamp| self.is_unreserved(stamp))
            }
        };
        // Records of other spaces are of deleted collections.
        if let Some(space) = spaces.get_mut(space) {
            space.go_on(record.lsn, bytes)?;
        }
        match unreserved {
            None => Ok(()),
            Some(stamp) => Err(Error::corrupted(format!(
                "record {} has stamp {} of this database, which reserved those below {}",
                record.lsn.0, stamp.cseq, self.catalog.reserved
            ))),
        }
    }
}

impl Space {
    /// Takes the next record. One that cannot follow is told once: what comes behind it cannot be judged.
    fn go_on(&mut self, lsn: Lsn, record: &[u8]) -> Result<()> {
        let before = self.newest.replace(lsn);
        let sealed = self.sealed_through;
        // The first one may be in the segments already; from there on none may be missing.
        let follows = before.map_or(sealed.is_none_or(|sealed| lsn <= sealed.next()), |before| lsn == before.next());
        if !follows {
            self.engine = None;
            let before = before.or(sealed).unwrap_or_default();
            return Err(Error::corrupted(format!(
                "the log of collection `{}` goes on with record {}, {} is missing",
                self.name,
                lsn.0,
                before.next().0
            )));
        }
        let Some(engine) = &mut self.engine else { return Ok(()) };
        let replayed = engine.replay([record]);
        replayed.map(drop).inspect_err(|_| self.engine = None)
    }
}
