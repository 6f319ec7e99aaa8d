//! Memory-mapped files: the one place of this crate that needs `unsafe`.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a file that nobody changes as long as the map lives.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    // SAFETY: a map is undefined behaviour when its file changes underneath. Only sealed segments are mapped: they are
    // complete when they get their name, are never opened for writing after that, and removing one only takes its name
    // away. Other processes are kept out by the directory's lock and by its mode 0700; who goes past both with the
    // server's own rights can do worse than this.
    unsafe { Mmap::map(file) }
}
