//! The command line; see [`hyperspace_server::cli`].

fn main() -> std::process::ExitCode {
    hyperspace_server::cli::main()
}
