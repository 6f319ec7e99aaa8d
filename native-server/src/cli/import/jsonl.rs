//! `.jsonl`: a JSON object a line, either a point (`id`, `vector`, `metadata`) or the metadata of another file's row.
//!
//! Blank lines are passed over. Ids and the integers in metadata are read exactly, beyond 2^53 too; metadata are checked
//! by the engine's own rules and written again in their shortest form.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::types::PointId;
use serde::Deserialize;

use super::source::{Row, Rows, unreadable};
use crate::cli::failure::{at, of_file};

/// The longest line: a point of the largest dimension and with the most metadata takes a fraction of it.
const MAX_LINE_BYTES: usize = 4 << 20;

/// Points, one a line.
pub(super) struct Jsonl {
    lines: Lines,
    dimension: usize,
}

/// A point as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    id: Option<Value>,
    vector: Vec<f64>,
    metadata: Option<Value>,
}

impl Jsonl {
    /// Reads the first point for its dimension.
    pub(super) fn open(file: File) -> Result<Self> {
        let mut jsonl = Self { lines: Lines::new(file), dimension: 0 };
        let mut first = Row::default();
        if !jsonl.next(&mut first)? {
            return Err(Error::invalid_argument("has no rows"));
        }
        jsonl.lines.rewind()?;
        jsonl.dimension = first.vector.len();
        Ok(jsonl)
    }
}

impl Rows for Jsonl {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn total(&self) -> Option<u64> {
        None
    }

    fn has_doubles(&self) -> bool {
        false
    }

    fn skip(&mut self, rows: u64) -> Result<()> {
        self.lines.skip(rows)
    }

    fn next(&mut self, row: &mut Row) -> Result<bool> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        read_point(line, row).map_err(|error| at(self.place(), &error))?;
        Ok(true)
    }

    fn place(&self) -> String {
        self.lines.place()
    }

    fn position(&self) -> u64 {
        self.lines.position
    }
}

fn read_point(line: &[u8], row: &mut Row) -> Result<()> {
    let point: Point = serde_json::from_slice(line).map_err(|error| wrong(&error))?;
    row.id = match point.id {
        None => None,
        Some(Value::Str(text)) => Some(PointId::string(&text)?),
        Some(Value::U64(number)) => Some(PointId::Int(number)),
        Some(Value::I64(number)) if number >= 0 => Some(PointId::Int(number.cast_unsigned())),
        Some(Value::I64(_) | Value::F64(_)) => {
            return Err(Error::invalid_argument("a number that is an id is a whole one and not below 0"));
        }
        Some(other) => {
            return Err(Error::invalid_argument(format!("an id is a number or a string, not {}", other.describe())));
        }
    };
    row.vector = point.vector;
    row.metadata.clear();
    if let Some(metadata) = point.metadata {
        write_metadata(&metadata, &mut row.metadata)?;
    }
    Ok(())
}

/// Checks metadata and writes them; none when there is nothing in them.
fn write_metadata(value: &Value, out: &mut String) -> Result<()> {
    let metadata = Metadata::from_value(value)?;
    if metadata.as_bytes().is_empty() {
        return Ok(());
    }
    out.push_str(&serde_json::to_string(value).map_err(|error| wrong(&error))?);
    Ok(())
}

fn wrong(error: &serde_json::Error) -> Error {
    // serde_json counts lines too, but each line is a document of its own to it.
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    Error::invalid_argument(format!("column {}: {what}", error.column()))
}

/// The rows of one file with metadata from another, line by row.
pub(super) struct WithMetadata {
    rows: Box<dyn Rows>,
    lines: Lines,
    /// The file of metadata, for messages.
    name: String,
}

impl WithMetadata {
    /// Opens the metadata and compares their number with that of the rows.
    ///
    /// # Errors
    /// `InvalidArgument` when the numbers differ.
    pub(super) fn open(rows: Box<dyn Rows>, path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| of_file(path, &error))?;
        let mut lines = Lines::new(file);
        let name = path.display().to_string();
        let mut found = 0;
        while lines.next().map_err(|error| at(&name, &error))?.is_some() {
            found += 1;
        }
        if let Some(total) = rows.total().filter(|&total| total != found) {
            return Err(Error::invalid_argument(format!("{name} has metadata for {found} rows, there are {total}")));
        }
        lines.rewind()?;
        Ok(Self { rows, lines, name })
    }

    fn next_metadata(&mut self, out: &mut String) -> Result<()> {
        out.clear();
        let line = self.lines.next()?;
        let line = line.ok_or_else(|| Error::invalid_argument("became shorter while it was read"))?;
        let read = serde_json::from_slice(line).map_err(|error| wrong(&error));
        read.and_then(|value| write_metadata(&value, out)).map_err(|error| at(self.lines.place(), &error))
    }
}

impl Rows for WithMetadata {
    fn dimension(&self) -> usize {
        self.rows.dimension()
    }

    fn total(&self) -> Option<u64> {
        self.rows.total()
    }

    fn has_doubles(&self) -> bool {
        self.rows.has_doubles()
    }

    fn skip(&mut self, rows: u64) -> Result<()> {
        self.rows.skip(rows)?;
        self.lines.skip(rows).map_err(|error| at(&self.name, &error))
    }

    fn next(&mut self, row: &mut Row) -> Result<bool> {
        if !self.rows.next(row)? {
            return Ok(false);
        }
        self.next_metadata(&mut row.metadata).map_err(|error| at(&self.name, &error))?;
        Ok(true)
    }

    fn place(&self) -> String {
        self.rows.place()
    }

    fn position(&self) -> u64 {
        self.rows.position()
    }
}

/// The lines of a file that are not blank.
struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Lines read so far, blank ones too.
    number: u64,
    /// Bytes read so far.
    position: u64,
}

