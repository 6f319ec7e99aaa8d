//! `.npy`: one matrix of halves, floats or doubles, row after row, in either byte order.
//!
//! npyz reads the header; the rows are read as bytes, because millions of numbers one call each would take longer than
//! the network.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};

use hyperspace_core::error::{Error, Result};
use npyz::{DType, Endianness, NpyHeader, Order, TypeChar};

use super::source::{Records, Row, Rows, unreadable};

/// The longest header: that of a matrix takes about a hundred bytes, and its parser hundreds of times as much memory.
const MAX_HEADER_BYTES: usize = 4 << 10;

/// The most opening brackets of a header: that of a matrix has two. Its parser reads what stands in a bracket, and reads
/// it again when no comma follows, so every level takes twice as long as the one inside: forty would take for ever.
const MAX_BRACKETS: usize = 8;

/// A matrix in a file.
pub(super) struct Npy {
    records: Records,
    dimension: usize,
    element: Element,
    big_endian: bool,
}

/// What a number of the file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    F16,
    F32,
    F64,
}

impl Element {
    const fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

impl Npy {
    /// Reads the header and checks it against the length of the file.
    pub(super) fn open(file: File) -> Result<Self> {
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let header = read_header(&mut reader)?;
        let &[rows, columns] = header.shape() else {
            let shape = header.shape();
            return Err(Error::invalid_argument(format!("has the shape {shape:?}; an import needs rows and columns")));
        };
        if header.order() == Order::Fortran {
            return Err(Error::invalid_argument("is stored column by column; save numpy.ascontiguousarray of it"));
        }
        let (element, big_endian) = element(&header.dtype())?;
        let dimension = usize::try_from(columns).ok().filter(|&columns| columns > 0);
        let bytes = dimension.and_then(|dimension| dimension.checked_mul(element.bytes()));
        let (Some(dimension), Some(bytes)) = (dimension, bytes) else {
            return Err(Error::invalid_argument(format!("has rows of {columns} columns")));
        };
        let records = Records::new(reader, bytes)?;
        if records.total() != rows {
            let found = records.total();
            return Err(Error::invalid_argument(format!("holds {found} rows, its header says {rows}")));
        }
        Ok(Self { records, dimension, element, big_endian })
    }
}

impl Rows for Npy {
    fn dimension(&self) -> usize {
        self.dimension
    }

    fn total(&self) -> Option<u64> {
        Some(self.records.total())
    }

    fn has_doubles(&self) -> bool {
        self.element == Element::F64
    }

    fn skip(&mut self, rows: u64) -> Result<()> {
        self.records.skip(rows)
    }

    fn next(&mut self, row: &mut Row) -> Result<bool> {
        let Some(bytes) = self.records.next()? else { return Ok(false) };
        let big_endian = self.big_endian;
        row.vector.clear();
        match self.element {
            Element::F16 => widen(bytes, big_endian, |number| half(u16::from_le_bytes(number)), &mut row.vector),
            Element::F32 => widen(bytes, big_endian, |number| f32::from_le_bytes(number).into(), &mut row.vector),
            Element::F64 => widen(bytes, big_endian, f64::from_le_bytes, &mut row.vector),
        }
        Ok(true)
    }

    fn place(&self) -> String {
        self.records.place()
    }

