//! The `carrack-mcp` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    carrack_gateway::cli::main()
}
