//! The one place of this host that makes a [`Tenant`]: of what was verified about a caller, or of what was when it was
//! stored. No message carries a tenant's name.

use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::Tenant;

/// The header that names the tenant while there are no keys.
pub const USER_HEADER: &str = "x-hyperspace-user-id";

/// The tenant of a caller who gave this name, or none. Only a caller from this machine is believed.
///
/// # Errors
/// `PermissionDenied` when a caller from elsewhere gives a name; `InvalidArgument` when it is none.
pub fn of_caller(name: Option<&str>, is_local: bool) -> Result<Tenant> {
    match name {
        None => Ok(Tenant::local()),
        Some(name) if is_local => named(name),
        Some(_) => Err(Error::new(
            ErrorKind::PermissionDenied,
            format!("header `{USER_HEADER}` is believed only from this machine, as long as there are no keys"),
        )),
    }
}

/// The tenant whose name is in the catalog.
///
/// # Errors
/// `Corrupted` when it is no name.
pub(crate) fn of_catalog(name: &str) -> Result<Tenant> {
    named(name).map_err(|error| Error::corrupted(format!("a tenant in the catalog: {}", error.message())))
}

fn named(name: &str) -> Result<Tenant> {
    Tenant::verified(name)
}
