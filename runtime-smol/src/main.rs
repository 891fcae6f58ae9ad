//! The `inbox` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime_smol::cli::main(std::env::args_os().skip(1))
}
