//! `import` of an archive: makes its collections and writes their points, as an import of rows does.
//!
//! The whole file is read and checked before anything is sent, so that a damaged one leaves nothing behind. Its points are
//! numbered through, which is what an interrupted import is remembered by; it goes on only in the very collections that
//! it made. Points are sent as doubles that make the same row and term again, and indexed like any others.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use hyperspace_core::archive::{ArchiveReader, Block, Points};
use hyperspace_core::collection::CollectionConfig;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::metric::widen;
use hyperspace_core::types::CollectionName;
use serde_json::json;

use super::resume::{Checkpoint, Left};
use super::source::{Row, Rows, unreadable};
use super::{Transfer, first_row, shape, task, to_json, to_text, wait_for};
use crate::cli::args::{Connection, Import};
use crate::cli::collections;
use crate::cli::connect::Session;
use crate::cli::failure::{Failure, Outcome, at, of_file, of_status};
use crate::cli::output::Console;
use crate::cli::wire;
use crate::proto;

/// The ending of archives.
pub(super) const ENDING: &str = "hyperspace";

/// A collection of an archive.
struct Part {
    config: CollectionConfig,
    points: u64,
    /// The reader as it stands before its first point.
    reader: ArchiveReader,
}

/// Imports an archive and says what was done.
pub(super) async fn import(connection: &Connection, arguments: &Import, console: &mut Console<'_>) -> Outcome<()> {
    let Import { metric, quantization, metadata, id_offset, .. } = arguments;
    if metric.is_some() || quantization.is_some() || metadata.is_some() || *id_offset != 0 {
        let message =
            "--metric, --quantization, --metadata and --id-offset are not for archives, which say all this themselves";
        return Err(Failure::usage(message));
    }
    let mut parts = survey(&arguments.file).map_err(|error| at(arguments.file.display(), &error))?;
    if let Some(name) = &arguments.collection {
        rename(&mut parts, name)?;
    }
    let session = Session::open(connection).await?;
    let (collections, first) = prepare(&session, &parts, arguments, console).await?;
    let task = task(&session, &collections, arguments)?;
    let shapes = parts.iter().zip(&collections).map(|(part, collection)| {
        let rows = ArchiveRows::open(&arguments.file, part)?;
        Ok((shape(&rows, collection, arguments)?, rows))
    });
    let sources = shapes.collect::<Result<Vec<_>>>()?;

    let mut transfer = Transfer::start(arguments, task, first, console);
    let (mut outcome, mut before) = (Ok(()), 0);
    for (part, (shape, mut rows)) in parts.iter().zip(sources) {
        let behind = before + part.points;
        if outcome.is_ok() && first < behind {
            let done = first.saturating_sub(before);
            outcome = rows.skip(done);
            if outcome.is_ok() {
                let name = part.config.name.as_str();
                outcome = transfer.send(&session, Box::new(rows), shape, name, before + done, console).await;
            }
        }
        before = behind;
    }
    let done = transfer.end(outcome, console)?;
    let names: Vec<&str> = parts.iter().map(|part| part.config.name.as_str()).collect();
    let indexed = if arguments.wait { Some(wait_for(&session, &names, console).await) } else { None };
    let indexing = indexed.as_ref().and_then(|outcome| outcome.as_ref().ok().copied());
    let report = || {
        let each = parts.iter().map(|part| json!({ "name": part.config.name.as_str(), "points": part.points }));
        let mut report = to_json(&done, indexing);
        report["collections"] = each.collect();
        report
    };
    let text = || {
        let collections = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("{} into {collections}", to_text(&done, indexing))
    };
    console.answer(report, text)?;
    indexed.transpose().map(drop)
}

/// Reads the whole file and checks all of it.
fn survey(path: &Path) -> Result<Vec<Part>> {
    let mut blocks = Blocks::open(path, ArchiveReader::default())?;
    let mut parts: Vec<Part> = Vec::new();
    let mut before = blocks.reader.clone();
    loop {
        match blocks.next()? {
            // The first part begins behind the last collection.
            Block::Collection => before = blocks.reader.clone(),
            Block::Points(_) => {}
            Block::Done(points) => {
                let config = blocks.reader.collections()[parts.len()].clone();
                parts.push(Part { config, points, reader: before });
                before = blocks.reader.clone();
            }
            Block::End => return Ok(parts),
        }
    }
}

/// Gives the one collection of an archive another name.
fn rename(parts: &mut [Part], name: &str) -> Outcome<()> {
    let count = parts.len();
    let [part] = parts else {
        return Err(Failure::usage(format!(
            "--collection names one collection, the archive has {count}: `export --collection` writes one alone"
        )));
    };
    part.config.name = CollectionName::new(name)?;
    Ok(())
}

