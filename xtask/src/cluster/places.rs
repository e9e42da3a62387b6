//! Where the cluster's files are: built things and downloads that stay, and one folder for what runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::workspace;

/// The folders of the cluster.
#[derive(Debug)]
pub(super) struct Places {
    repository: PathBuf,
    home: PathBuf,
}

impl Places {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { repository: workspace::root()?, home: workspace::cache_dir()?.join("cluster") })
    }

    pub(super) fn repository(&self) -> &Path {
        &self.repository
    }

    /// Templates, image files and Go modules, as they are in the repository.
    pub(super) fn sources(&self) -> PathBuf {
        self.repository.join("tests/cluster")
    }

    /// All that is cached.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Programs that were built.
    pub(super) fn bin(&self) -> PathBuf {
        self.home.join("bin")
    }

    /// Images that were built, as files.
    pub(super) fn images(&self) -> PathBuf {
        self.home.join("images")
    }

    /// All that the running cluster has written; gone when it is down.
    pub(super) fn run(&self) -> PathBuf {
        self.home.join("run")
    }

    pub(super) fn certificates(&self) -> PathBuf {
        self.run().join("pki")
    }

    /// What users and tests connect with; it exists when the cluster is up.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.home.join("kubeconfig")
    }

    pub(super) fn log_file(&self, part: &str) -> PathBuf {
        self.run().join("logs").join(format!("{part}.log"))
    }

    pub(super) fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }

    /// Waits until no other `cargo xtask cluster` changes the cluster; the lock ends when the file is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        lock(&self.home.join("lock"))
    }
}

/// Takes a lock file, waiting for whoever has it.
pub(super) fn lock(path: &Path) -> Result<File> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another command, which has {}", path.display());
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

pub(super) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))
}

pub(super) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

pub(super) fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

/// Writes a file unless it has that content: some programs end when their file changes.
pub(super) fn write_changed(path: &Path, content: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|have| have == content) { Ok(()) } else { write(path, content) }
}

/// Refuses a user who can make neither namespaces nor mounts.
pub(super) fn require_root() -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the test cluster runs on Linux; elsewhere point the tests at another cluster with KUBECONFIG");
    }
    if !workspace::is_root() {
        bail!("the test cluster needs root, for namespaces and mounts; or point the tests at another with KUBECONFIG");
    }
    Ok(())
}
