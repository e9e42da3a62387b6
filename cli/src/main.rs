//! The binary `outrigger`.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger_cli::main()
}
