//! What `hyperspace-server` and `hyperspace-cli` answer while the native host is not built: `--help`, `--version`,
//! and for everything else one sentence that says so. Knows nothing of collections, files or the network.

use hyperspace_core::error::Error;

/// One of this package's two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `hyperspace-server`.
    Server,
    /// `hyperspace-cli`.
    Cli,
}

/// What a program prints, and the code it exits with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// For standard output; exit code 0.
    Text(String),
    /// For standard error; exit code 2.
    Refusal(Error),
}

impl Program {
    /// The name of the executable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "hyperspace-server",
            Self::Cli => "hyperspace-cli",
        }
    }

    /// Answers the arguments that follow the program's name.
    pub fn answer(self, arguments: &[String]) -> Reply {
        match arguments.first().map(String::as_str) {
            Some("--version" | "-V") => Reply::Text(format!("{} {}", self.name(), env!("CARGO_PKG_VERSION"))),
            Some("--help" | "-h") => {
                Reply::Text(format!("usage: {} [--help] [--version]\n\n{}.", self.name(), self.state_of_work()))
            }
            _ => Reply::Refusal(Error::unsupported(self.state_of_work())),
        }
    }

    /// What is missing, and what works instead.
    fn state_of_work(self) -> String {
        let missing = match self {
            Self::Server => "the native server",
            Self::Cli => "the command line for a native server",
        };
        format!(
            "{missing} is not built yet; what works today is the engine in a browser tab: \
             the npm package `hyperspace-db`, and its demo by `npm start`"
        )
    }
}

/// Runs `program` with the process's own arguments; the body of both `main` functions.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the programs' output")]
pub fn main(program: Program) -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    match program.answer(&arguments) {
        Reply::Text(text) => {
            println!("{text}");
            std::process::ExitCode::SUCCESS
        }
        Reply::Refusal(error) => {
            eprintln!("{}: {error}", program.name());
            std::process::ExitCode::from(2)
        }
    }
}
