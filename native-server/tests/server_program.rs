//! The program `hyperspace-server`, run as a user runs it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperspace-server"));
    // A developer's own settings are not those of the test.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HYPERSPACE_") {
            command.env_remove(name);
        }
    }
    command
}

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Asserts that a run failed with one line on standard error and nothing else.
fn assert_fails(output: &Output, code: i32, words: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty());
    assert!(message.starts_with("hyperspace-server: ") && message.contains(words), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn what_it_cannot_do_or_understand_is_one_line_and_exit_2() {
    let cases: [(&[&str], &str); 5] = [
        (&["--role", "follower"], "unsupported: replication is not built yet"),
        (&["check", "data"], "unsupported: `check` is not built yet"),
        (&["--listen", "0.0.0.0:0"], "--insecure"),
        (&["--durability", "maybe"], "`durability` is strict or relaxed, not \"maybe\" (--durability)"),
        (&["--config", "/no/such/file"], "/no/such/file"),
    ];
    for (arguments, words) in cases {
        assert_fails(&run(arguments), 2, words);
    }
    let unknown = program().env("HYPERSPACE_LISTEM", "127.0.0.1:0").output().unwrap();
    assert_fails(&unknown, 2, "HYPERSPACE_LISTEM");
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn settings_are_printed_with_their_sources() {
    let output = program().env("HYPERSPACE_INDEXERS", "3").args(["--print-config", "--insecure"]).output().unwrap();
    assert!(output.status.success());
    let lines: Vec<String> =
        text(&output.stdout).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for line in
        ["listen = \"127.0.0.1:50051\" # default", "indexers = 3 # HYPERSPACE_INDEXERS", "insecure = true # --insecure"]
    {
        assert!(lines.iter().any(|l| l == line), "{line} is not in {lines:#?}");
    }
    let version = run(&["--version"]);
    assert_eq!(text(&version.stdout), format!("hyperspace-server {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_port_that_is_taken_is_one_line_and_exit_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let output = run(&["--listen", &address, "--data-dir", data.path().to_str().unwrap()]);
    assert_fails(&output, 1, &address);
}

/// Starts a server; returns the line that it printed when it listened.
fn start(data: &std::path::Path) -> (Child, String) {
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line)
}

#[test]
fn it_says_where_it_listens_and_stops_cleanly_when_asked() {
    for signal in ["TERM", "INT"] {
        let data = tempfile::tempdir().unwrap();
        let (mut server, line) = start(data.path());
        let expected = format!("hyperspace-server {} listening on http://127.0.0.1:", env!("CARGO_PKG_VERSION"));
        let rest = line.strip_prefix(&expected).unwrap_or_else(|| panic!("{line}"));
        let (port, data_said) = rest.split_once(" (data: ").unwrap();
        assert_eq!(data_said, format!("{})\n", data.path().display()));

        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("ready\n"), "{answer}");

        let id = server.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert_eq!(server.wait().unwrap().code(), Some(0), "SIG{signal}");
    }
}
