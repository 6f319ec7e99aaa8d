//! What the two programs say and exit with before they do anything.

use std::net::TcpListener;
use std::process::Output;

use hyperspace_server::proto::Metric;

use crate::support::client::{batch, numbers};
use crate::support::program::{CLI, Program, SERVER, command, run, text};

/// Checks that a program failed with one line on standard error and nothing on standard output.
fn assert_fails(program: &str, output: &Output, code: i32, named: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(output.stdout.is_empty(), "printed {:?}", text(&output.stdout));
    assert!(message.starts_with(&format!("{program}: ")) && message.contains(named), "{named:?} is not in {message:?}");
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn version_and_help_go_to_standard_output_and_exit_0() {
    let folder = tempfile::tempdir().unwrap();
    for (name, program) in [("hyperspace-server", SERVER), ("hyperspace-cli", CLI)] {
        let version = run(program, folder.path(), &["--version"]);
        assert_eq!(
            (version.status.code(), text(&version.stdout)),
            (Some(0), &*format!("{name} {}\n", env!("CARGO_PKG_VERSION")))
        );
        let help = run(program, folder.path(), &["--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains(&format!("Usage: {name}")), "{}", text(&help.stdout));
    }
    let help = run(CLI, folder.path(), &["--help"]);
    assert!(text(&help.stdout).to_lowercase().contains("not built yet"), "help must not promise what does not work");
    assert_eq!(crate::support::everything_below(folder.path()), Vec::<String>::new());
}

#[test]
fn a_command_line_that_is_wrong_is_told_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let server: [&[&str]; 4] = [&["--no-such-flag"], &["serve"], &["--listen"], &["check"]];
    let cli: [&[&str]; 5] = [
        &["--no-such-flag"],
        &["no-such-command"],
        &["search", "c"],
        &["search", "c", "--vector", "1", "--top-k", "1001"],
        &["collections", "create", "c", "--dimension", "2", "--metric", "manhattan"],
    ];
    for (program, lines) in [(SERVER, &server[..]), (CLI, &cli)] {
        for line in lines {
            let output = run(program, folder.path(), line);
            assert_eq!(output.status.code(), Some(2), "{line:?}");
            assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{line:?}");
        }
    }
    let json = run(CLI, folder.path(), &["--json", "no-such-command"]);
    let told: serde_json::Value = serde_json::from_slice(&json.stderr).unwrap();
    assert_eq!((json.status.code(), &told["error"]["code"]), (Some(2), &"invalid_argument".into()));
}

#[test]
fn what_is_not_built_says_so_in_one_line_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let server: [(&[&str], &str); 5] = [
        (&["--role", "follower"], "needs --leader"),
        (&["--leader", "http://127.0.0.1:1"], "is for --role follower"),
        (&["--tls-cert", "a.pem"], "go together"),
        (&["--tls-key", "a.pem"], "go together"),
        (&["--listen", "0.0.0.0:0"], "--tls-cert"),
    ];
    for (line, why) in server {
        assert_fails("hyperspace-server", &run(SERVER, folder.path(), line), 2, why);
    }
    assert_fails("hyperspace-cli", &run(CLI, folder.path(), &[]), 2, "`hyperspace-cli stats`");
    assert_fails("hyperspace-cli", &run(CLI, folder.path(), &["usage"]), 2, "not built yet");
    assert_eq!(crate::support::everything_below(folder.path()), Vec::<String>::new(), "no data were made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_exits_0_when_all_is_sound_1_on_damage_and_2_when_it_cannot_look() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &[&str]| run(SERVER, folder.path(), &[&["check", "data"], more].concat());
    assert_fails("hyperspace-server", &check(&[]), 2, "there is no directory data");
    let server = Program::start(folder.path());
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..3), &[0.5; 6])).await;
    assert_fails("hyperspace-server", &check(&[]), 2, "in use by another process");
    let refused = check(&["--json"]);
    let told: serde_json::Value = serde_json::from_slice(&refused.stderr).unwrap();
    assert_eq!((refused.status.code(), &told["error"]["code"]), (Some(2), &"unavailable".into()));
    drop((client, server));

    let before = crate::support::everything_below(folder.path());
    let sound = check(&[]);
    let last = text(&sound.stdout).lines().last().unwrap();
    assert_eq!((sound.status.code(), last.starts_with("sound: 0 damaged")), (Some(0), true), "{last}");
    assert!(last.contains("1 collections, 3 points, 0 segments, 1 records in 1 log files"), "{last}");
    assert_eq!(crate::support::everything_below(folder.path()), before);

    let log = folder.path().join("data/log/0000000000000001");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let damaged = check(&[]);
    assert_eq!(damaged.status.code(), Some(1));
    let lines: Vec<&str> = text(&damaged.stdout).lines().collect();
    assert!(lines[0].starts_with("damage     log/0000000000000001 at 0: "), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("damaged: 1 damaged"), "{lines:?}");
    let damaged = check(&["--json"]);
    let told: serde_json::Value = serde_json::from_slice(&damaged.stdout).unwrap();
    assert_eq!((damaged.status.code(), &told["sound"], &told["totals"]["points"]), (Some(1), &false.into(), &3.into()));
    let finding = &told["findings"][0];
    assert_eq!((&finding["kind"], &finding["offset"]), (&"damage".into(), &0.into()));
}

