//! The one place of this host that makes a [`Tenant`]: of what was verified about a caller, or of what was when it was
//! stored. No message carries a tenant's name.

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::Tenant;

/// The header that names the tenant, from whoever may choose.
pub const USER_HEADER: &str = "x-hyperspace-user-id";

/// The tenant of a caller who gave this name, or none. Only a caller from this machine is believed.
///
/// # Errors
/// `PermissionDenied` when a caller from elsewhere gives a name; `InvalidArgument` when it is none.
pub fn of_caller(name: Option<&str>, is_local: bool) -> Result<Tenant> {
    match name {
        Some(_) if !is_local => Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("header `{USER_HEADER}` is believed only from this machine, as long as there are no keys"),
        )),
        _ => chosen(name),
    }
}

/// The tenant that the server's administrator acts for.
///
/// # Errors
/// `InvalidArgument` when it is no name.
pub(crate) fn of_administrator(name: Option<&str>) -> Result<Tenant> {
    chosen(name)
}

/// The tenant that a key, which the administrator makes, is for.
///
/// # Errors
/// `InvalidArgument` when it is no name.
pub(crate) fn of_key(name: &str) -> Result<Tenant> {
    named(name)
}

/// The tenant of a collection that a leader has.
///
/// # Errors
/// `InvalidArgument` when it is no name.
pub(crate) fn of_leader(name: &str) -> Result<Tenant> {
    named(name)
}

/// The tenant whose name is in the catalog.
///
/// # Errors
/// `Corrupted` when it is no name.
pub(crate) fn of_catalog(name: &str) -> Result<Tenant> {
    named(name).map_err(|error| Error::corrupted(format!("a tenant in the catalog: {}", error.message())))
}

fn chosen(name: Option<&str>) -> Result<Tenant> {
    name.map_or_else(|| Ok(Tenant::local()), named)
}

fn named(name: &str) -> Result<Tenant> {
    Tenant::verified(name)
}
