//! Running a test of libtest inside a sandbox: the test starts itself again there.

use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::{env, fs, thread};

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
    entered().or_else(|| run_again(Sandbox::command(helper.as_ref(), this_binary())))
}

/// As [`enter`], by another user. Root's folders may be closed to that user, so both binaries are copied; [`helper_of`]
/// finds the helper inside.
///
/// # Panics
/// When the test fails in its sandbox.
#[must_use]
pub fn enter_as(uid: u32, helper: impl AsRef<Path>) -> Option<Sandbox> {
    if let Some(sandbox) = entered() {
        return Some(sandbox);
    }
    let folder = env::temp_dir().join(format!("outrigger-test-{}-{:?}", process::id(), thread::current().id()));
    let copies = Copies(folder);
    let [helper, this] = copies.make([helper.as_ref(), &this_binary()]).expect("the temporary folder has room");
    let mut command = Sandbox::command(&helper, this);
    command.uid(uid).gid(uid).current_dir("/").env(HELPER, helper);
    run_again(command)
}

/// The helper binary where the current user can run it: `helper`, or inside [`enter_as`] its copy.
#[must_use]
pub fn helper_of(helper: &str) -> PathBuf {
    env::var_os(HELPER).unwrap_or_else(|| helper.into()).into()
}

fn entered() -> Option<Sandbox> {
    match Sandbox::enter() {
        Ok(sandbox) => Some(sandbox),
        Err(SandboxError::Outside) => None,
        Err(error) => panic!("{error:?}"),
    }
}

fn this_binary() -> PathBuf {
    env::current_exe().expect("a test knows its binary")
}

/// Runs the calling test in a sandbox, by this command; always `None`, as the caller is not in one.
fn run_again(mut command: Command) -> Option<Sandbox> {
    let thread = thread::current();
    let test = thread.name().expect("libtest names a test's thread after the test");
    command.args([test, "--exact", "--nocapture"]).stdin(Stdio::null());
    let output = command.output().expect("the sandbox helper starts");
    if let Err(error) = Sandbox::check(output.status.code(), &output.stderr) {
        skip(test, &error);
        return None;
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // A name that matches nothing would pass without having run.
    let passed = output.status.success() && stdout.contains("1 passed");
    assert!(passed, "{test} in its sandbox: {}\n{stdout}{stderr}", output.status);
    // What it tells beside its result; libtest shows it to who asks (`--nocapture`).
    eprint!("{stderr}");
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

/// A folder of programs that everybody may run, until it is dropped.
struct Copies(PathBuf);

impl Copies {
    fn make<const N: usize>(&self, programs: [&Path; N]) -> io::Result<[PathBuf; N]> {
        let open = || fs::Permissions::from_mode(0o755);
        fs::create_dir(&self.0)?;
        fs::set_permissions(&self.0, open())?;
        let copies = programs.map(|program| self.0.join(program.file_name().unwrap_or_default()));
        for (program, copy) in programs.iter().zip(&copies) {
            fs::copy(program, copy)?;
            fs::set_permissions(copy, open())?;
        }
        Ok(copies)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn skip(test: &str, error: &SandboxError) {
    let required = env::var("OUTRIGGER_REQUIRE_NETNS").is_ok_and(|value| value == "1");
    assert!(!required, "{test} needs a sandbox, and OUTRIGGER_REQUIRE_NETNS=1 forbids to skip it: {error}");
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {error}");
}

/// Names the helper's copy to a test that runs as another user.
const HELPER: &str = "OUTRIGGER_SANDBOX_HELPER";
