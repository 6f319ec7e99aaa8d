//! `.fvecs`: each row is its dimension as an i32 and that many f32, all little-endian (the TEXMEX data sets' format).
//!
//! All rows of one file have one dimension, as everywhere these files are used.

use std::fs::File;
use std::io::{BufReader, Read, Seek};

use hyperspace_core::collection::MAX_DIMENSION;
use hyperspace_core::error::{Error, Result};

use super::source::{Records, Row, Rows, unreadable};

/// The rows of a file.
pub(super) struct Fvecs {
    records: Records,
    dimension: usize,
}

impl Fvecs {
    /// Reads the first row's dimension and checks the length of the file against it.
    pub(super) fn open(file: File) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut first = [0; 4];
        reader.read_exact(&mut first).map_err(|_| Error::invalid_argument("has no rows"))?;
        reader.rewind().map_err(|error| unreadable(&error))?;
        let first = i32::from_le_bytes(first);
        let dimension = usize::try_from(first).ok().filter(|dimension| (1..=MAX_DIMENSION).contains(dimension));
        let dimension = dimension.ok_or_else(|| {
            Error::invalid_argument(format!(
                "row 0 says that it has {first} dimensions, 1 to {MAX_DIMENSION} are allowed"
            ))
        })?;
        Ok(Self { records: Records::new(reader, 4 + 4 * dimension)?, dimension })
    }
}

impl Rows for Fvecs {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn total(&self) -> Option<u64> {
        Some(self.records.total())
    }

    fn has_doubles(&self) -> bool {
        false
    }

    fn skip(&mut self, rows: u64) -> Result<()> {
        self.records.skip(rows)
    }

    fn next(&mut self, row: &mut Row) -> Result<bool> {
        let Some(record) = self.records.next()? else { return Ok(false) };
        let (dimension, numbers) = record.split_first_chunk().expect("a record begins with its dimension");
        let dimension = i32::from_le_bytes(*dimension);
        if usize::try_from(dimension) != Ok(self.dimension) {
            let (place, expected) = (self.place(), self.dimension);
            return Err(Error::invalid_argument(format!(
                "{place} says that it has {dimension} dimensions, row 0 has {expected}"
            )));
        }
        row.vector.clear();
        row.vector.extend(numbers.as_chunks().0.iter().map(|&number| f64::from(f32::from_le_bytes(number))));
        Ok(true)
    }

    fn place(&self) -> String {
        self.records.place()
    }

    fn position(&self) -> u64 {
        self.records.position()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::import::source::open;

    fn row(dimension: i32, numbers: &[f32]) -> Vec<u8> {
        dimension.to_le_bytes().into_iter().chain(numbers.iter().flat_map(|number| number.to_le_bytes())).collect()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<f64>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.fvecs");
        fs::write(&path, bytes).unwrap();
        let mut rows = open(&path)?;
        let (mut row, mut all) = (Row::default(), Vec::new());
        while rows.next(&mut row)? {
            all.push(row.vector.clone());
        }
        Ok(all)
    }

    #[test]
    fn rows_are_read_exactly() {
        let file = [row(2, &[0.1, -2.5]), row(2, &[f32::MIN_POSITIVE, 7.0])].concat();
        let expected = [[f64::from(0.1_f32), -2.5], [f64::from(f32::MIN_POSITIVE), 7.0]];
        assert_eq!(read(&file).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_imported_is_refused_with_the_reason() {
        let good = row(2, &[1.0, 2.0]);
        let cases = [
            (Vec::new(), "has no rows"),
            (good[..3].to_vec(), "has no rows"),
            ([&good[..], &good[..11]].concat(), "row 1 is cut off after 11 bytes"),
            ([&good[..], &row(3, &[1.0, 2.0])].concat(), "row 1 says that it has 3 dimensions, row 0 has 2"),
            (row(0, &[]), "row 0 says that it has 0 dimensions"),
            (row(-1, &[]), "row 0 says that it has -1 dimensions"),
            (row(5000, &[]), "row 0 says that it has 5000 dimensions, 1 to 4096 are allowed"),
        ];
        for (file, expected) in cases {
            let error = read(&file).unwrap_err();
            assert!(error.message().contains(expected), "{error} does not say {expected:?}");
        }
    }
}
