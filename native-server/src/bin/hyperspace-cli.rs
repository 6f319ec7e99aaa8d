//! The command line; see the library for what it answers today.

fn main() -> std::process::ExitCode {
    hyperspace_server::main(hyperspace_server::Program::Cli)
}
