//! The file of keys: of the whole directory, not of a collection. What is in it is no concern of the database, which
//! makes sure that it changes only while this process has the directory.

use std::io;
use std::path::Path;

use hyperspace_core::error::{Error, Result};

use super::{Database, Environment, read};
use crate::disk::failed;
use crate::store::files::{self, KEYS};

impl Database {
    /// What the database is lent.
    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The stored keys, if there are any.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn read_keys(&self) -> Result<Option<Vec<u8>>> {
        match self.disk().read(Path::new(KEYS)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", Path::new(KEYS), error)),
        }
    }

    /// Stores keys durably, in the place of those that are there. A database that is damaged and takes no writes still takes
    /// these: a key that got into the wrong hands has to go.
    ///
    /// # Errors
    /// `Closed`; `Unavailable` while the directory is being opened again; what the disk says.
    pub(crate) fn replace_keys(&self, bytes: &[u8]) -> Result<()> {
        // Neither the end of this database nor the next one, which sweeps the directory, comes in between.
        let _layout = read(&self.layout);
        self.check_open()?;
        if self.has_failed() {
            return Err(Error::unavailable("the database is being opened again: try again later"));
        }
        files::replace(self.disk(), Path::new(KEYS), bytes).map_err(|failure| failure.error)
    }
}
