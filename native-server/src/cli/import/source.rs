//! Files of vectors, read row by row: nothing is loaded whole.
//!
//! Numbers are widened to f64, which is exact for every format; what goes on the wire is decided by `batches.rs`. A
//! file's shape is checked against its length when it is opened, so that a file that was cut off is noticed before
//! anything is sent.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::PointId;

use super::fvecs::Fvecs;
use super::jsonl::Jsonl;
use super::npy::Npy;
use crate::cli::failure::{at, of_file};

/// One row, in buffers that are used again.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Its own id, where the format has any.
    pub(crate) id: Option<PointId>,
    /// Its components.
    pub(crate) vector: Vec<f64>,
    /// A JSON object; empty for none.
    pub(crate) metadata: String,
}

/// The rows of a file, in order.
pub(crate) trait Rows: Send {
    /// Components of the first row; others may differ where the format lets them.
    fn dimension(&self) -> usize;
    /// How many rows there are, where that is known without reading all of them.
    fn total(&self) -> Option<u64>;
    /// Whether the file's numbers are doubles, so that a float would lose digits.
    fn has_doubles(&self) -> bool;
    /// Passes over rows without looking at them; at most those that are there.
    fn skip(&mut self, rows: u64) -> Result<()>;
    /// Reads the next row, or says that there is none.
    fn next(&mut self, row: &mut Row) -> Result<bool>;
    /// Where the row that was read last stands, for messages.
    fn place(&self) -> String;
    /// How many bytes of the file were read or passed over.
    fn position(&self) -> u64;
}

/// Opens a file by its ending: `.npy`, `.fvecs` or `.jsonl`.
///
/// # Errors
/// `InvalidArgument` for another ending, a file without rows, or one whose length does not fit its shape.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Rows>> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let opener = match ending {
        "npy" => |file| Ok(Box::new(Npy::open(file)?) as Box<dyn Rows>),
        "fvecs" => |file| Ok(Box::new(Fvecs::open(file)?) as Box<dyn Rows>),
        "jsonl" => |file| Ok(Box::new(Jsonl::open(file)?) as Box<dyn Rows>),
        _ => {
            let message = format!("{} ends in none of .npy, .fvecs, .jsonl, .hyperspace", path.display());
            return Err(Error::invalid_argument(message));
        }
    };
    let file = File::open(path).map_err(|error| of_file(path, &error))?;
    opener(file).map_err(|error| at(path.display(), &error))
}

/// What a reader says when the file system fails it.
pub(super) fn unreadable(error: &std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => Error::invalid_argument("the file became shorter while it was read"),
        _ => Error::invalid_argument(format!("cannot be read: {error}")),
    }
}

/// Records of one length behind a header.
pub(super) struct Records {
    reader: BufReader<File>,
    start: u64,
    total: u64,
    passed: u64,
    record: Vec<u8>,
}

impl Records {
    /// The records from where the reader stands to the end of the file.
    ///
    /// # Errors
    /// `InvalidArgument` when there are none, or the last one is cut off.
    pub(super) fn new(mut reader: BufReader<File>, bytes: usize) -> Result<Self> {
        let start = reader.stream_position().map_err(|error| unreadable(&error))?;
        let length = reader.get_ref().metadata().map_err(|error| unreadable(&error))?.len();
        let (data, each) = (length.saturating_sub(start), bytes as u64);
        if data == 0 {
            return Err(Error::invalid_argument("has no rows"));
        }
        if !data.is_multiple_of(each) {
            let whole = data / each;
            return Err(Error::invalid_argument(format!(
                "has {data} bytes of rows of {each} bytes each: row {whole} is cut off after {} bytes",
                data % each
            )));
        }
        Ok(Self { reader, start, total: data / each, passed: 0, record: vec![0; bytes] })
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn skip(&mut self, records: u64) -> Result<()> {
        self.passed = self.passed.saturating_add(records).min(self.total);
        self.reader.seek(SeekFrom::Start(self.position())).map_err(|error| unreadable(&error))?;
        Ok(())
    }

    pub(super) fn next(&mut self) -> Result<Option<&[u8]>> {
        if self.passed == self.total {
            return Ok(None);
        }
        self.reader.read_exact(&mut self.record).map_err(|error| unreadable(&error))?;
        self.passed += 1;
        Ok(Some(&self.record))
    }

    /// The record that was read last.
    pub(super) fn place(&self) -> String {
        format!("row {}", self.passed.saturating_sub(1))
    }

    pub(super) const fn position(&self) -> u64 {
        self.start + self.passed * self.record.len() as u64
    }
}
