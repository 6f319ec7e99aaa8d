//! Files that are of the whole directory, not of a collection: its keys, and its standing among other servers. What is in
//! them is no concern of the database, which makes sure that they change only while this process has the directory.

use std::io;
use std::path::Path;

use hyperspace_core::error::{Error, Result};

use super::{Database, Environment, read};
use crate::disk::failed;
use crate::store::files;

impl Database {
    /// What the database is lent.
    pub(crate) const fn environment(&self) -> &Environment {
        &self.environment
    }

    /// What such a file holds, if it is there.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn read_aside(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.disk().read(Path::new(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("reading", Path::new(name), error)),
        }
    }

    /// Stores such a file durably, in the place of the one that is there. A database that is damaged and takes no writes
    /// still takes these: a key that got into the wrong hands has to go.
    ///
    /// # Errors
    /// `Closed`; `Unavailable` while the directory is being opened again; what the disk says.
    pub(crate) fn replace_aside(&self, name: &str, bytes: &[u8]) -> Result<()> {
        // Neither the end of this database nor the next one, which sweeps the directory, comes in between.
        let _layout = read(&self.layout);
        self.check_open()?;
        if self.has_failed() {
            return Err(Error::unavailable("the database is being opened again: try again later"));
        }
        files::replace(self.disk(), Path::new(name), bytes).map_err(|failure| failure.error)?;
        self.tell_of_catalog();
        Ok(())
    }
}
