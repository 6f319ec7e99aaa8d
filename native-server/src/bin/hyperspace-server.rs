//! The server: reads its settings, opens the database, says where it listens, and stops when it is asked to.
//!
//! Exit codes: 0 after a stop that was asked for, 1 when the server cannot run, 2 when it was asked for what it does not
//! do or understand. Standard output has the one line that says where it listens; everything else goes to standard error.
//! A check answers on standard output: 0 when the database is sound, 1 when it is damaged, 2 when it cannot be checked.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use hyperspace_core::error::{Error, Result};
use hyperspace_server::database::check::check;
use hyperspace_server::recent::Keeping;
use hyperspace_server::service::Server;
use hyperspace_server::settings::{Invocation, Refused, Settings, read};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

fn main() -> ExitCode {
    match read(env::args_os(), env::vars_os()) {
        Ok(Invocation::Serve(settings)) => match serve(settings) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(error, 1),
        },
        Ok(Invocation::PrintConfig(chosen)) => {
            say(&chosen.to_toml());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Check { directory, json }) => report_on(&directory, json),
        Err(Refused::CommandLine(error)) => error.exit(),
        Err(Refused::Settings(error)) => fail(error, 2),
    }
}

fn serve(settings: Settings) -> Result<()> {
    tell_on_stderr(settings.log);
    let runtime = Runtime::new().map_err(|error| Error::internal(format!("no threads to run on: {error}")))?;
    let outcome = runtime.block_on(async {
        let cannot = |error: io::Error| Error::internal(format!("signals cannot be listened for: {error}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let data = settings.data_dir.display().to_string();
        let scheme = if settings.tls_cert.is_some() { "https" } else { "http" };
        let server = Server::open(settings).await?;
        let address = server.address()?;
        let version = env!("CARGO_PKG_VERSION");
        say(&format!("hyperspace-server {version} listening on {scheme}://{address} (data: {data})\n"));
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.serve(stop).await
    });
    // Whatever is still at work was given up: the database is closed.
    runtime.shutdown_background();
    outcome
}

/// Checks a database and tells what was found.
fn report_on(directory: &Path, json: bool) -> ExitCode {
    match check(directory) {
        Ok(report) => {
            let sound = report.is_sound();
            let text = if json {
                json!({ "sound": sound, "findings": report.findings, "totals": report.totals }).to_string()
            } else {
                report.to_string()
            };
            say(&format!("{text}\n"));
            ExitCode::from(u8::from(!sound))
        }
        Err(error) if json => {
            eprintln!("{}", json!({ "error": { "code": error.kind().code(), "message": error.message() } }));
            ExitCode::from(2)
        }
        Err(error) => fail(error, 2),
    }
}

/// Tells what happens on standard error and to administrators: of this program what was asked for, of others what is wrong.
fn tell_on_stderr(level: LevelFilter) {
    let levels = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target("hyperspace_server", level);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    tracing_subscriber::registry().with(levels).with(lines).with(Keeping).init();
}

/// Writes to standard output; nobody listening is no reason to stop.
fn say(text: &str) {
    let mut out = io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn fail(error: impl Display, code: u8) -> ExitCode {
    eprintln!("hyperspace-server: {error}");
    ExitCode::from(code)
}
