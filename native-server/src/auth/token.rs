//! Tokens for browsers: what a key allows, or a part of it, for some minutes, without the server keeping anything.
//!
//! `hst_` and base64url of payload and code. The code is a keyed blake3 under a secret of this database, over the payload
//! and the fingerprint of what vouches for the token: without that there is no code to compare with, so a token dies with
//! its key. Codes are compared in constant time, and nothing of a payload is believed before.
//!
//! ```text
//! version u8 | voucher u8, key u64 | scopes u8 | expires u64 | tenant | origin | count u8 | collections | code 32 bytes
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;

use super::caller::{Collections, Voucher};
use super::key::{Fingerprint, KeyId};
use super::scope::Scopes;
use super::stored::{put_collections, read_collections};
use crate::store::whole::{put_text, text};
use crate::tenancy;

/// What every token begins with.
const PREFIX: &str = "hst_";
const VERSION: u8 = 1;
/// Bytes of a code.
const CODE: usize = 32;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) voucher: Voucher,
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    pub(super) collections: Option<Collections>,
    /// The only pages that may use it; without one, whoever has it.
    pub(super) origin: Option<String>,
    pub(super) expires_ms: u64,
}

impl Token {
    /// The token as a browser gets it.
    pub(super) fn show(&self, secret: &[u8; 32], voucher: &Fingerprint) -> String {
        let mut out = vec![VERSION];
        let (kind, key) = match self.voucher {
            Voucher::Nobody => (0, 0),
            Voucher::Administrator => (1, 0),
            Voucher::Key(id) => (2, id.0),
        };
        out.put_u8(kind);
        out.put_u64(key);
        out.put_u8(self.scopes.bits());
        out.put_u64(self.expires_ms);
        put_text(&mut out, self.tenant.name());
        put_text(&mut out, self.origin.as_deref().unwrap_or_default());
        put_collections(&mut out, self.collections.as_ref());
        let code = code(secret, voucher, &out);
        out.extend_from_slice(code.as_bytes());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(out))
    }

    /// Reads a payload whose code is right.
    fn read(payload: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(payload);
        let voucher = voucher(&mut reader)?;
        let scopes = Scopes::from_bits(reader.u8("scopes")?).ok_or_else(|| Error::corrupted("no such scopes"))?;
        let expires_ms = reader.u64("a time")?;
        let tenant = tenancy::of_key(text(&mut reader)?)?;
        let origin = Some(text(&mut reader)?.to_owned()).filter(|origin| !origin.is_empty());
        let collections = read_collections(&mut reader)?;
        reader.finish("a token")?;
        Ok(Self { voucher, tenant, scopes, collections, origin, expires_ms })
    }
}

fn voucher(reader: &mut Reader<'_>) -> Result<Voucher> {
    let version = reader.u8("a version")?;
    if version != VERSION {
        return Err(Error::unsupported(format!("a token of version {version}; this build reads {VERSION}")));
    }
    match (reader.u8("a voucher")?, reader.u64("a key")?) {
        (0, 0) => Ok(Voucher::Nobody),
        (1, 0) => Ok(Voucher::Administrator),
        (2, id) => Ok(Voucher::Key(KeyId(id))),
        (kind, id) => Err(Error::corrupted(format!("there is no voucher {kind} {id}"))),
    }
}

fn code(secret: &[u8; 32], voucher: &Fingerprint, payload: &[u8]) -> blake3::Hash {
    blake3::Hasher::new_keyed(secret).update(voucher.as_bytes()).update(payload).finalize()
}

/// What has the form of a token.
pub(super) struct Unverified {
    /// Who is said to vouch for it.
    pub(super) voucher: Voucher,
    payload: Vec<u8>,
    code: [u8; CODE],
}

/// Reads the form of a token; nothing when it is none.
pub(super) fn parse(text: &str) -> Option<Unverified> {
    let mut payload = URL_SAFE_NO_PAD.decode(text.strip_prefix(PREFIX)?).ok()?;
    let code = *payload.last_chunk()?;
    payload.truncate(payload.len() - CODE);
    let voucher = voucher(&mut Reader::new(&payload)).ok()?;
    Some(Unverified { voucher, payload, code })
}

impl Unverified {
    /// What it says, if this server said so.
    pub(super) fn verify(&self, secret: &[u8; 32], voucher: &Fingerprint) -> Option<Token> {
        if code(secret, voucher, &self.payload) != self.code {
            return None;
        }
        Token::read(&self.payload).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    use std::sync::Arc;

    use hyperspace_core::types::CollectionName;

    use crate::auth::scope::Scope;

    const SECRET: [u8; 32] = [7; 32];

    fn token(voucher: Voucher) -> Token {
        Token {
            voucher,
            tenant: tenancy::of_key("ada").unwrap(),
            scopes: [Scope::Read, Scope::Sync].into_iter().collect(),
            collections: Some(Arc::new([CollectionName::new("c").unwrap()].into())),
            origin: Some("https://app.example".into()),
            expires_ms: 1 << 40,
        }
    }

    #[test]
    fn a_token_says_what_it_was_told_to_and_nothing_after_any_change() {
        let fingerprint = blake3::hash(b"key");
        for voucher in [Voucher::Nobody, Voucher::Administrator, Voucher::Key(KeyId(u64::MAX))] {
            let plain = Token { collections: None, origin: None, ..token(voucher) };
            for token in [token(voucher), plain] {
                let shown = token.show(&SECRET, &fingerprint);
                let unverified = parse(&shown).unwrap();
                assert_eq!(unverified.voucher, voucher);
                assert_eq!(unverified.verify(&SECRET, &fingerprint).as_ref(), Some(&token));
                assert_eq!(unverified.verify(&SECRET, &blake3::hash(b"another key")), None);
                assert_eq!(unverified.verify(&[8; 32], &fingerprint), None);

                let bytes = URL_SAFE_NO_PAD.decode(&shown[PREFIX.len()..]).unwrap();
                for bit in 0..bytes.len() * 8 {
                    let mut other = bytes.clone();
                    other[bit / 8] ^= 1 << (bit % 8);
                    let other = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(other));
                    let read = parse(&other).and_then(|token| token.verify(&SECRET, &fingerprint));
                    assert_eq!(read, None, "bit {bit}");
                }
                for cut in 0..shown.len() {
                    let read = parse(&shown[..cut]).and_then(|token| token.verify(&SECRET, &fingerprint));
                    assert_eq!(read, None, "cut at {cut}");
                }
            }
        }
    }
}
