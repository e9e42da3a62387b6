//! A process of the mesh, with its log.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;

use anyhow::Context as _;
use tokio::process::{Child, Command};

use super::place::Site;

/// A running process; dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a program at a site. What it prints goes to its log.
    pub(super) fn start(site: &Site, name: &str, mut command: Command, logs: &Path) -> anyhow::Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let child = site.start(&mut command)?;
        Ok(Self { name: name.to_owned(), child: Mutex::new(child), log })
    }

    /// Fails when the process has ended, with the end of its log.
    pub(super) fn alive(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match child.try_wait()? {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended ({status}): {}", self.name, self.last_words()),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The end of its log, on one line.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let mut lines: Vec<&str> = log.lines().rev().take(LAST_WORDS).collect();
        lines.reverse();
        if lines.is_empty() { "it said nothing".to_owned() } else { lines.join(" | ") }
    }
}

/// This same binary as another program of the mesh. Variables that would configure it are not inherited: the demo is
/// what it says it is.
pub(super) fn outrigger(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("find the own binary")?);
    command.args(args);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"OUTRIGGER_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

const LAST_WORDS: usize = 5;
