//! The keys of a server: all of them in memory, for every request to look at without waiting, and all in one file.
//!
//! A change is durable before it is answered or counts for anybody. One that failed counts for nobody in this process; of a
//! failure that left it open what is on the device, the next start knows, and a change that is tried again settles it.
//! Invariant: whoever gets in without a key stops doing so with the first one, and from then on somebody can always make
//! another: an administrator's key that does not expire, or the setting.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::CollectionName;

use super::caller::{Caller, Collections};
use super::key::{Fingerprint, KeyId, Secret, show};
use super::scope::{Scope, Scopes};
use super::stored::{Key, MAX_COLLECTIONS, Stored};
use super::token::Token;
use super::verify::{Claims, Verifier};
use crate::database::Keeper;
use crate::settings::Origin;
use crate::store::files::KEYS;
use crate::tenancy;

/// The most keys.
const MAX_KEYS: usize = 10_000;
/// The most bytes of a key's name.
const MAX_NAME: usize = 128;
/// The longest that a token lives, and what it does unless told otherwise.
const MAX_TTL_MS: u64 = 15 * 60 * 1_000;

/// Who may come in.
pub(crate) struct Keyring {
    keeper: Arc<Keeper>,
    /// Of the setting `admin_api_key`.
    administrator: Option<Fingerprint>,
    present: ArcSwap<Stored>,
    /// Held while another state takes the place of the present one.
    changing: Mutex<()>,
}

/// A key that somebody wants.
pub(crate) struct NewKey {
    pub(crate) name: String,
    /// Empty for the administrator's.
    pub(crate) tenant: String,
    pub(crate) scopes: Scopes,
    /// Empty for all.
    pub(crate) collections: Vec<String>,
    pub(crate) expires_in_ms: Option<u64>,
}

/// A token that somebody wants.
pub(crate) struct NewToken {
    pub(crate) scopes: Scopes,
    /// Empty for those of the key.
    pub(crate) collections: Vec<String>,
    /// Empty for any.
    pub(crate) origin: String,
    /// 0 for the longest.
    pub(crate) ttl_ms: u64,
}

impl Keyring {
    /// Reads the keys of a database.
    ///
    /// # Errors
    /// `Corrupted` when the file is damaged: without it nobody could be told from anybody else.
    pub(crate) fn open(keeper: Arc<Keeper>, administrator: Option<&str>) -> Result<Self> {
        let stored = match keeper.database().read_aside(KEYS)? {
            Some(bytes) => Stored::decode(&bytes)
                .map_err(|error| Error::new(error.kind(), format!("file {KEYS}: {}", error.message())))?,
            None => Stored::default(),
        };
        let administrator = administrator.map(|key| blake3::hash(key.as_bytes()));
        Ok(Self { keeper, administrator, present: ArcSwap::from_pointee(stored), changing: Mutex::default() })
    }

