//! Nothing but the helper, for tests: `outrigger-sandbox sandbox-exec enter PARENT-PID PROGRAM ARGS…`.

use std::process::ExitCode;

fn main() -> ExitCode {
    outrigger_sandbox::run_helper().unwrap_or_else(|| ExitCode::from(64))
}
