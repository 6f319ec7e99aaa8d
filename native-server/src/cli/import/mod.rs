//! `import`: writes the points of a file, and goes on where an interrupted import stopped.
//!
//! ```text
//! file --rows--> check, batch (its own thread) --at most 2 batches--> send, 4 at a time --acknowledged--> checkpoint
//! ```
//! Memory holds a few batches, however large the file is. A point's id is fixed before it is sent (its own, or the row's
//! number), so that whatever is sent twice is written once.

mod archive;
mod batches;
mod fvecs;
mod jsonl;
mod npy;
pub(crate) mod progress;
mod resume;
mod send;
pub(crate) mod source;

use std::path::Path;
use std::time::Duration;

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::metric::Metric;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use self::batches::{Batch, Collector, Shape};
use self::jsonl::WithMetadata;
use self::progress::{Progress, Spinner};
#[cfg(feature = "fuzzing")]
pub use self::resume::state;
use self::resume::{Checkpoint, Left, Task, Version};
use self::send::Target;
use self::source::{Row, Rows};
use super::args::{Connection, Import};
use super::collections;
use super::connect::Session;
use super::failure::{Failure, Outcome, at, of_status};
use super::output::{Console, bytes, count, duration, rate};
use super::wire;
use crate::proto;

/// Batches that are ready before they can be sent.
const READ_AHEAD: usize = 2;
/// How often the server is asked whether it is still indexing.
const INDEXING_INTERVAL_MS: u64 = 500;

/// What an import has done.
struct Done {
    /// Rows that an earlier import had written.
    before: u64,
    /// Rows that this one has written.
    rows: u64,
    /// Bytes of the messages it took.
    bytes: u64,
    time: Duration,
}

/// Imports a file and says what was done.
pub(crate) async fn import(connection: &Connection, arguments: &Import, console: &mut Console<'_>) -> Outcome<()> {
    if arguments.file.extension().is_some_and(|ending| ending == archive::ENDING) {
        return archive::import(connection, arguments, console).await;
    }
    let Some(name) = &arguments.collection else {
        return Err(Failure::usage("--collection NAME is missing: only archives say where their points belong"));
    };
    let rows = open(arguments)?;
    let session = Session::open(connection).await?;
    let collection = collection(&session, name, arguments, rows.dimension()).await?;
    let shape = shape(&*rows, &collection, arguments)?;
    let task = task(&session, std::slice::from_ref(&collection), arguments)?;
    let done = write(&session, rows, shape, name, task, arguments, console).await?;
    // The rows are there even if waiting fails: that is said first.
    let indexed = if arguments.wait { Some(wait_for(&session, &[name], console).await) } else { None };
    let indexing = indexed.as_ref().and_then(|outcome| outcome.as_ref().ok().copied());
    let report = || {
        let mut report = to_json(&done, indexing);
        report["collection"] = json!(name);
        report
    };
    console.answer(report, || to_text(&done, indexing))?;
    indexed.transpose().map(drop)
}

/// Writes the rows that no earlier import has written.
async fn write(
    session: &Session,
    mut rows: Box<dyn Rows>,
    shape: Shape,
    collection: &str,
    task: Task,
    arguments: &Import,
    console: &mut Console<'_>,
) -> Outcome<Done> {
    let path = Checkpoint::path(&arguments.file, arguments.state_dir.as_deref());
    let first = first_row(&path, &task, arguments.restart, console);
    rows.skip(first).map_err(|error| at(arguments.file.display(), &error))?;
    let mut transfer = Transfer::start(arguments, task, first, console);
    let outcome = transfer.send(session, rows, shape, collection, first, console).await;
    transfer.end(outcome, console)
}

/// An import that is under way: what is remembered of it, and what a person sees.
struct Transfer<'a> {
    arguments: &'a Import,
    first: u64,
    checkpoint: Checkpoint,
    progress: Progress,
}

impl<'a> Transfer<'a> {
    /// Begins behind the first rows of the file, which are there already.
    fn start(arguments: &'a Import, task: Task, first: u64, console: &mut Console<'_>) -> Self {
        let path = Checkpoint::path(&arguments.file, arguments.state_dir.as_deref());
        let progress = Progress::new(console, task.file.bytes);
        let (checkpoint, failure) = Checkpoint::start(path, task, first);
        warn(failure, console);
        Self { arguments, first, checkpoint, progress }
    }

