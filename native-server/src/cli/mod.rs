//! The command line of HyperspaceDB: looks after a server from outside.
//!
//! Talks to it through the public contract only, so that whatever this program can do, any client can. One JSON document
//! or readable text on standard output, remarks and errors on standard error. Knows nothing of the database's insides.

mod admin;
mod args;
mod bench;
mod collections;
mod connect;
mod dashboard;
mod export;
mod failure;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod keys;
mod output;
mod search;
mod stats;
#[cfg(test)]
mod tests;
mod wire;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::Parser;

use self::args::{Arguments, Command};
use self::connect::Session;
use self::failure::{Failure, Outcome};
use self::output::{Console, Terminals};

/// Runs the program with the arguments and streams of the process.
pub fn main() -> ExitCode {
    let (mut out, mut err, mut input) = (io::stdout(), io::stderr(), io::stdin().lock());
    let terminals = Terminals { out: out.is_terminal(), err: err.is_terminal(), input: input.is_terminal() };
    let mut console = Console { out: &mut out, err: &mut err, input: &mut input, terminals, json: false };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a process that was started can start threads");
    let code = runtime.block_on(run(std::env::args_os(), &mut console));
    // A file that is still being read must not hold up the exit.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Runs one command line and says what to exit with: 0 done, 1 failed, 2 wrong usage.
async fn run(arguments: impl IntoIterator<Item = OsString>, console: &mut Console<'_>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    // Also for a line that does not parse.
    console.json = arguments.iter().any(|argument| argument == "--json");
    let outcome = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => dispatch(arguments, console).await,
        Err(error) => explain(&error, console),
    };
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if let Failure::Usage(error) | Failure::Failed(error) = &failure {
                console.complain(error);
            }
            failure.exit_code()
        }
    }
}

/// Says what the parser has to say: the help that was asked for, or what is wrong with the line.
fn explain(error: &clap::Error, console: &mut Console<'_>) -> Outcome<()> {
    let text = error.render().to_string();
    if error.use_stderr() {
        return Err(Failure::usage(text.trim_start_matches("error: ").trim_end()));
    }
    Ok(write!(console.out, "{text}")?)
}

async fn dispatch(arguments: Arguments, console: &mut Console<'_>) -> Outcome<()> {
    let connection = &arguments.connection;
    let Some(command) = arguments.command else {
        return dashboard::dashboard(connection, console).await;
    };
    match command {
        Command::Stats(stats) => stats::stats(&Session::open(connection).await?, &stats, console).await,
        Command::Health => admin::health(&Session::open(connection).await?, console).await,
        Command::Collections { command } => {
            collections::collections(&Session::open(connection).await?, command, console).await
        }
        Command::Search(search) => search::search(&Session::open(connection).await?, search, console).await,
        Command::Import(import) => import::import(connection, &import, console).await,
        Command::Export(export) => export::export(&Session::open(connection).await?, &export, console).await,
        Command::Configure(configure) => admin::configure(&Session::open(connection).await?, configure, console).await,
        Command::Snapshot => admin::snapshot(&Session::open(connection).await?, console).await,
        Command::Vacuum { collection } => admin::vacuum(&Session::open(connection).await?, collection, console).await,
        Command::Recall(recall) => admin::recall(&Session::open(connection).await?, recall, console).await,
        Command::Keys { command } => keys::keys(&Session::open(connection).await?, command, console).await,
        Command::Promote => admin::promote(&Session::open(connection).await?, console).await,
        Command::RemoveFollower { id } => admin::remove_follower(&Session::open(connection).await?, id, console).await,
        Command::Usage(_) => not_built("usage"),
        Command::Bench(arguments) => bench::bench(connection, arguments, console).await,
    }
}

fn not_built(command: &str) -> Outcome<()> {
    Err(Failure::not_built(format!("`{command}` is not built yet; `hyperspace-cli --help` lists what is")))
}
