//! Finds installed programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PeerError;

/// A program from a Debian package.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// What to tell whoever lacks it.
    pub(super) install: &'static str,
}

impl Program {
    /// A command that runs it.
    pub(super) fn command(&self) -> Result<Command, PeerError> {
        Ok(Command::new(self.path()?))
    }

    pub(super) fn path(&self) -> Result<PathBuf, PeerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let usual = ["/usr/sbin", "/sbin", "/usr/local/go/bin"].map(PathBuf::from);
        std::env::split_paths(&path)
            .chain(usual)
            .chain(postgres_folders())
            .map(|folder| folder.join(self.name))
            .find(|program| program.is_file())
            .ok_or(PeerError::Missing { program: self.name, install: self.install })
    }
}

/// Debian keeps PostgreSQL's programs out of PATH, in a folder by version; the newest first.
fn postgres_folders() -> Vec<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders
}