    /// Sends rows to a collection, of which the first one is number `first` of the file.
    async fn send(
        &mut self,
        session: &Session,
        mut rows: Box<dyn Rows>,
        shape: Shape,
        collection: &str,
        first: u64,
        console: &mut Console<'_>,
    ) -> Result<()> {
        let Self { arguments, checkpoint, progress, .. } = self;
        let name = arguments.file.display().to_string();
        let target = Target { collection: collection.to_string(), durability: arguments.durability.into() };
        let collector = Collector::new(shape, arguments.batch_bytes, first);
        progress.begin_at(rows.position());
        let (sender, batches) = mpsc::channel(READ_AHEAD);
        let reader = spawn_blocking(move || read(&mut *rows, collector, &sender).map_err(|error| at(name, &error)));
        let sent = send::send(session, target, batches, |batch| {
            progress.add(&batch, console);
            warn(checkpoint.acknowledge(batch.rows), console);
        });
        sent.await.and(reader.await.expect("the reader does not panic"))
    }

    /// Forgets the import when it came to its end, and remembers it when it did not.
    fn end(mut self, outcome: Result<()>, console: &mut Console<'_>) -> Outcome<Done> {
        self.progress.end();
        if let Err(error) = outcome {
            warn(self.checkpoint.flush(), console);
            if let Some(rows) = self.checkpoint.remembered() {
                console.remark(&format!("{} rows are there; another import goes on behind them", count(rows)));
            }
            return Err(error.into());
        }
        if let Some(failure) = self.checkpoint.finish() {
            console.remark(&format!("another import of this file will go on behind these rows: {failure}"));
        }
        let (rows, bytes, time) = (self.progress.rows(), self.progress.bytes(), self.progress.elapsed());
        Ok(Done { before: self.first, rows, bytes, time })
    }
}

fn to_json(done: &Done, indexing: Option<Duration>) -> Value {
    json!({
        "rows": done.rows,
        "rows_before": done.before,
        "seconds": done.time.as_secs_f64(),
        "rows_per_second": done.rows as f64 / done.time.as_secs_f64(),
        "bytes": done.bytes,
        "indexing_seconds": indexing.as_ref().map(Duration::as_secs_f64),
    })
}

fn to_text(done: &Done, indexing: Option<Duration>) -> String {
    let (rows, time, volume) = (count(done.rows), duration(done.time), bytes(done.bytes));
    let speed = rate(done.rows, done.time);
    let indexed = indexing.map(|time| format!("; indexed {} later", duration(time))).unwrap_or_default();
    format!("imported {rows} rows in {time} ({speed}, {volume} sent){indexed}")
}

/// The rows of the file, with their metadata.
fn open(arguments: &Import) -> Outcome<Box<dyn Rows>> {
    let rows = source::open(&arguments.file)?;
    let Some(metadata) = &arguments.metadata else { return Ok(rows) };
    if rows.total().is_none() {
        return Err(Failure::usage("--metadata is for files without metadata; the points of .jsonl have their own"));
    }
    Ok(Box::new(WithMetadata::open(rows, metadata)?))
}

/// The collection to write to, made when there is none and a metric says how.
async fn collection(session: &Session, name: &str, arguments: &Import, dimension: usize) -> Outcome<proto::Collection> {
    let error = match collections::get(session, name).await {
        Ok(collection) => return Ok(collection),
        Err(status) => of_status(&status),
    };
    if error.kind() != ErrorKind::NotFound {
        return Err(error.into());
    }
    let Some(metric) = arguments.metric else {
        return Err(Error::not_found(format!("there is no collection `{name}`; --metric makes it")).into());
    };
    let config = proto::CollectionConfig {
        name: name.to_string(),
        dimension: dimension as u64,
        metric: wire::metric_to_wire(metric).into(),
        quantization: wire::quantization_to_wire(arguments.quantization.unwrap_or_default()).into(),
        ..Default::default()
    };
    let request = proto::CreateCollectionRequest { config: Some(config) };
    Ok(session.collections().create(request).await?.into_inner())
}

