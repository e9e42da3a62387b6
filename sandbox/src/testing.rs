//! Running a test of libtest inside a sandbox: the test starts itself again there.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::{Sandbox, SandboxError};

/// Returns the sandbox when the calling test runs in one. Otherwise runs the test again in a fresh sandbox, panics when
/// it failed there, and returns `None`: the caller then returns.
///
/// `helper` is a binary that calls [`crate::run_helper`]: `env!("CARGO_BIN_EXE_…")`. Where the kernel forbids sandboxes
/// the test is skipped with a message, or fails when `OUTRIGGER_REQUIRE_NETNS=1`.
///
/// # Panics
/// When the test fails in its sandbox.
#[must_use]
pub fn enter(helper: impl AsRef<Path>) -> Option<Sandbox> {
    enter_by(helper.as_ref(), |_| {})
}

/// As [`enter`], but lets the caller change the command first: another user, for one.
///
/// # Panics
/// When the test fails in its sandbox.
#[must_use]
pub fn enter_by(helper: &Path, change: impl FnOnce(&mut Command)) -> Option<Sandbox> {
    match Sandbox::enter() {
        Ok(sandbox) => return Some(sandbox),
        Err(SandboxError::Outside) => {}
        Err(error) => panic!("{error:?}"),
    }
    let thread = thread::current();
    let test = thread.name().expect("libtest names a test's thread after the test");
    let this = env::current_exe().expect("a test knows its binary");
    let mut command = Sandbox::command(helper, this);
    command.args([test, "--exact", "--nocapture"]).stdin(Stdio::null());
    change(&mut command);
    let output = command.output().expect("the sandbox helper starts");
    if let Err(error) = Sandbox::check(output.status.code(), &output.stderr) {
        skip(test, &error);
        return None;
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    // A name that matches nothing would pass without having run.
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{test} in its sandbox: {}\n{stdout}{}", output.status, String::from_utf8_lossy(&output.stderr));
    None
}

/// Tells whether sandboxes work here, for a test that does not run in one itself; if not, says that it is skipped.
///
/// # Panics
/// When they do not work and `OUTRIGGER_REQUIRE_NETNS=1`.
#[must_use]
pub fn available(helper: impl AsRef<Path>) -> bool {
    let probe = Sandbox::probe(helper.as_ref());
    if let Err(error) = &probe {
        skip(thread::current().name().unwrap_or("a test"), error);
    }
    probe.is_ok()
}

fn skip(test: &str, error: &SandboxError) {
    let required = env::var("OUTRIGGER_REQUIRE_NETNS").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs a sandbox, and OUTRIGGER_REQUIRE_NETNS=1 forbids to skip it: {error}");
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {error}");
}
