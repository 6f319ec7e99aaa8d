//! Who calls: what was verified about a request before anything of it is read.
//!
//! Invariant: a [`Caller`] is made by [`verify`](super::verify) alone, from claims that it has proved, so whoever has one
//! need not ask again whose request it is.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::{CollectionName, Tenant};

use super::key::KeyId;
use super::scope::{Scope, Scopes};

/// The collections that a credential is for; without such a list it is for all of its tenant.
pub(crate) type Collections = Arc<BTreeSet<CollectionName>>;

/// What vouches for a caller, directly or for the token that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voucher {
    /// Nothing does: there are no keys.
    Nobody,
    /// The setting `admin_api_key`.
    Administrator,
    /// A key that is kept.
    Key(KeyId),
}

/// A verified caller.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    pub(super) collections: Option<Collections>,
    pub(super) voucher: Voucher,
    /// Whether a token came instead of a key.
    pub(super) is_token: bool,
    /// Whether it calls from this machine.
    pub(super) is_local: bool,
    pub(super) expires_ms: Option<u64>,
}

impl Caller {
    /// Whose data it may touch.
    pub(crate) const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// # Errors
    /// `PermissionDenied` naming the scope when it is not among the caller's.
    pub(crate) fn require(&self, scope: Scope) -> Result<()> {
        if self.scopes.allow(scope) {
            return Ok(());
        }
        Err(denied(format!("this needs the scope `{scope}`, which the credential does not have")))
    }

    /// # Errors
    /// `PermissionDenied` when keys may be made and seen by others only: a token is none of them, and as long as nobody
    /// vouches for anybody, neither is a caller from elsewhere, who could take the server over.
    pub(crate) fn require_key(&self) -> Result<()> {
        if self.is_token {
            return Err(denied("a token is not enough for this: it needs a key".into()));
        }
        if self.voucher == Voucher::Nobody && !self.is_local {
            return Err(denied(
                "as long as there are no keys, this is done from the server's own machine, or with its setting \
                 admin_api_key"
                    .into(),
            ));
        }
        Ok(())
    }

    /// Whether a collection of the tenant exists for this caller.
    pub(crate) fn sees(&self, name: &str) -> bool {
        self.collections.as_ref().is_none_or(|only| only.iter().any(|known| known.as_str() == name))
    }

    /// # Errors
    /// `PermissionDenied` when the credential is for other collections, whether this one exists or not.
    pub(crate) fn require_collection(&self, name: &CollectionName) -> Result<()> {
        if self.sees(name.as_str()) {
            return Ok(());
        }
        Err(denied(format!("the credential is not for collection `{name}`")))
    }
}

pub(super) fn denied(message: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, message)
}
