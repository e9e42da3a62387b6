//! Where things are: the repository, its target folder, the cache for tools.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

/// The repository's root. Asked at run time: a target folder shared by two clones must not mix them up.
pub(crate) fn root() -> Result<PathBuf> {
    if let Some(manifest) = std::env::var_os("CARGO_MANIFEST_DIR") {
        let manifest = PathBuf::from(manifest);
        return Ok(manifest.parent().context("xtask has no parent folder")?.to_path_buf());
    }
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|dir| dir.join("Cargo.lock").exists() && dir.join("xtask").exists());
    Ok(found.context("not inside the repository: run `cargo xtask` from its folder")?.to_path_buf())
}

/// The folder that cargo builds into.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root.join(dir),
        None => root.join("target"),
    }
}

/// The folder for what is installed on demand; it outlives `cargo clean`.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let cache = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => anyhow::bail!("neither XDG_CACHE_HOME nor HOME is set: no place for tools"),
    };
    Ok(cache.join("outrigger"))
}

/// A `cargo` command in the repository: the toolchain's own, whatever started us.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // `cargo run` sets these for xtask itself; a nested cargo must not take them for its own.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Whether we run as root (and may thus make network namespaces and install packages).
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|proc| proc.uid() == 0)
}

/// Whether a program can be found on `PATH`, or where root's programs usually are.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ROOT_PROGRAMS.map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).any(|dir| dir.join(program).is_file())
}

/// Where programs of root's are, in a PATH or not.
pub(crate) const ROOT_PROGRAMS: [&str; 2] = ["/usr/sbin", "/sbin"];
