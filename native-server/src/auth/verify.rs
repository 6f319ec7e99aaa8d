//! From what a request claims to who calls: the only place that makes a [`Caller`].
//!
//! A credential decides alone. Beside one that is not the administrator's nothing may name a tenant, and without one
//! somebody is let in only as long as there are no keys. Of a credential that is not valid nobody learns why, but for one
//! that was and has expired. Knows nothing of where keys are kept or what a request asks for.

use hyperspace_core::error::{Error, ErrorKind, Result};

use super::caller::{Caller, Voucher, denied};
use super::key::{self, Fingerprint, KeyId, Secret};
use super::scope::Scopes;
use super::stored::Stored;
use super::token::{self, Unverified};
use crate::tenancy::{self, USER_HEADER};

/// What a request says of its caller, unproved. Without `Debug`: it has the credential.
#[derive(Clone, Copy, Default)]
pub(crate) struct Claims<'a> {
    pub(crate) credential: Option<&'a str>,
    /// The tenant that it names.
    pub(crate) user: Option<&'a str>,
    /// The page that it comes from, which a browser does not let pages choose.
    pub(crate) origin: Option<&'a str>,
    /// Whether it comes from this machine.
    pub(crate) is_local: bool,
}

/// What claims are judged by.
pub(crate) struct Verifier<'a> {
    pub(crate) stored: &'a Stored,
    pub(crate) administrator: Option<&'a Fingerprint>,
    pub(crate) now_ms: u64,
}

impl Verifier<'_> {
    /// Whether there are no keys, so that callers need none.
    pub(super) fn is_open(&self) -> bool {
        self.stored.keys.is_empty() && self.administrator.is_none()
    }

    /// Who calls.
    ///
    /// # Errors
    /// `Unauthenticated` without a valid credential; `PermissionDenied` for a tenant that is not the caller's to name, or a
    /// token in the hands of another page; `InvalidArgument` for a name that is none.
    pub(crate) fn caller(&self, claims: &Claims<'_>) -> Result<Caller> {
        let Some(credential) = claims.credential else { return self.nobody(claims) };
        if self.administrator.is_some_and(|known| *known == blake3::hash(credential.as_bytes())) {
            return administrator(claims, Voucher::Administrator, None);
        }
        if let Some((id, secret)) = key::parse(credential) {
            return self.owner_of_key(id, &secret, claims);
        }
        token::parse(credential).ok_or_else(invalid).and_then(|token| self.bearer_of_token(&token, claims))
    }

    /// Checks that what a caller was let in by is still good.
    ///
    /// # Errors
    /// `Unauthenticated` when it is not.
    pub(super) fn check(&self, caller: &Caller) -> Result<()> {
        self.fingerprint(caller.voucher).ok_or_else(invalid)?;
        self.check_time(caller.expires_ms)
    }

    /// What tokens by this voucher are bound to; nothing when it does not vouch for anybody (any more).
    pub(super) fn fingerprint(&self, voucher: Voucher) -> Option<Fingerprint> {
        match voucher {
            Voucher::Nobody => self.is_open().then(|| Fingerprint::from_bytes([0; 32])),
            Voucher::Administrator => self.administrator.copied(),
            Voucher::Key(id) => self.stored.keys.get(&id).map(|key| key.fingerprint),
        }
    }

    fn nobody(&self, claims: &Claims<'_>) -> Result<Caller> {
        if !self.is_open() {
            return Err(unauthenticated("this server needs a key: send one as `x-api-key` or `authorization: Bearer`"));
        }
        Ok(Caller {
            tenant: tenancy::of_caller(claims.user, claims.is_local)?,
            scopes: Scopes::ALL,
            collections: None,
            voucher: Voucher::Nobody,
            is_token: false,
            is_local: claims.is_local,
            expires_ms: None,
        })
    }

    fn owner_of_key(&self, id: KeyId, secret: &Secret, claims: &Claims<'_>) -> Result<Caller> {
        let key = self.stored.keys.get(&id).filter(|key| key.fingerprint == secret.fingerprint());
        let key = key.ok_or_else(invalid)?;
        self.check_time(key.expires_ms)?;
        let Some(tenant) = &key.tenant else { return administrator(claims, Voucher::Key(id), key.expires_ms) };
        names_nobody(claims)?;
        Ok(Caller {
            tenant: tenant.clone(),
            scopes: key.scopes,
            collections: key.collections.clone(),
            voucher: Voucher::Key(id),
            is_token: false,
            is_local: claims.is_local,
            expires_ms: key.expires_ms,
        })
    }

    fn bearer_of_token(&self, token: &Unverified, claims: &Claims<'_>) -> Result<Caller> {
        let (secret, voucher) = (self.stored.token_secret.as_ref(), self.fingerprint(token.voucher));
        let token = secret.zip(voucher).and_then(|(secret, voucher)| token.verify(secret, &voucher));
        let token = token.ok_or_else(invalid)?;
        self.check_time(Some(token.expires_ms))?;
        names_nobody(claims)?;
        if let Some(bound) = &token.origin
            && !claims.origin.is_some_and(|origin| origin.eq_ignore_ascii_case(bound))
        {
            return Err(denied("the token is for pages of another origin".into()));
        }
        Ok(Caller {
            tenant: token.tenant,
            scopes: token.scopes,
            collections: token.collections,
            voucher: token.voucher,
            is_token: true,
            is_local: claims.is_local,
            expires_ms: Some(token.expires_ms),
        })
    }

    fn check_time(&self, expires_ms: Option<u64>) -> Result<()> {
        match expires_ms {
            Some(expires_ms) if expires_ms <= self.now_ms => Err(unauthenticated("the credential has expired")),
            _ => Ok(()),
        }
    }
}

fn administrator(claims: &Claims<'_>, voucher: Voucher, expires_ms: Option<u64>) -> Result<Caller> {
    Ok(Caller {
        tenant: tenancy::of_administrator(claims.user)?,
        scopes: Scopes::ALL,
        collections: None,
        voucher,
        is_token: false,
        is_local: claims.is_local,
        expires_ms,
    })
}

fn names_nobody(claims: &Claims<'_>) -> Result<()> {
    if claims.user.is_none() {
        return Ok(());
    }
    Err(denied(format!("the credential says whose tenant this is: leave header `{USER_HEADER}` out")))
}

fn unauthenticated(message: &str) -> Error {
    Error::new(ErrorKind::Unauthenticated, message)
}

/// One answer to whatever is wrong.
fn invalid() -> Error {
    unauthenticated("the credential is not valid")
}
