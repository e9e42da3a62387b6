//! The CA directory: only its owner may look into it, files appear whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::material::{ISSUER_PEM, ROOT_KEY, ROOT_PEM};
use super::{AuthorityError, Material};

/// A CA directory that no other process has locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    // Held for as long as the directory is in use; the kernel lets go of it when the process ends, however it ends.
    _lock: File,
}

impl Directory {
    /// Makes the directory when it is missing, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Self, AuthorityError> {
        make(path)?;
        let lock_path = path.join("lock");
        let lock = open(OpenOptions::new().write(true).create(true).truncate(false), &lock_path)?;
        // A control plane that was just killed may take a moment to be gone.
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(AuthorityError::InUse { path: path.to_owned() }),
                Err(TryLockError::Error(source)) => {
                    return Err(AuthorityError::File { path: lock_path, what: "lock", source });
                }
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the CA that is kept here, as far as there is one.
    pub(super) fn load(&self) -> Result<Material, AuthorityError> {
        let file = |name: &str| read(&self.path.join(name));
        Ok(Material { root_pem: file(ROOT_PEM)?, root_key: file(ROOT_KEY)?, issuer_pem: file(ISSUER_PEM)? })
    }

    /// Writes what differs from what is here.
    pub(super) fn save(&self, here: &Material, wanted: &Material) -> Result<(), AuthorityError> {
        for ((name, wanted), (_, here)) in wanted.parts().into_iter().zip(here.parts()) {
            if let Some(part) = wanted.filter(|part| Some(*part) != here) {
                write(&self.path.join(name), part.as_bytes())?;
            }
        }
        Ok(())
    }
}

/// Makes the directory when it is missing; one that others may enter is closed to them.
pub(super) fn make(path: &Path) -> Result<(), AuthorityError> {
    let failed = |what| move |source| AuthorityError::File { path: path.to_owned(), what, source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the directory"))?;
    let permissions = std::fs::metadata(path).map_err(failed("look at the directory"))?.permissions();
    if permissions.mode() & 0o077 != 0 {
        let closed = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, closed).map_err(failed("close the directory to others"))?;
    }
    Ok(())
}

/// Reads a file; `None` when there is none.
pub(super) fn read(path: &Path) -> Result<Option<String>, AuthorityError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), what: "read", source }),
    }
}

/// Writes a file so that a reader, or a crash, sees the old content or the new, never a part.
pub(super) fn write(path: &Path, content: &[u8]) -> Result<(), AuthorityError> {
    let temporary = prepare(path, content)?;
    std::fs::rename(&temporary, path).map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        AuthorityError::File { path: path.to_owned(), what: "put in place", source }
    })?;
    sync_parent(path)
}

/// Writes a file unless it exists; `false` when it did.
pub(super) fn write_new(path: &Path, content: &[u8]) -> Result<bool, AuthorityError> {
    let temporary = prepare(path, content)?;
    // A hard link, unlike a rename, fails when the name is taken: of two processes one wins.
    let linked = std::fs::hard_link(&temporary, path);
    let _ = std::fs::remove_file(&temporary);
    match linked {
        Ok(()) => sync_parent(path).map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(source) => Err(AuthorityError::File { path: path.to_owned(), what: "put in place", source }),
    }
}

/// Opens a file that only its owner may read.
pub(super) fn open(options: &mut OpenOptions, path: &Path) -> Result<File, AuthorityError> {
    let file = options.mode(0o600).open(path);
    file.map_err(|source| AuthorityError::File { path: path.to_owned(), what: "open", source })
}

fn prepare(path: &Path, content: &[u8]) -> Result<PathBuf, AuthorityError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let mut file = open(OpenOptions::new().write(true).create(true).truncate(true), &temporary)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        AuthorityError::File { path: temporary.clone(), what: "write", source }
    })?;
    Ok(temporary)
}

fn sync_parent(path: &Path) -> Result<(), AuthorityError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|source| AuthorityError::File { path: parent.to_owned(), what: "write the directory", source })
}
