//! The `replfs` program; what it does is in the library beside it.

fn main() -> std::process::ExitCode {
    replfs_cli::main()
}
