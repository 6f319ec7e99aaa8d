//! The two programs as processes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;

use super::PATIENCE;
use super::client::Client;

pub(crate) const SERVER: &str = env!("CARGO_BIN_EXE_hyperspace-server");
pub(crate) const CLI: &str = env!("CARGO_BIN_EXE_hyperspace-cli");

/// A program that knows nothing of this machine's settings.
pub(crate) fn command(program: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let ours =
        std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("HYPERSPACE"));
    ours.for_each(|name| {
        command.env_remove(name);
    });
    command.args(arguments).current_dir(folder);
    command
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, folder: &Path, arguments: &[&str]) -> Output {
    command(program, folder, arguments).stdin(Stdio::null()).output().unwrap()
}

/// What a program printed.
pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the programs print UTF-8")
}

/// A server as a process; killed (with SIGKILL) when it is dropped.
pub(crate) struct Program {
    pub(crate) address: SocketAddr,
    pub(crate) line: String,
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Program {
    /// A server with its data below a folder, on a free port.
    pub(crate) fn start(folder: &Path) -> Self {
        Self::start_on(folder, "127.0.0.1:0")
    }

    /// The same on an address; returns when it listens.
    pub(crate) fn start_on(folder: &Path, listen: &str) -> Self {
        let arguments = ["--listen", listen, "--data-dir", "data", "--log", "error"];
        // With an arena for each thread its memory would depend on which thread answers which call.
        Self::listening(command(SERVER, folder, &arguments).env("MALLOC_ARENA_MAX", "1"))
    }

    /// A server by its whole command; returns when it listens.
    pub(crate) fn listening(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let address = line.split_once("://").and_then(|(_, rest)| rest.split(' ').next());
        let address = address.unwrap_or_else(|| panic!("the server said {line:?}")).parse().unwrap();
        Self { address, line, child, out }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// Waits until it ends by itself; answers how, and what else it printed.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = wait(&mut self.child);
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        (status, rest)
    }

    /// The most memory that it has occupied so far, in bytes, where the system tells it as Linux does.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process of ours.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end of a process, but not for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    let (done, is_done) = mpsc::channel::<()>();
    let id = child.id().to_string();
    let watchdog = std::thread::spawn(move || {
        if is_done.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let status = child.wait().unwrap();
    drop(done);
    watchdog.join().unwrap();
    status
}
