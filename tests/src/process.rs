//! A program of the test's, with its output kept for when the test fails.

use std::fs::{File, read_to_string};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::panicking;

use outrigger_sandbox::Namespace;

use crate::wait;

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in `namespace`; stdout and stderr go to a file in `folder`.
    ///
    /// # Panics
    /// When the program cannot start.
    #[must_use]
    pub fn start(name: &str, namespace: &Namespace, folder: &Path, command: &mut Command) -> Self {
        let log = folder.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("the test's folder is writable");
        let twin = file.try_clone().expect("a file has two ends");
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let child = namespace.start(command).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        Self { name: name.to_owned(), child, log }
    }

    /// Everything it has printed so far.
    #[must_use]
    pub fn output(&self) -> String {
        read_to_string(&self.log).unwrap_or_default()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to end (SIGTERM) without waiting.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by name.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()), "signal {signal} to {}", self.name);
    }

    /// Kills it at once (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ended(&mut self) -> ExitStatus {
        wait::until(&format!("the end of {}", self.name), || self.child.try_wait().ok().flatten())
    }

    /// Tells whether it is running.
    ///
    /// # Panics
    /// Never in practice.
    pub fn alive(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        self.kill();
        if panicking() {
            let end = match ended {
                Some(status) if status.signal().is_some() => format!(" (ended before: {status})"),
                Some(status) => format!(" (ended before: {status})"),
                None => String::new(),
            };
            let output = self.output();
            let tail = output.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("---- {}{end} ----\n{}", self.name, &output[tail..]);
        }
    }
}
