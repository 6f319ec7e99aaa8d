//! `export`: writes collections to an archive, page by page.
//!
//! The file stands under its name only once it is complete and on the device. What is written meanwhile may be in it or
//! not; a page holds what was there when it was read, and no point is in two.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use hyperspace_core::archive::{ArchiveWriter, MAX_BLOCK_BYTES};
use hyperspace_core::collection::{CollectionConfig, MAX_BATCH};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::metadata::{Metadata, Value};
use serde_json::json;

use super::args::Export;
use super::connect::Session;
use super::failure::{Outcome, at, of_file};
use super::import::progress::Spinner;
use super::output::{Console, bytes, count, duration};
use super::{collections, wire};
use crate::proto;

/// Exports collections and says what was done.
pub(crate) async fn export(session: &Session, arguments: &Export, console: &mut Console<'_>) -> Outcome<()> {
    let configs = described(session, &arguments.collections).await?;
    let mut draft = Draft::create(&arguments.file)?;
    let mut writer = ArchiveWriter::new(configs);
    let mut spinner = Spinner::new(console);
    let (mut points, mut each) = (0, Vec::new());
    while let Some(config) = writer.collection() {
        let (name, dimension, before) = (config.name.to_string(), config.dimension, points);
        let mut cursor = Vec::new();
        loop {
            let page = page(session, &name, cursor).await?;
            for point in &page.points {
                put(&mut writer, dimension, point).map_err(|error| at(format!("collection `{name}`"), &error))?;
            }
            points += page.points.len() as u64;
            spinner.tell(|time| format!("{} points of `{name}`  {}", count(points - before), duration(time)), console);
            if writer.ready() >= MAX_BLOCK_BYTES {
                draft.write(&writer.take())?;
            }
            cursor = page.next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        writer.finish_collection();
        each.push(json!({ "name": name, "points": points - before }));
    }
    draft.write(&writer.finish())?;
    let (size, time, number) = (draft.keep()?, spinner.end(), each.len());
    let file = arguments.file.display();
    let report = json!({ "file": file.to_string(), "collections": each, "points": points, "bytes": size });
    console.answer(
        || report,
        || {
            let (collections, volume) = (count(number as u64), bytes(size));
            let (points, time) = (count(points), duration(time));
            format!("exported {points} points of {collections} collections to {file} ({volume}) in {time}")
        },
    )
}

/// What is exported, in the order of the names: the named collections, each once, or all of them.
async fn described(session: &Session, names: &[String]) -> Outcome<Vec<CollectionConfig>> {
    let mut found = Vec::new();
    if names.is_empty() {
        let request = proto::ListCollectionsRequest {};
        found = session.collections().list(request).await?.into_inner().collections;
    }
    for name in names {
        found.push(collections::get(session, name).await?);
    }
    let configs = found.iter().map(|collection| wire::config_of(collections::config(collection)?));
    let mut configs = configs.collect::<Result<Vec<_>>>()?;
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    configs.dedup_by(|a, b| a.name == b.name);
    Ok(configs)
}

async fn page(session: &Session, collection: &str, cursor: Vec<u8>) -> Outcome<proto::ScrollResponse> {
    let request = proto::ScrollRequest {
        collection: collection.to_string(),
        limit: MAX_BATCH as u64,
        cursor,
        with_vector: true,
        ..Default::default()
    };
    Ok(session.points().scroll(request).await?.into_inner())
}

fn put(writer: &mut ArchiveWriter, dimension: usize, point: &proto::Point) -> Result<()> {
    let id = wire::id_of(point.id.as_ref())?;
    let row = wire::components(&point.vector);
    if row.len() != dimension {
        let found = row.len();
        return Err(Error::conflict(format!(
            "point {id} has {found} components, not {dimension}: it is another one now"
        )));
    }
    let metadata: Value = serde_json::from_str(&point.metadata).map_err(|error| {
        Error::internal(format!("the server sent metadata of point {id} that are not JSON: {error}"))
    })?;
    writer.put(&id, &row, point.term, Metadata::from_value(&metadata)?.as_bytes());
    Ok(())
}

/// A file that has its name only once it is complete; deleted when it never is.
struct Draft {
    file: File,
    path: PathBuf,
    target: PathBuf,
    bytes: u64,
    is_kept: bool,
}

impl Draft {
    fn create(target: &Path) -> Result<Self> {
        let mut path = target.as_os_str().to_owned();
        path.push(".new");
        let path = PathBuf::from(path);
        let file = File::create(&path).map_err(|error| of_file(&path, &error))?;
        Ok(Self { file, path, target: target.to_path_buf(), bytes: 0, is_kept: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| of_file(&self.path, &error))
    }

    /// Gives the file its name, once it is on the device; answers its length.
    fn keep(mut self) -> Result<u64> {
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let keep = || -> io::Result<()> {
            self.file.sync_all()?;
            fs::rename(&self.path, &self.target)?;
            File::open(folder)?.sync_all()
        };
        keep().map_err(|error| of_file(&self.target, &error))?;
        self.is_kept = true;
        Ok(self.bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // It would only be in the way.
            let _ = fs::remove_file(&self.path);
        }
    }
}
