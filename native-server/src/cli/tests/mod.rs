//! The program as a whole, against a server in this process that keeps points in a map and fails on purpose.

mod archive;
mod commands;
mod import;
mod server;

use std::ffi::OsString;

use super::output::{Console, Terminals};

/// What a run of the program left.
#[derive(Debug)]
struct Ran {
    code: u8,
    out: String,
    err: String,
}

impl Ran {
    /// The one document on standard output.
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program with nobody at a terminal.
fn cli(arguments: &[&str]) -> Ran {
    at_a_terminal(arguments, Terminals::default(), "")
}

/// Runs the program; `input` is what the person types.
fn at_a_terminal(arguments: &[&str], terminals: Terminals, input: &str) -> Ran {
    let (mut out, mut err, mut input) = (Vec::new(), Vec::new(), input.as_bytes());
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminals, json: false };
    let arguments = std::iter::once("hyperspace-cli").chain(arguments.iter().copied()).map(OsString::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let code = runtime.block_on(super::run(arguments, &mut console));
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}
