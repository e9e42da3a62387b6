//! The two small processes between a caller and its sandboxed program, both run from the caller's own binary.
//!
//! `enter` makes the namespaces: it must be a process of its own, because a process with threads cannot make a user
//! namespace, and because the caller stays outside. `init` is pid 1 of the sandbox: it reaps orphans, and when it ends
//! the kernel ends everything inside.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitCode, ExitStatus};

use nix::mount::{self, MsFlags};
use nix::sched::{self, CloneFlags};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{self, WaitStatus};
use nix::unistd;

use crate::netlink::Netlink;
use crate::netns::NetNs;

/// Acts as the sandbox's helper if the program was started as one; call this first in `main`, before any thread.
///
/// Returns the exit code to end with, or `None` when the program is to do its own work.
#[must_use]
pub fn run_helper() -> Option<ExitCode> {
    let mut args = env::args_os().skip(1);
    if args.next()? != HELPER {
        return None;
    }
    let done = match (args.next(), args.next()) {
        (Some(mode), Some(parent)) if mode == "enter" => enter(&parent, args),
        (Some(mode), Some(parent)) if mode == "init" => init(&parent, args),
        (Some(mode), None) if mode == NOTHING => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::new(USAGE, "sandbox-exec is for the program's own use")),
    };
    Some(done.unwrap_or_else(|failure| {
        let _ = writeln!(io::stderr(), "error: {}", failure.message);
        ExitCode::from(failure.code)
    }))
}

/// The arguments after which the program's own follow.
pub(crate) fn enter_args(program: &OsStr) -> [OsString; 4] {
    [HELPER.into(), "enter".into(), std::process::id().to_string().into(), program.to_owned()]
}

fn enter(parent: &OsStr, program: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    let (uid, gid) = (unistd::geteuid(), unistd::getegid());
    let unshared = if uid.is_root() { sched::unshare(NAMESPACES) } else { Err(nix::errno::Errno::EPERM) };
    if unshared.is_err() {
        sched::unshare(CloneFlags::CLONE_NEWUSER | NAMESPACES).map_err(forbidden)?;
        // The kernel lets an unprivileged process map exactly its own ids, and only once setgroups is off.
        fs::write("/proc/self/setgroups", "deny").map_err(forbidden)?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).map_err(forbidden)?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).map_err(forbidden)?;
    }
    // After unshare: the kernel forgets the wish when a process changes its credentials.
    die_with_parent()?;
    if *unistd::getppid().to_string() != *parent {
        return Err(Failure::new(USAGE, "the caller is gone"));
    }
    let this = env::current_exe().map_err(|e| Failure::new(USAGE, format!("find the own binary: {e}")))?;
    let mut command = Command::new(&this);
    command.args([HELPER, "init", &pid_in_proc()]).args(program);
    let status = command.status().map_err(|e| Failure::new(USAGE, format!("start {}: {e}", this.display())))?;
    Ok(exit_code(status))
}

fn init(parent: &OsStr, mut program: impl Iterator<Item = OsString>) -> Result<ExitCode, Failure> {
    die_with_parent()?;
    // /proc still shows the caller's pids here. The parent may have died before it could be asked for the signal.
    if parent_in_proc().is_some_and(|seen| *seen != *parent) {
        return Err(Failure::new(USAGE, "the caller is gone"));
    }
    mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(forbidden)?;
    // Refused in containers that hide parts of /proc; then programs see the pids of outside, which few care about.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let _ = mount::mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>);
    let failed = |e: &dyn std::error::Error| Failure::new(FORBIDDEN, format!("set the loopback up: {e}"));
    Netlink::here(async |netlink| netlink.set_up("lo").await).map_err(|e| failed(&e))?;
    let netns = NetNs::current().map_err(|e| failed(&e))?;

    let path = program.next().ok_or_else(|| Failure::new(USAGE, "no program to run"))?;
    let child = Command::new(&path).args(program).env(MARKER, netns.id()).spawn();
    let child = child.map_err(|e| Failure::new(USAGE, format!("start {}: {e}", path.display())))?;
    Ok(reap_until(child.id().cast_signed()))
}

/// Orphans become children of pid 1, and would stay as zombies.
fn reap_until(program: i32) -> ExitCode {
    loop {
        match wait::wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == program => {
                return ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == program => {
                return ExitCode::from(SIGNALLED + u8::try_from(signal as i32).unwrap_or_default());
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return ExitCode::FAILURE,
        }
    }
}

fn die_with_parent() -> Result<(), Failure> {
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| Failure::new(USAGE, format!("ask for the death signal: {e}")))
}

/// The own pid as the mounted /proc counts it, which need not be this process's pid namespace.
fn pid_in_proc() -> String {
    fs::read_link("/proc/self").map(|link| link.display().to_string()).unwrap_or_default()
}

fn parent_in_proc() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Some(line.trim().to_owned())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let signalled = || status.signal().map(|signal| i32::from(SIGNALLED) + signal);
    ExitCode::from(status.code().or_else(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

fn forbidden(e: impl std::fmt::Display) -> Failure {
    let hint = "allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1 or \
                kernel.apparmor_restrict_unprivileged_userns=0; in a container: --privileged), or run as root";
    Failure::new(FORBIDDEN, format!("the kernel refused new namespaces: {e}; {hint}"))
}

struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNET
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWPID)
    .union(CloneFlags::CLONE_NEWIPC);

/// The first argument that makes a program a helper.
pub(crate) const HELPER: &str = "sandbox-exec";
/// The mode that does nothing, to find out whether the others would work.
pub(crate) const NOTHING: &str = "nothing";
/// Holds the id of the sandbox's own network namespace.
pub(crate) const MARKER: &str = "OUTRIGGER_SANDBOX";
/// `EX_NOPERM` of sysexits.h.
pub(crate) const FORBIDDEN: u8 = 77;
const USAGE: u8 = 64;
/// As a shell reports a program that a signal ended.
const SIGNALLED: u8 = 128;