    /// Takes the keys of another server in the place of its own; nothing are none.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are no keys; what the disk says.
    pub(crate) fn take(&self, bytes: &[u8]) -> Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = if bytes.is_empty() { Stored::default() } else { Stored::decode(bytes)? };
        if next != **self.present.load() {
            self.keeper.database().replace_aside(KEYS, &next.encode())?;
            self.present.store(Arc::new(next));
        }
        Ok(())
    }

    /// Who calls.
    ///
    /// # Errors
    /// Those of [`Verifier::caller`].
    pub(crate) fn caller(&self, claims: &Claims<'_>) -> Result<Caller> {
        self.verifier(&self.present.load()).caller(claims)
    }

    /// Checks that what a caller was let in by is still good; for answers that go on for long.
    ///
    /// # Errors
    /// `Unauthenticated` when it is not.
    pub(crate) fn check(&self, caller: &Caller) -> Result<()> {
        self.verifier(&self.present.load()).check(caller)
    }

    /// Whether nobody needs a key, because there is none.
    pub(crate) fn is_open(&self) -> bool {
        self.administrator.is_none() && self.present.load().keys.is_empty()
    }

    /// All keys by number.
    pub(crate) fn list(&self) -> Vec<(KeyId, Key)> {
        self.present.load().keys.iter().map(|(id, key)| (*id, key.clone())).collect()
    }

    /// Makes a key; nobody will see its secret again.
    ///
    /// # Errors
    /// `InvalidArgument` for what no key can be, and for a first one that could not make others; `LimitExceeded` when there
    /// are too many; what the disk says.
    pub(crate) fn create(&self, caller: &Caller, wanted: NewKey) -> Result<(KeyId, Key, String)> {
        let secret = Secret(self.random());
        let key = self.checked(wanted, &secret)?;
        let id = self.change(caller, |stored| {
            if stored.keys.len() >= MAX_KEYS {
                return Err(Error::limit_exceeded(format!("there are {MAX_KEYS} keys: revoke some")));
            }
            if stored.keys.is_empty() && self.administrator.is_none() && !key.opens_for_good() {
                return Err(Error::invalid_argument(
                    "the first key has the scope `admin` and does not expire: from then on every call needs a key, and \
                     nobody else could make another one",
                ));
            }
            let mut draws = std::iter::repeat_with(|| KeyId(u64::from_le_bytes(self.random())));
            let id = draws.find(|id| !stored.keys.contains_key(id)).expect("draws do not end");
            stored.keys.insert(id, key.clone());
            Ok(id)
        })?;
        let shown = show(id, &secret);
        Ok((id, key, shown))
    }

    /// Ends a key, with the tokens that it made; says whether there was one.
    ///
    /// # Errors
    /// `InvalidArgument` when nobody could make keys any more; what the disk says.
    pub(crate) fn revoke(&self, caller: &Caller, id: KeyId) -> Result<bool> {
        self.change(caller, |stored| {
            let was_there = stored.keys.remove(&id).is_some();
            let is_kept = stored.keys.is_empty() || stored.keys.values().any(Key::opens_for_good);
            if was_there && !is_kept && self.administrator.is_none() {
                return Err(Error::invalid_argument(format!(
                    "key {id} is the last one with the scope `admin` that does not expire: make another before, or revoke \
                     the others"
                )));
            }
            Ok(was_there)
        })
    }

    /// Makes a token and says when it expires.
    ///
    /// # Errors
    /// `InvalidArgument` for what no token can be; `PermissionDenied` for more than the caller may do itself.
    pub(crate) fn mint(&self, caller: &Caller, wanted: &NewToken) -> Result<(String, u64)> {
        if wanted.scopes.is_empty() || wanted.scopes.names(Scope::Admin) {
            return Err(Error::invalid_argument("the scopes of a token are one or more of read, write, sync"));
        }
        wanted.scopes.each().try_for_each(|scope| caller.require(scope))?;
        let collections = match checked_collections(&wanted.collections)? {
            None => caller.collections.clone(),
            Some(names) => {
                names.iter().try_for_each(|name| caller.require_collection(name))?;
                Some(names)
            }
        };
        let ttl_ms = match wanted.ttl_ms {
            0 => MAX_TTL_MS,
            ttl_ms if ttl_ms <= MAX_TTL_MS => ttl_ms,
            more => {
                return Err(Error::invalid_argument(format!("a token lives {MAX_TTL_MS} ms at most, not {more}")));
            }
        };
        // What it is made with outlives the process, and so may the token.
        let drawn = self.present.load().token_secret;
        let secret = match drawn {
            Some(secret) => secret,
            None => self.change(caller, |stored| Ok(*stored.token_secret.get_or_insert_with(|| self.random())))?,
        };
        let present = self.present.load();
        let verifier = self.verifier(&present);
        verifier.check(caller)?;
        let voucher = verifier.fingerprint(caller.voucher).expect("what was checked vouches");
        let token = Token {
            voucher: caller.voucher,
            tenant: caller.tenant.clone(),
            scopes: wanted.scopes,
            collections,
            origin: checked_origin(&wanted.origin)?,
            expires_ms: verifier.now_ms.saturating_add(ttl_ms).min(caller.expires_ms.unwrap_or(u64::MAX)),
        };
        Ok((token.show(&secret, &voucher), token.expires_ms))
    }

    fn verifier<'a>(&'a self, stored: &'a Stored) -> Verifier<'a> {
        Verifier { stored, administrator: self.administrator.as_ref(), now_ms: self.now_ms() }
    }

    /// Replaces what is kept, for a caller that may still ask for it.
    fn change<T>(&self, caller: &Caller, change: impl FnOnce(&mut Stored) -> Result<T>) -> Result<T> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever came in without a key may not make one after another has made the first.
        self.check(caller)?;
        let present = self.present.load_full();
        let mut next = Stored::clone(&present);
        let outcome = change(&mut next)?;
        if next != *present {
            self.keeper.database().replace_aside(KEYS, &next.encode())?;
            self.present.store(Arc::new(next));
        }
        Ok(outcome)
    }

    fn checked(&self, wanted: NewKey, secret: &Secret) -> Result<Key> {
        let NewKey { name, tenant, scopes, collections, expires_in_ms } = wanted;
        if name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::invalid_argument(format!(
                "a key's name has at most {MAX_NAME} bytes and no control characters, not {} bytes",
                name.len()
            )));
        }
        if scopes.is_empty() {
            return Err(Error::invalid_argument("a key has one or more scopes: read, write, sync, admin"));
        }
        let collections = checked_collections(&collections)?;
        let tenant = match tenant.as_str() {
            "" if scopes.names(Scope::Admin) => None,
            "" => {
                return Err(Error::invalid_argument("a key without the scope `admin` is a tenant's: name the tenant"));
            }
            _ if scopes.names(Scope::Admin) => {
                return Err(Error::invalid_argument(
                    "a key with the scope `admin` is the administrator's, for all tenants: name none",
                ));
            }
            named => Some(tenancy::of_key(named)?),
        };
        if tenant.is_none() && collections.is_some() {
            return Err(Error::invalid_argument("a key with the scope `admin` is for all collections: name none"));
        }
        if expires_in_ms == Some(0) {
            return Err(Error::invalid_argument("a key that expires does so in 1 ms or more; leave it out for never"));
        }
        let created_ms = self.now_ms();
        let expires_ms = expires_in_ms.map(|after| created_ms.saturating_add(after));
        Ok(Key { fingerprint: secret.fingerprint(), name, tenant, scopes, collections, created_ms, expires_ms })
    }

    fn now_ms(&self) -> u64 {
        self.keeper.database().environment().clock.now_ms()
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.keeper.database().environment().entropy.fill(&mut bytes);
        bytes
    }
}

fn checked_collections(names: &[String]) -> Result<Option<Collections>> {
    if names.len() > MAX_COLLECTIONS {
        return Err(Error::limit_exceeded(format!(
            "a credential names at most {MAX_COLLECTIONS} collections, not {}",
            names.len()
        )));
    }
    let names = names.iter().map(|name| CollectionName::new(name)).collect::<Result<BTreeSet<_>>>()?;
    Ok((!names.is_empty()).then(|| Arc::new(names)))
}

fn checked_origin(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let origin = Origin::new(text).filter(|origin| origin.as_str().len() <= 255);
    let origin = origin.ok_or_else(|| {
        Error::invalid_argument("an origin is such as https://app.example:8443, without a path, at most 255 bytes")
    })?;
    Ok(Some(origin.as_str().to_owned()))
}
