//! What files that are replaced as a whole have in common: a head that tells what they are and vouches for the rest.
//!
//! ```text
//! magic u32 | version u32 | crc32c of the body u32 | len of the body u32 | body
//! ```
//! Knows nothing of what is in a body.

use hyperspace_core::bytes::{Reader, Writer, crc32c};
use hyperspace_core::error::{Error, Result};

/// One kind of file.
pub(crate) struct Format {
    pub(crate) magic: [u8; 4],
    /// The one version that there is.
    pub(crate) version: u32,
    /// What the file is called in messages, such as `a catalog`.
    pub(crate) name: &'static str,
}

impl Format {
    /// Puts the head before a body.
    pub(crate) fn encode(&self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + body.len());
        out.extend_from_slice(&self.magic);
        out.put_u32(self.version);
        out.put_u32(crc32c(body));
        out.put_u32(body.len() as u32);
        out.extend_from_slice(body);
        out
    }

    /// The body of stored bytes.
    ///
    /// # Errors
    /// `Corrupted` when a check fails, `Unsupported` for a later version.
    pub(crate) fn decode<'a>(&self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let Self { magic, version, name } = self;
        let mut reader = Reader::new(bytes);
        if reader.bytes(4, "a magic")? != magic {
            return Err(Error::corrupted(format!("these bytes are not {name}")));
        }
        let found = reader.u32("a version")?;
        if found != *version {
            return Err(Error::unsupported(format!("{name} of version {found}; this build reads {version}")));
        }
        let crc = reader.u32("a checksum")?;
        let len = reader.u32("a length")? as usize;
        let body = reader.bytes(len, name)?;
        reader.finish(name)?;
        if crc32c(body) != crc {
            return Err(Error::corrupted(format!("{name} does not match its checksum")));
        }
        Ok(body)
    }
}

/// Appends a text of at most 255 bytes behind its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    debug_assert!(text.len() <= 255, "{} bytes have no length of one byte", text.len());
    out.put_u8(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
}

/// Reads what [`put_text`] wrote.
///
/// # Errors
/// `Corrupted` when it ends early or is no UTF-8.
pub(crate) fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str> {
    let len = reader.u8("the length of a text")? as usize;
    let bytes = reader.bytes(len, "a text")?;
    str::from_utf8(bytes).map_err(|_| Error::corrupted("a text that is no UTF-8"))
}