    fn position(&self) -> u64 {
        self.records.position()
    }
}

/// Reads what stands before the rows. The parser sees nothing but what was found to be short and flat.
fn read_header(reader: &mut BufReader<File>) -> Result<NpyHeader> {
    const MAX_PREFIX: usize = 12;
    let refused =
        |why: String| Err(Error::invalid_argument(format!("is no .npy file of vectors: its header has {why}")));
    let mut start = Vec::new();
    let most = (MAX_PREFIX + MAX_HEADER_BYTES) as u64;
    reader.by_ref().take(most).read_to_end(&mut start).map_err(|error| unreadable(&error))?;
    // Magic, major and minor version, then the length, which became wider with version 2.
    let (prefix, len) = match *start {
        [_, _, _, _, _, _, 1, _, a, b, ..] => (10, usize::from(u16::from_le_bytes([a, b]))),
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => (MAX_PREFIX, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => (0, 0),
    };
    if len > MAX_HEADER_BYTES {
        return refused(format!("{len} bytes, at most {MAX_HEADER_BYTES} are read"));
    }
    start.truncate(prefix + len);
    let brackets = start.iter().filter(|byte| b"([{".contains(byte)).count();
    if brackets > MAX_BRACKETS {
        return refused(format!("{brackets} opening brackets, at most {MAX_BRACKETS} are read"));
    }
    let header = NpyHeader::from_reader(&start[..])
        .map_err(|error| Error::invalid_argument(format!("is no .npy file: {error}")))?;
    reader.seek(SeekFrom::Start(start.len() as u64)).map_err(|error| unreadable(&error))?;
    Ok(header)
}

/// What the numbers are, and whether their first byte is the largest.
fn element(dtype: &DType) -> Result<(Element, bool)> {
    let refused = || {
        let descr = dtype.descr();
        Error::invalid_argument(format!(
            "holds {descr}; an import needs floats: '<f2', '<f4', '<f8' or their '>' forms"
        ))
    };
    let DType::Plain(plain) = dtype else { return Err(refused()) };
    let element = match (plain.type_char(), plain.size_field()) {
        (TypeChar::Float, 2) => Element::F16,
        (TypeChar::Float, 4) => Element::F32,
        (TypeChar::Float, 8) => Element::F64,
        _ => return Err(refused()),
    };
    Ok((element, plain.endianness() == Endianness::Big))
}

fn widen<const N: usize>(bytes: &[u8], big_endian: bool, read: impl Fn([u8; N]) -> f64, out: &mut Vec<f64>) {
    let numbers = bytes.as_chunks().0.iter().copied();
    if big_endian {
        out.extend(numbers.map(|mut number| {
            number.reverse();
            read(number)
        }));
    } else {
        out.extend(numbers.map(read));
    }
}

/// The value of an IEEE 754 half.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction > 0.0 => f64::NAN,
        31 => f64::INFINITY,
        exponent => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::import::source::open;

    fn npy(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
        header.push_str(&" ".repeat(63 - (10 + header.len()) % 64));
        header.push('\n');
        let length = u16::try_from(header.len()).unwrap().to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, header.as_bytes(), data].concat()
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<f64>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.npy");
        fs::write(&path, bytes).unwrap();
        let mut rows = open(&path)?;
        let (mut row, mut all) = (Row::default(), Vec::new());
        while rows.next(&mut row)? {
            assert!(row.id.is_none() && row.metadata.is_empty());
            all.push(row.vector.clone());
        }
        assert_eq!(rows.total(), Some(all.len() as u64));
        assert_eq!(rows.position(), bytes.len() as u64);
        Ok(all)
    }

    const NUMBERS: [f64; 6] = [0.5, -1.25, 3.0, 1e-3, -0.0, 65504.0];

    fn data<const N: usize>(write: impl Fn(f64) -> [u8; N]) -> Vec<u8> {
        NUMBERS.iter().flat_map(|&number| write(number)).collect()
    }

    #[test]
    fn floats_and_doubles_of_either_byte_order_are_read_exactly() {
        let files = [
            npy("<f4", false, "(3, 2)", &data(|x| (x as f32).to_le_bytes())),
            npy(">f4", false, "(3, 2)", &data(|x| (x as f32).to_be_bytes())),
            npy("<f8", false, "(3, 2)", &data(f64::to_le_bytes)),
            npy(">f8", false, "(3, 2)", &data(f64::to_be_bytes)),
        ];
        for (at, file) in files.iter().enumerate() {
            let exact = |&x: &f64| if at < 2 { f64::from(x as f32) } else { x };
            let expected: Vec<u64> = NUMBERS.iter().map(exact).map(f64::to_bits).collect();
            let rows = read(file).unwrap();
            assert!(rows.iter().all(|row| row.len() == 2));
            assert_eq!(rows.concat().into_iter().map(f64::to_bits).collect::<Vec<_>>(), expected, "file {at}");
        }
    }

