//! Mission Control in a real terminal: under tmux, against a real server.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use hyperspace_server::proto::Metric;
use tempfile::TempDir;

use crate::support::client::{batch, nearest, numbers};
use crate::support::program::{CLI, Program};
use crate::support::{skip, until};

/// A terminal of 80 by 24 with a shell in it; ended when it is dropped.
struct Terminal {
    socket: PathBuf,
    _folder: TempDir,
}

impl Terminal {
    /// Nothing where there is no tmux.
    fn open() -> Option<Self> {
        if Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_err() {
            skip("a real terminal for the dashboard: there is no `tmux`");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let terminal = Self { socket: folder.path().join("tmux"), _folder: folder };
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "env -i PS1='ready> ' TERM=screen sh",
        ]);
        Some(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("tmux").arg("-S").arg(&self.socket).args(arguments).env_remove("TMUX").output().unwrap();
        assert!(output.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Types keys by the names that tmux has for them.
    fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Waits until the screen has all of these words.
    async fn shows(&self, words: &[&str]) -> String {
        let what = format!("the terminal shows {words:?}");
        until(&what, async || words.iter().all(|&word| self.screen().contains(word))).await;
        self.screen()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new("tmux").arg("-S").arg(&self.socket).arg("kill-server").stderr(Stdio::null()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_watched_tuned_lost_and_found_in_a_real_terminal_which_is_given_back() {
    let Some(terminal) = Terminal::open() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let (address, client) = (server.address.to_string(), server.client().await);
    client.create("notes", 2, Metric::L2).await;
    terminal.shows(&["ready>"]).await;
    terminal.press(&[&format!("echo what was; {CLI} --server {address}"), "Enter"]);
    terminal.shows(&["[1 Overview]", "Searches", "0 written, 0 deleted", "ready"]).await;

    client.upsert(batch("notes", numbers(0..1_000), &[0.5; 2_000])).await;
    for _ in 0..40 {
        client.search(nearest("notes", &[0.5; 2], 1)).await;
    }
    terminal.shows(&["1 000 written", "40 since the start"]).await;
    terminal.press(&["2"]);
    terminal.shows(&["[2 Collections]", "> notes", "1 000", "auto"]).await;
    for (key, words) in [("3", "Segments of notes"), ("4", "nobody follows"), ("5", "default"), ("6", "Log (UTC)")] {
        terminal.press(&[key]);
        terminal.shows(&[words]).await;
    }

    terminal.press(&["2", "e"]);
    terminal.shows(&["notes: auto_"]).await;
    terminal.press(&["7", "7", "Enter"]);
    terminal.shows(&["done: ef_search of `notes` is 77 now"]).await;
    assert_eq!(client.describe("notes").await.config.unwrap().ef_search, Some(77));
    terminal.press(&["v"]);
    terminal.shows(&["Vacuum `notes`"]).await;
    terminal.press(&["y"]);
    terminal.shows(&["done: vacuumed `notes`"]).await;
    terminal.tmux(&["resize-window", "-x", "120", "-y", "40"]);
    terminal.shows(&["dimension"]).await;

    // It is killed, and another one comes up in its place.
    drop(server);
    terminal.shows(&["disconnected since", "old figures", "> notes"]).await;
    let server = Program::start_on(folder.path(), &address);
    until("it is connected again", async || !terminal.screen().contains("disconnected")).await;
    terminal.shows(&["> notes", "1 000", "77"]).await;

    terminal.press(&["q"]);
    let screen = terminal.shows(&["ready>", "what was"]).await;
    assert!(!screen.contains("HyperspaceDB"), "the screen is as it was before:\n{screen}");
    terminal.press(&["stty -a | grep -c ' echo '", "Enter"]);
    until("what is typed is seen again", async || terminal.screen().lines().any(|line| line == "1")).await;
    drop(server);
}