impl Lines {
    fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(1 << 20, file), line: Vec::new(), number: 0, position: 0 }
    }

    fn rewind(&mut self) -> Result<()> {
        self.reader.rewind().map_err(|error| unreadable(&error))?;
        (self.number, self.position) = (0, 0);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            self.line.clear();
            let mut bounded = self.reader.by_ref().take(MAX_LINE_BYTES as u64 + 1);
            let read = bounded.read_until(b'\n', &mut self.line).map_err(|error| unreadable(&error))?;
            if read == 0 {
                return Ok(None);
            }
            self.number += 1;
            self.position += read as u64;
            if read > MAX_LINE_BYTES {
                let place = self.place();
                return Err(Error::limit_exceeded(format!("{place} has more than {MAX_LINE_BYTES} bytes")));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(self.line.trim_ascii_end()));
            }
        }
    }

    fn skip(&mut self, lines: u64) -> Result<()> {
        for _ in 0..lines {
            if self.next()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn place(&self) -> String {
        format!("line {}", self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::import::source;

    fn open(text: &str) -> Result<Box<dyn Rows>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.jsonl");
        fs::write(&path, text).unwrap();
        source::open(&path)
    }

    fn read(text: &str) -> Result<Vec<Row>> {
        let mut rows = open(text)?;
        let mut all = Vec::new();
        loop {
            let mut row = Row::default();
            if !rows.next(&mut row)? {
                assert_eq!(rows.position(), text.len() as u64);
                return Ok(all);
            }
            all.push(row);
        }
    }

    #[test]
    fn ids_numbers_and_metadata_are_read_exactly() {
        let text = "\n{\"id\": 9007199254740993, \"vector\": [0.1, -2], \"metadata\": {\"n\": 9007199254740993, \"x\": 0.1}}\r\n\
            \n{\"vector\": [1e-3, 4], \"id\": \"a\", \"metadata\": {}}\n\
            {\"id\": 18446744073709551615, \"vector\": [5, 6], \"metadata\": null}\n\
            {\"vector\": [7, 8]}";
        let rows = read(text).unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id.clone()).collect();
        let expected = [
            Some(PointId::Int(9_007_199_254_740_993)),
            Some(PointId::Str("a".into())),
            Some(PointId::Int(u64::MAX)),
            None,
        ];
        assert_eq!(ids, expected);
        let vectors: Vec<_> = rows.iter().map(|row| row.vector.clone()).collect();
        assert_eq!(vectors, [[0.1, -2.0], [1e-3, 4.0], [5.0, 6.0], [7.0, 8.0]]);
        let metadata: Vec<_> = rows.iter().map(|row| row.metadata.as_str()).collect();
        assert_eq!(metadata, ["{\"n\":9007199254740993,\"x\":0.1}", "", "", ""]);
    }

    #[test]
    fn the_dimension_is_that_of_the_first_point_and_blank_lines_are_no_rows() {
        let mut rows = open("\n \n{\"vector\": [1, 2, 3]}\n\n{\"vector\": [4]}\n").unwrap();
        assert_eq!(rows.dimension(), 3);
        rows.skip(1).unwrap();
        let mut row = Row::default();
        assert!(rows.next(&mut row).unwrap());
        assert_eq!((row.vector, rows.place()), (vec![4.0], "line 5".to_string()));
    }

    #[test]
    fn a_bad_line_is_named_with_the_reason() {
        let deep = format!("{{\"vector\": [1], \"metadata\": {}1{}}}", "{\"a\":".repeat(33), "}".repeat(33));
        let large = format!("{{\"vector\": [1], \"metadata\": {{\"a\": \"{}\"}}}}", "x".repeat(65536));
        let cases = [
            ("{\"vector\": [1", "line 2: column 13: EOF while parsing a list"),
            ("{\"id\": 1}", "line 2: column 9: missing field `vector`"),
            ("{\"vector\": [1], \"metdata\": {}}", "unknown field `metdata`"),
            ("{\"vector\": [null]}", "line 2: column"),
            ("{\"vector\": [NaN]}", "line 2: column"),
            ("{\"vector\": [1e999]}", "number out of range"),
            ("{\"id\": -1, \"vector\": [1]}", "an id is a whole one and not below 0"),
            ("{\"id\": 1.0, \"vector\": [1]}", "an id is a whole one and not below 0"),
            ("{\"id\": 18446744073709551616, \"vector\": [1]}", "an id is a whole one and not below 0"),
            ("{\"id\": \"\", \"vector\": [1]}", "a string id has 1 to 128 bytes"),
            ("{\"id\": [1], \"vector\": [1]}", "an id is a number or a string, not a list"),
            ("{\"vector\": [1], \"metadata\": [1]}", "metadata is an object, not a list"),
            ("{\"vector\": [1], \"metadata\": {\"a\": 1, \"a\": 2}}", "key `a` is given twice"),
            (&deep, "levels"),
            (&large, "65536"),
            ("{\"vector\": [1]} {\"vector\": [2]}", "trailing characters"),
        ];
        for (line, expected) in cases {
            let error = read(&format!("{{\"vector\": [1]}}\n{line}\n")).unwrap_err();
            let message = error.message();
            assert!(message.contains(expected) && message.contains("line 2"), "{message:?} does not say {expected:?}");
        }
        assert!(read("\n\n").unwrap_err().message().contains("has no rows"));
    }

    #[test]
    fn a_line_without_an_end_is_not_read_into_memory() {
        let text = format!("{{\"vector\": [1]}}\n{}", " ".repeat(MAX_LINE_BYTES + 1));
        let error = read(&text).unwrap_err();
        assert!(error.message().contains("line 2 has more than 4194304 bytes"), "{error}");
    }
}