/// Finds or makes the collections; also says how many points an earlier import of the same file has written to them.
async fn prepare(
    session: &Session,
    parts: &[Part],
    arguments: &Import,
    console: &mut Console<'_>,
) -> Outcome<(Vec<proto::Collection>, u64)> {
    let mut found = Vec::new();
    for part in parts {
        match collections::get(session, part.config.name.as_str()).await {
            Ok(collection) => found.push(Some(collection)),
            Err(status) if of_status(&status).kind() == ErrorKind::NotFound => found.push(None),
            Err(status) => return Err(status.into()),
        }
    }
    let path = Checkpoint::path(&arguments.file, arguments.state_dir.as_deref());
    if let Some(all) = found.iter().cloned().collect::<Option<Vec<_>>>() {
        let task = task(session, &all, arguments)?;
        // Those that an earlier import of this file has made are its own.
        if arguments.merge || matches!(Checkpoint::left_by_earlier(&path, &task), Left::Rows(_)) {
            return Ok((all, first_row(&path, &task, arguments.restart, console)));
        }
    }
    if let Some(taken) = parts.iter().zip(&found).find(|(_, found)| found.is_some() && !arguments.merge) {
        let message = format!(
            "collection `{}` exists; --merge writes into it, and --collection gives a single one another name",
            taken.0.config.name
        );
        return Err(Error::already_exists(message).into());
    }
    let mut all = Vec::new();
    for (part, found) in parts.iter().zip(found) {
        all.push(match found {
            Some(collection) => collection,
            None => create(session, &part.config).await?,
        });
    }
    Ok((all, 0))
}

async fn create(session: &Session, config: &CollectionConfig) -> Outcome<proto::Collection> {
    let request = proto::CreateCollectionRequest { config: Some(wire::config_to_wire(config)) };
    Ok(session.collections().create(request).await?.into_inner())
}

/// The blocks of a file.
struct Blocks {
    file: BufReader<File>,
    reader: ArchiveReader,
    buffer: Vec<u8>,
}

impl Blocks {
    /// Goes on where a reader stands.
    fn open(path: &Path, reader: ArchiveReader) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| of_file(path, &error))?;
        file.seek(SeekFrom::Start(reader.position())).map_err(|error| unreadable(&error))?;
        Ok(Self { file: BufReader::new(file), reader, buffer: Vec::new() })
    }

    fn next(&mut self) -> Result<Block> {
        loop {
            self.buffer.clear();
            let wanted = self.reader.wanted() as u64;
            let read = self.file.by_ref().take(wanted).read_to_end(&mut self.buffer);
            read.map_err(|error| unreadable(&error))?;
            if let Some(block) = self.reader.take(&self.buffer)? {
                return Ok(block);
            }
        }
    }
}

/// The points of one collection, as rows.
struct ArchiveRows {
    blocks: Blocks,
    config: CollectionConfig,
    total: u64,
    passed: u64,
    points: Points,
    /// The first point of the block that was not read.
    at: usize,
}

impl ArchiveRows {
    fn open(path: &Path, part: &Part) -> Result<Self> {
        Ok(Self {
            blocks: Blocks::open(path, part.reader.clone())?,
            config: part.config.clone(),
            total: part.points,
            passed: 0,
            points: Points::default(),
            at: 0,
        })
    }

    /// Makes sure that the block has a point that was not read; there is none behind the last one.
    fn fill(&mut self) -> Result<bool> {
        if self.passed == self.total {
            return Ok(false);
        }
        while self.at == self.points.ids.len() {
            let Block::Points(points) = self.blocks.next()? else {
                return Err(Error::invalid_argument("the file has changed while it was read"));
            };
            (self.points, self.at) = (points, 0);
        }
        Ok(true)
    }
}

impl Rows for ArchiveRows {
    fn dimension(&self) -> usize {
        self.config.dimension
    }

    fn total(&self) -> Option<u64> {
        Some(self.total)
    }

    fn has_doubles(&self) -> bool {
        false
    }

    fn skip(&mut self, mut rows: u64) -> Result<()> {
        while rows > 0 && self.fill()? {
            let step = rows.min((self.points.ids.len() - self.at) as u64);
            (self.at, self.passed, rows) = (self.at + step as usize, self.passed + step, rows - step);
        }
        Ok(())
    }

    fn next(&mut self, row: &mut Row) -> Result<bool> {
        if !self.fill()? {
            return Ok(false);
        }
        let (at, dimension) = (self.at, self.config.dimension);
        row.id = Some(self.points.ids[at].clone());
        row.vector = widen(self.config.metric, &self.points.rows[at * dimension..][..dimension], self.points.terms[at]);
        row.metadata.clear();
        if !self.points.metadata[at].is_empty() {
            row.metadata = serde_json::to_string(&self.points.metadata[at].to_value())
                .map_err(|error| Error::internal(format!("metadata that cannot be written as JSON: {error}")))?;
        }
        self.at += 1;
        self.passed += 1;
        Ok(true)
    }

    fn place(&self) -> String {
        format!("row {} of collection `{}`", self.passed.saturating_sub(1), self.config.name)
    }

    fn position(&self) -> u64 {
        self.blocks.reader.position()
    }
}