#[test]
fn a_setting_that_is_wrong_is_named_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let file = |text: &str| std::fs::write(folder.path().join("settings.toml"), text).unwrap();
    let config = ["--config", "settings.toml"];
    assert_fails("hyperspace-server", &run(SERVER, folder.path(), &config), 2, "settings.toml");
    for (settings, named) in [
        ("dataa = 1", "`dataa`"),
        ("listen = 1", "`listen`"),
        ("durability = \"never\"", "strict or relaxed"),
        ("[x", "settings.toml"),
    ] {
        file(settings);
        assert_fails("hyperspace-server", &run(SERVER, folder.path(), &config), 2, named);
    }
    for (name, value) in [("HYPERSPACE_LISTEM", "127.0.0.1:0"), ("HYPERSPACE_INDEXERS", "0"), ("HYPERSPACE_", "1")] {
        let output = command(SERVER, folder.path(), &[]).env(name, value).output().unwrap();
        assert_fails("hyperspace-server", &output, 2, name);
    }
    for open in ["0.0.0.0:0", "[::]:0"] {
        assert_fails("hyperspace-server", &run(SERVER, folder.path(), &["--listen", open]), 2, "--insecure");
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn the_configuration_is_printed_with_the_source_of_each_setting_and_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.toml"), "data_dir = \"here\"\nindexers = 2\nlog = \"warn\"").unwrap();
    let flags = ["--print-config", "--config", "a.toml", "--log", "error", "--allowed-hosts", "db.example"];
    let asked = |flags: &[&str]| {
        let output = command(SERVER, folder.path(), flags).env("HYPERSPACE_INDEXERS", "3").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let printed = asked(&flags);
    let expected = [
        ("listen", "\"127.0.0.1:50051\"", "default"),
        ("data_dir", "\"here\"", "a.toml"),
        ("indexers", "3", "HYPERSPACE_INDEXERS"),
        ("log", "\"error\"", "--log"),
        ("allowed_hosts", "[\"db.example\"]", "--allowed-hosts"),
        ("durability", "\"strict\"", "default"),
    ];
    for (name, value, source) in expected {
        let line = printed.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
        let words: Vec<&str> = line.split(" # ").map(str::trim).collect();
        assert_eq!(words, [&*format!("{name} = {value}"), source]);
    }
    std::fs::write(folder.path().join("b.toml"), &printed).unwrap();
    let again = asked(&["--print-config", "--config", "b.toml"]);
    let values =
        |text: &str| text.lines().map(|line| line.split(" # ").next().unwrap().trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(values(&again), values(&printed));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_file_and_of_the_environment_are_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let config = "data_dir = \"from-file\"\nallowed_hosts = [\"db.example\"]\nlisten = \"127.0.0.1:1\"";
    std::fs::write(folder.path().join("a.toml"), config).unwrap();
    let mut command = command(SERVER, folder.path(), &["--config", "a.toml", "--log", "error"]);
    let server = Program::listening(command.env("HYPERSPACE_LISTEN", "127.0.0.1:0"));
    assert!(server.line.ends_with(" (data: from-file)\n"), "{:?}", server.line);
    let named = crate::support::http1::request("GET", "/readyz", &[("host", "db.example")], b"");
    assert_eq!(crate::support::http1::exchange(server.address, &named).await.code, 200);
    assert!(folder.path().join("from-file/LOCK").exists());
}

#[test]
fn a_server_that_cannot_run_is_one_line_and_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |arguments: &[&str]| run(SERVER, folder.path(), arguments);
    assert_fails("hyperspace-server", &run(&["--listen", &address]), 1, &address);

    let server = Program::start(folder.path());
    let expected = format!(
        "hyperspace-server {} listening on http://{} (data: data)\n",
        env!("CARGO_PKG_VERSION"),
        server.address
    );
    assert_eq!(server.line, expected);
    let second = run(&["--listen", "127.0.0.1:0", "--data-dir", "data"]);
    assert_fails("hyperspace-server", &second, 1, "in use by another process");
    drop(server);

    std::fs::write(folder.path().join("data/catalog"), "not a catalog").unwrap();
    let damaged = run(&["--listen", "127.0.0.1:0", "--data-dir", "data"]);
    assert_fails("hyperspace-server", &damaged, 1, "corrupted");
    std::fs::write(folder.path().join("file"), "").unwrap();
    let no_folder = run(&["--listen", "127.0.0.1:0", "--data-dir", "file"]);
    assert_fails("hyperspace-server", &no_folder, 1, "file");
    assert_eq!(
        std::fs::read(folder.path().join("data/catalog")).unwrap(),
        b"not a catalog",
        "nothing was repaired away"
    );
}
