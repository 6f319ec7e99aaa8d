//! The file of keys.
//!
//! ```text
//! head, as `store::whole` has it, with the magic "HSKY"
//! body:  token secret | count u32 | keys, by number
//! token secret: 0 u8, or 1 u8 | 32 bytes
//! key:   number u64 | fingerprint 32 bytes | scopes u8 | created u64 | expires u64, 0 for never | name | tenant |
//!        count u8 | collections
//! texts: len u8 | UTF-8
//! ```
//! It is replaced as a whole. No secret of a key is in it. A key of the administrator's has the tenant "".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::{CollectionName, Tenant};

use super::caller::Collections;
use super::key::{Fingerprint, KeyId};
use super::scope::{Scope, Scopes};
use crate::store::whole::{Format, put_text, text};
use crate::tenancy;

const FORMAT: Format = Format { magic: *b"HSKY", version: 1, name: "a file of keys" };

/// The most collections that one credential names: a list that a token can carry in a header.
pub(crate) const MAX_COLLECTIONS: usize = 100;

/// Everything that is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What tokens are made with; drawn with the first of them.
    pub(crate) token_secret: Option<[u8; 32]>,
    pub(crate) keys: BTreeMap<KeyId, Key>,
}

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) fingerprint: Fingerprint,
    /// For people.
    pub(crate) name: String,
    /// Whose it is; nobody's when it is the administrator's.
    pub(crate) tenant: Option<Tenant>,
    pub(crate) scopes: Scopes,
    pub(crate) collections: Option<Collections>,
    pub(crate) created_ms: u64,
    pub(crate) expires_ms: Option<u64>,
}

impl Key {
    /// Whether whoever has it can always get in and make others.
    pub(crate) const fn opens_for_good(&self) -> bool {
        self.scopes.names(Scope::Admin) && self.expires_ms.is_none()
    }
}

impl Stored {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u8(u8::from(self.token_secret.is_some()));
        body.extend(self.token_secret.iter().flatten());
        body.put_u32(self.keys.len() as u32);
        for (id, key) in &self.keys {
            body.put_u64(id.0);
            body.extend_from_slice(key.fingerprint.as_bytes());
            body.put_u8(key.scopes.bits());
            body.put_u64(key.created_ms);
            body.put_u64(key.expires_ms.unwrap_or(0));
            put_text(&mut body, &key.name);
            put_text(&mut body, key.tenant.as_ref().map_or("", Tenant::name));
            put_collections(&mut body, key.collections.as_ref());
        }
        FORMAT.encode(&body)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// `Corrupted` when a check fails, `Unsupported` for a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(FORMAT.decode(bytes)?);
        let token_secret = match reader.u8("whether there is a secret")? {
            0 => None,
            1 => Some(array(&mut reader, "a secret")?),
            other => return Err(Error::corrupted(format!("a file of keys has {other} secrets"))),
        };
        let mut keys = BTreeMap::new();
        for _ in 0..reader.u32("a number of keys")? {
            let id = KeyId(reader.u64("the number of a key")?);
            let key = key(&mut reader).map_err(|error| Error::corrupted(format!("key {id}: {}", error.message())))?;
            if keys.insert(id, key).is_some() {
                return Err(Error::corrupted(format!("key {id} is there twice")));
            }
        }
        reader.finish("the keys")?;
        Ok(Self { token_secret, keys })
    }
}

fn key(reader: &mut Reader<'_>) -> Result<Key> {
    let fingerprint = Fingerprint::from_bytes(array(reader, "a fingerprint")?);
    let bits = reader.u8("scopes")?;
    let scopes = Scopes::from_bits(bits).ok_or_else(|| Error::corrupted(format!("there are no scopes {bits:#x}")))?;
    let (created_ms, expires_ms) = (reader.u64("a time")?, reader.u64("a time")?);
    let name = text(reader)?.to_owned();
    let tenant = match text(reader)? {
        "" => None,
        name => Some(tenancy::of_key(name)?),
    };
    if tenant.is_none() != scopes.names(Scope::Admin) {
        return Err(Error::corrupted("a key is either the administrator's or a tenant's"));
    }
    let expires_ms = (expires_ms != 0).then_some(expires_ms);
    let collections = read_collections(reader)?;
    Ok(Key { fingerprint, name, tenant, scopes, collections, created_ms, expires_ms })
}

fn array<const N: usize>(reader: &mut Reader<'_>, what: &str) -> Result<[u8; N]> {
    let mut out = [0; N];
    out.copy_from_slice(reader.bytes(N, what)?);
    Ok(out)
}

/// Appends the names of a list; no list is an empty one.
pub(super) fn put_collections(out: &mut Vec<u8>, collections: Option<&Collections>) {
    out.put_u8(collections.map_or(0, |names| names.len() as u8));
    collections.into_iter().flat_map(|names| names.iter()).for_each(|name| put_text(out, name.as_str()));
}

/// Reads what [`put_collections`] wrote.
pub(super) fn read_collections(reader: &mut Reader<'_>) -> Result<Option<Collections>> {
    let count = reader.u8("a number of collections")?;
    let names = (0..count).map(|_| CollectionName::new(text(reader)?)).collect::<Result<BTreeSet<_>>>()?;
    if names.len() != usize::from(count) {
        return Err(Error::corrupted("a collection is named twice"));
    }
    Ok((count > 0).then(|| Arc::new(names)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(names: &[&str]) -> Collections {
        Arc::new(names.iter().map(|name| CollectionName::new(name).unwrap()).collect())
    }

    fn stored() -> Stored {
        let administrators = Key {
            fingerprint: blake3::hash(b"a"),
            name: "first \u{e4}".into(),
            tenant: None,
            scopes: [Scope::Admin].into_iter().collect(),
            collections: None,
            created_ms: 7,
            expires_ms: None,
        };
        let tenants = Key {
            fingerprint: blake3::hash(b"b"),
            name: String::new(),
            tenant: Some(tenancy::of_key("ada@example.org").unwrap()),
            scopes: [Scope::Read, Scope::Sync].into_iter().collect(),
            collections: Some(names(&["a", "b_c"])),
            created_ms: 8,
            expires_ms: Some(9),
        };
        let keys = [(KeyId(1), administrators), (KeyId(u64::MAX), tenants)].into_iter().collect();
        Stored { token_secret: Some([3; 32]), keys }
    }

    #[test]
    fn keys_read_back_and_every_flipped_bit_or_cut_is_noticed() {
        for stored in [stored(), Stored { token_secret: None, ..stored() }, Stored::default()] {
            let bytes = stored.encode();
            assert!(Stored::decode(&bytes).unwrap() == stored);
            for cut in 0..bytes.len() {
                assert!(Stored::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(Stored::decode(&damaged).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn what_no_key_can_be_is_damage_though_its_checksum_is_right() {
        let with = |change: &dyn Fn(&mut Key)| {
            let mut stored = stored();
            change(stored.keys.get_mut(&KeyId(u64::MAX)).unwrap());
            Stored::decode(&stored.encode())
        };
        assert!(with(&|key| key.name = "another".into()).is_ok());
        let admin: Scopes = [Scope::Admin].into_iter().collect();
        for change in [&(|key: &mut Key| key.tenant = None) as &dyn Fn(&mut Key), &|key| key.scopes = admin] {
            let error = with(change).err().unwrap();
            assert!(error.message().contains("key ffffffffffffffff: "), "{error}");
        }
    }
}