/// How the rows of the file become points of the collection.
fn shape(rows: &dyn Rows, collection: &proto::Collection, arguments: &Import) -> Result<Shape> {
    let config = collections::config(collection)?;
    let metric = wire::metric_of(config)?;
    if let Some(asked) = arguments.metric.filter(|&asked| asked != metric) {
        let message = format!("collection `{}` has metric {metric}, --metric says {asked}", config.name);
        return Err(Error::invalid_argument(message));
    }
    let quantization = wire::quantization_of(config)?;
    if let Some(asked) = arguments.quantization.filter(|&asked| asked != quantization) {
        let message =
            format!("collection `{}` has quantization {quantization}, --quantization says {asked}", config.name);
        return Err(Error::invalid_argument(message));
    }
    if rows.dimension() as u64 != config.dimension {
        let (file, found) = (arguments.file.display(), rows.dimension());
        return Err(Error::invalid_argument(format!(
            "{file} has {found} dimensions, collection `{}` expects {}",
            config.name, config.dimension
        )));
    }
    Ok(Shape {
        metric,
        dimension: rows.dimension(),
        doubles: rows.has_doubles() || metric == Metric::Poincare,
        id_offset: arguments.id_offset,
    })
}

fn task(session: &Session, collections: &[proto::Collection], arguments: &Import) -> Result<Task> {
    let configs = collections.iter().map(collections::config).collect::<Result<Vec<_>>>()?;
    let listed = |names: Vec<&str>| names.join(",");
    Ok(Task {
        server: session.server().to_string(),
        user_id: session.user_id().map(str::to_string),
        collection: listed(configs.iter().map(|config| config.name.as_str()).collect()),
        collection_id: listed(collections.iter().map(|collection| collection.id.as_str()).collect()),
        file: Version::of(&arguments.file)?,
        metadata: arguments.metadata.as_deref().map(Version::of).transpose()?,
        id_offset: arguments.id_offset,
    })
}

/// The row to begin with: behind those that an earlier import of the same thing has written.
fn first_row(path: &Path, task: &Task, restart: bool, console: &mut Console<'_>) -> u64 {
    if restart {
        return 0;
    }
    match Checkpoint::left_by_earlier(path, task) {
        Left::Nothing | Left::Rows(0) => 0,
        Left::Rows(rows) => {
            console.remark(&format!("going on behind the {} rows that an earlier import has written", count(rows)));
            rows
        }
        Left::Void(why) => {
            console.remark(&format!("starting with the first row: an earlier import does not count, {why}"));
            0
        }
    }
}

fn warn(failure: Option<String>, console: &mut Console<'_>) {
    if let Some(failure) = failure {
        console.remark(&format!("an interruption will not be remembered: {failure}; --state-dir names another folder"));
    }
}

/// Reads rows into batches, until the file ends or nobody wants them any more.
fn read(rows: &mut dyn Rows, mut collector: Collector, batches: &mpsc::Sender<Batch>) -> Result<()> {
    let mut row = Row::default();
    while rows.next(&mut row)? {
        let full = collector.push(&row, rows.position()).map_err(|error| at(rows.place(), &error))?;
        if let Some(batch) = full
            && batches.blocking_send(batch).is_err()
        {
            return Ok(());
        }
    }
    // Should nobody want it, the sender says why.
    collector.take().map_or(Ok(()), |batch| batches.blocking_send(batch).or(Ok(())))
}

/// Waits until the server has nothing to index in the collections, and says how long that took.
async fn wait_for(session: &Session, names: &[&str], console: &mut Console<'_>) -> Outcome<Duration> {
    let mut spinner = Spinner::new(console);
    let request = proto::MonitorRequest { interval_ms: INDEXING_INTERVAL_MS, count: 0 };
    let mut stream = session.patient_admin().monitor(request).await?.into_inner();
    while let Some(stats) = stream.message().await? {
        let (mut is_indexing, mut pending) = (false, 0);
        for name in names {
            let found = stats.collections.iter().find(|found| found.name == *name);
            let found = found.ok_or_else(|| Error::not_found(format!("collection `{name}` is not there any more")))?;
            is_indexing |= found.indexing;
            pending += found.pending;
        }
        if !is_indexing {
            return Ok(spinner.end());
        }
        spinner.tell(|time| format!("indexing: {} points wait, {}", count(pending), duration(time)), console);
    }
    Err(Error::unavailable("the server ended the stream of its figures").into())
}
