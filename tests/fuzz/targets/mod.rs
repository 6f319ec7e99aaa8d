//! One function a decoder: takes any bytes, and fails when the decoder panics, takes more memory than its input justifies
//! (16 times as much, and a constant), answers with an error that is none of the caller's, or does not keep what its
//! target says it keeps. Invariants 7 of ARCHITECTURE.md and I10 of the reliability plan.
//!
//! The same functions run under libFuzzer (`tests/fuzz/run.rs`, nightly) and over the corpus with random mutations
//! (`tests/fuzz/replay`, stable). Formats with checksums are tried twice: as the bytes came, and with the checksums made
//! right, so that mutations get behind them.

mod allocation;
mod archives;
mod documents;
mod engine;
mod graphs;
mod inputs;
mod requests;
mod store;
mod sync;
pub(crate) mod tab;

use hyperspace_core::error::{ErrorKind, Result};

/// A decoder under test.
pub(crate) struct Target {
    /// Names the binary of cargo-fuzz and the folder of the corpus.
    pub(crate) name: &'static str,
    /// Fails when a property does not hold; answers whether the bytes, or their mended form, were accepted.
    pub(crate) check: fn(&[u8]) -> bool,
}

/// Every decoder.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "record", check: engine::record },
    Target { name: "manifest", check: engine::manifest },
    Target { name: "live_bitmap", check: engine::live_bitmap },
    Target { name: "segment", check: engine::segment },
    Target { name: "graph", check: graphs::graph },
    Target { name: "metadata", check: documents::metadata },
    Target { name: "metadata_json", check: documents::metadata_json },
    Target { name: "filter", check: documents::filter },
    Target { name: "names", check: documents::names },
    Target { name: "archive", check: archives::archive },
    Target { name: "catalog", check: store::catalog },
    Target { name: "keys", check: store::keys },
    Target { name: "standing", check: store::standing },
    Target { name: "log", check: store::log },
    Target { name: "messages", check: sync::messages },
    Target { name: "shipment", check: sync::shipment },
    Target { name: "requests", check: requests::requests },
    Target { name: "headers", check: requests::headers },
    Target { name: "import_npy", check: inputs::npy },
    Target { name: "import_fvecs", check: inputs::fvecs },
    Target { name: "import_jsonl", check: inputs::jsonl },
    Target { name: "import_state", check: inputs::state },
    Target { name: "settings", check: inputs::settings },
    Target { name: "tab_rows", check: tab::tab_rows },
    Target { name: "tab_database", check: tab::tab_database },
];

/// Runs a decoder of so many bytes: 16 times as many, and a little for messages and small tables, justify its memory.
fn decode<T>(input: usize, decode: impl FnOnce() -> Result<T>) -> Option<T> {
    accepted(allocation::bounded(16 * input + (4 << 10), decode))
}

/// Runs a reader of text that becomes a tree. `{"":0},` is seven bytes of text, and as a map in a list 600 of
/// memory; how large a tree may become at all is for the reader to limit.
fn decode_tree<T>(input: usize, decode: impl FnOnce() -> Result<T>) -> Option<T> {
    accepted(allocation::bounded(128 * input + (4 << 10), decode))
}

/// The value, unless the bytes were refused for a reason that lies in them.
///
/// An error has to be of a kind that bytes can cause, and short: messages go to people and into logs.
fn accepted<T>(outcome: Result<T>) -> Option<T> {
    outcome
        .inspect_err(|error| {
            let is_theirs = matches!(
                error.kind(),
                ErrorKind::InvalidArgument
                    | ErrorKind::LimitExceeded
                    | ErrorKind::Corrupted
                    | ErrorKind::Unsupported
                    | ErrorKind::PermissionDenied
            );
            assert!(is_theirs, "bytes alone cannot cause this: {error}");
            assert!(error.message().len() <= 1 << 10, "a message of {} bytes: {error}", error.message().len());
        })
        .ok()
}

/// Tries bytes as they are, and again with what `mend` made right.
fn both_ways(bytes: &[u8], mend: impl FnOnce(&mut [u8]), check: impl Fn(&[u8]) -> bool) -> bool {
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    check(bytes) | check(&mended)
}

/// Puts a little-endian number where there is room for it.
fn put_u32(bytes: &mut [u8], at: usize, value: usize) {
    if let Some(place) = bytes.get_mut(at..at + 4) {
        place.copy_from_slice(&(value as u32).to_le_bytes());
    }
}
