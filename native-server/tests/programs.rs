//! The two programs, run as a user runs them.

use std::process::{Command, Output};

const PROGRAMS: [(&str, &str); 2] = [
    ("hyperspace-server", env!("CARGO_BIN_EXE_hyperspace-server")),
    ("hyperspace-cli", env!("CARGO_BIN_EXE_hyperspace-cli")),
];

fn run(path: &str, arguments: &[&str]) -> Output {
    Command::new(path).args(arguments).output().expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the programs print UTF-8")
}

#[test]
fn what_is_not_built_says_so_in_one_line_and_exits_2() {
    for (name, path) in PROGRAMS {
        for arguments in [&[][..], &["--listen", "127.0.0.1:0"], &["check", "data"], &["stats"], &["--no-such-flag"]] {
            let output = run(path, arguments);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{name} {arguments:?}");
            assert!(output.stdout.is_empty(), "{name} {arguments:?} printed {:?}", text(&output.stdout));
            assert!(message.starts_with(&format!("{name}: unsupported: ")), "{name} said {message:?}");
            assert!(message.contains("not built yet") && message.contains("npm start"), "{name} said {message:?}");
            assert_eq!(message.lines().count(), 1, "{name} said {message:?}");
        }
    }
}

#[test]
fn version_and_help_go_to_standard_output_and_exit_0() {
    for (name, path) in PROGRAMS {
        let version = run(path, &["--version"]);
        assert_eq!(version.status.code(), Some(0));
        assert_eq!(text(&version.stdout), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));

        let help = run(path, &["--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).starts_with(&format!("usage: {name} ")));
        assert!(text(&help.stdout).contains("not built yet"), "help must not promise what does not work");
    }
}
