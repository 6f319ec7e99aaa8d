//! For fuzz targets only (feature `fuzzing`): the readers of files that are imported, and of how far they were.

use std::path::Path;

use hyperspace_core::error::Result;
use hyperspace_core::types::PointId;

use super::import::source::{self, Row};
pub use super::import::state as import_state;

/// A row: its id if it has one, its components, its metadata.
pub type Read<'a> = (Option<&'a PointId>, &'a [f64], &'a str);

/// The rows of a file, each with what it says of itself.
pub struct Rows {
    reader: Box<dyn source::Rows>,
    row: Row,
}

impl Rows {
    /// Opens a file by its ending.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { reader: source::open(path)?, row: Row::default() })
    }

    /// Components of the first row.
    pub fn dimension(&self) -> usize {
        self.reader.dimension()
    }

    /// How many rows there are, where that is known.
    pub fn total(&self) -> Option<u64> {
        self.reader.total()
    }

    /// Bytes that were read or passed over.
    pub fn position(&self) -> u64 {
        self.reader.position()
    }

    /// Passes over rows.
    pub fn skip(&mut self, rows: u64) -> Result<()> {
        self.reader.skip(rows)
    }

    /// The id, the components and the metadata of the next row.
    pub fn read(&mut self) -> Result<Option<Read<'_>>> {
        let is_there = self.reader.next(&mut self.row)?;
        let Row { id, vector, metadata } = &self.row;
        Ok(is_there.then_some((id.as_ref(), vector, metadata)))
    }
}
