//! Starting a program in a sandbox, and finding out from inside that one is in it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::helper;
use crate::netns::NetNs;

/// The fresh namespaces that the calling program runs in.
#[derive(Debug)]
pub struct Sandbox {
    netns: NetNs,
    uids: bool,
}

impl Sandbox {
    /// Returns a command that runs `program` in a sandbox of its own.
    ///
    /// `helper` is a binary that calls [`crate::run_helper`] first in `main`. The sandbox and all that is in it end
    /// with the program, and with the *thread* that spawns this command: spawn it from a thread that lives on.
    /// It has a process group of its own, so Ctrl-C reaches the caller only.
    #[must_use]
    pub fn command(helper: &Path, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(helper);
        command.args(helper::enter_args(program.as_ref()));
        command.process_group(0);
        command
    }

    /// Tells whether the kernel lets the calling user have a sandbox.
    ///
    /// # Errors
    /// [`SandboxError::Forbidden`] when it does not.
    pub fn probe(helper: &Path) -> Result<(), SandboxError> {
        let output = Self::command(helper, helper)
            .arg(helper::HELPER)
            .arg(helper::NOTHING)
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SandboxError::Helper { path: helper.display().to_string(), source })?;
        Self::check(output.status.code(), &output.stderr)
    }

    /// Turns the end of a command that [`Self::command`] made into the reason why no sandbox could be made, if so.
    ///
    /// # Errors
    /// [`SandboxError::Forbidden`] when the kernel forbade it.
    pub fn check(exit_code: Option<i32>, stderr: &[u8]) -> Result<(), SandboxError> {
        if exit_code == Some(i32::from(helper::FORBIDDEN)) {
            let reason = String::from_utf8_lossy(stderr).trim().trim_start_matches("error: ").to_owned();
            return Err(SandboxError::Forbidden { reason });
        }
        Ok(())
    }

    /// Returns the sandbox that the calling program was started in.
    ///
    /// # Errors
    /// [`SandboxError::Outside`] when it was not started by [`Self::command`].
    pub fn enter() -> Result<Self, SandboxError> {
        let netns = NetNs::current().map_err(SandboxError::Namespace)?;
        let marker = std::env::var_os(helper::MARKER).ok_or(SandboxError::Outside)?;
        // A program in one of the sandbox's inner namespaces has the variable too, but not this network.
        if marker != *netns.id() {
            return Err(SandboxError::Outside);
        }
        let uid_map = std::fs::read_to_string("/proc/self/uid_map").map_err(SandboxError::Namespace)?;
        Ok(Self { netns, uids: maps_several(&uid_map) })
    }

    /// Tells whether several user ids exist here. If not, a proxy's traffic is told by socket mark, not by user.
    #[must_use]
    pub fn has_uids(&self) -> bool {
        self.uids
    }

    pub(crate) fn netns(&self) -> &NetNs {
        &self.netns
    }
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The kernel or the container runtime refused new namespaces.
    #[error("no sandbox: {reason}")]
    Forbidden {
        /// What was refused, and what to change.
        reason: String,
    },
    /// The helper binary did not start.
    #[error("start the sandbox helper {path}")]
    Helper {
        /// The binary.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program was not started by [`Sandbox::command`].
    #[error("this program does not run in a sandbox: start it with Sandbox::command")]
    Outside,
    /// The program's own namespace cannot be read.
    #[error("read the own namespaces in /proc/self")]
    Namespace(#[source] io::Error),
}

/// A line of `uid_map` is: first id inside, first id outside, count.
fn maps_several(uid_map: &str) -> bool {
    let counts = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mapped_uid_is_not_several() {
        assert!(!maps_several("         0       1000          1\n"));
        assert!(maps_several("         0          0 4294967295\n"));
        assert!(maps_several("0 1000 1\n1 100000 65536\n"));
    }

    #[test]
    fn is_outside_when_not_started_by_the_helper() {
        assert!(matches!(Sandbox::enter(), Err(SandboxError::Outside)));
    }

    #[test]
    fn a_refused_sandbox_is_told_from_a_failed_program() {
        assert!(Sandbox::check(Some(1), b"error: something").is_ok());
        let refused = Sandbox::check(Some(77), b"error: no user namespaces\n");
        assert!(matches!(refused, Err(SandboxError::Forbidden { reason }) if reason == "no user namespaces"));
    }
}