    #[test]
    fn halves_are_widened_exactly() {
        let cases = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x0001, 5.960_464_477_539_063e-8),
            (0x03ff, 6.097_555_160_522_461e-5),
            (0x3555, 0.333_251_953_125),
            (0x7bff, 65504.0),
            (0xfc00, f64::NEG_INFINITY),
            (0x8000, -0.0),
        ];
        let data: Vec<u8> = cases.iter().flat_map(|(bits, _): &(u16, f64)| bits.to_le_bytes()).collect();
        let rows = read(&npy("<f2", false, "(4, 2)", &data)).unwrap();
        for (found, (bits, expected)) in rows.concat().into_iter().zip(cases) {
            assert!(found.total_cmp(&expected).is_eq(), "{bits:#x} is {expected}, not {found}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn rows_that_are_skipped_are_not_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors.npy");
        fs::write(&path, npy("<f8", false, "(3, 2)", &data(f64::to_le_bytes))).unwrap();
        let mut row = Row::default();
        for skipped in 0..3 {
            let mut rows = open(&path).unwrap();
            rows.skip(skipped).unwrap();
            assert!(rows.next(&mut row).unwrap());
            assert_eq!(row.vector, NUMBERS[2 * skipped as usize..][..2]);
            assert_eq!(rows.place(), format!("row {skipped}"));
        }
        let mut rows = open(&path).unwrap();
        rows.skip(u64::MAX).unwrap();
        assert!(!rows.next(&mut row).unwrap());
    }

    #[test]
    fn what_cannot_be_imported_is_refused_with_the_reason() {
        let floats = data(|x| (x as f32).to_le_bytes());
        let cases = [
            (npy("<f4", false, "(3, 2)", &floats[..23]), "row 2 is cut off after 7 bytes"),
            (npy("<f4", false, "(4, 2)", &floats), "holds 3 rows, its header says 4"),
            (npy("<f4", false, "(2, 2)", &floats), "holds 3 rows, its header says 2"),
            (npy("<f4", true, "(3, 2)", &floats), "column by column"),
            (npy("<f4", false, "(6,)", &floats), "has the shape [6]"),
            (npy("<f4", false, "(3, 0)", &[]), "rows of 0 columns"),
            (npy("<f4", false, "(0, 2)", &[]), "has no rows"),
            (npy("<i4", false, "(3, 2)", &floats), "holds '<i4'; an import needs floats"),
            (b"PK\x03\x04 is a zip".to_vec(), "is no .npy file"),
            (Vec::new(), "is no .npy file"),
        ];
        for (file, expected) in cases {
            let error = read(&file).unwrap_err();
            assert!(error.message().contains(expected), "{error} does not say {expected:?}");
            assert!(error.message().contains("vectors.npy"), "{error} does not name the file");
        }
    }
    #[test]
    fn a_header_that_claims_gigabytes_is_refused_before_they_are_given_away() {
        let claims = |len: u32| [&b"\x93NUMPY\x02\x00"[..], &len.to_le_bytes(), b"{'descr': '<f4'}"].concat();
        for (file, expected) in [
            (claims(u32::MAX), "its header has 4294967295 bytes, at most 4096 are read"),
            (claims(4_097), "its header has 4097 bytes, at most 4096 are read"),
            // Within the bound, and not there.
            (claims(4_096), "is no .npy file: failed to fill whole buffer"),
        ] {
            let error = read(&file).unwrap_err();
            assert!(error.message().contains(expected), "{error} does not say {expected:?}");
        }
    }

    #[test]
    fn brackets_that_would_keep_the_parser_for_ever_are_refused() {
        // With 8 in all it is the parser that refuses the header, and soon.
        for (bracket, depth, expected) in [
            ("[", 27, "its header has 28 opening brackets, at most 8 are read"),
            ("{", 27, "its header has 28 opening brackets, at most 8 are read"),
            ("(", 8, "its header has 9 opening brackets, at most 8 are read"),
            ("[", 7, "is no .npy file: could not parse"),
        ] {
            let error = read(&npy("<f4", false, &bracket.repeat(depth), &[])).unwrap_err();
            assert!(error.message().contains(expected), "{error} does not say {expected:?}");
        }
    }
}
