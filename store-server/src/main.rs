//! The `carrack` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    carrack_store::cli::main()
}
