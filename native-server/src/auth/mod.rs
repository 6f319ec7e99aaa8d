//! Who calls, and what that caller may do: keys, tokens, and the judgement of what a request claims.
//!
//! ```text
//! headers ─► claims ─► verify ─► caller ─► a handler
//!                        ▲
//!              keyring ──┴─ stored (the file KEYS), clock, the setting admin_api_key
//! ```
//! A key belongs to one tenant, or to the administrator, who may act for any. A token is a part of what a key allows, for
//! minutes, for a browser. Knows nothing of rpcs: which of them needs what is `service::access`'s to say.

mod caller;
mod key;
mod keyring;
mod scope;
mod stored;
#[cfg(test)]
mod tests;
mod token;
mod verify;

pub(crate) use caller::Caller;
pub(crate) use key::KeyId;
pub(crate) use keyring::{Keyring, NewKey, NewToken};
pub(crate) use scope::{Scope, Scopes};
pub(crate) use stored::{Key, Stored};
pub(crate) use verify::Claims;
#[cfg(feature = "fuzzing")]
pub(crate) use verify::Verifier;
