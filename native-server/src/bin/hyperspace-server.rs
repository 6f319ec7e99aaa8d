//! The server; see the library for what it answers today.

fn main() -> std::process::ExitCode {
    hyperspace_server::main(hyperspace_server::Program::Server)
}
