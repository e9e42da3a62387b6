//! Cargo tools that the checks need, built on demand into the cache folder: no global install, one version for everybody.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{step, workspace};

/// A tool from the package registry, at the one version that the project uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, bans, sources and security advisories of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2" };

impl Tool {
    /// The path of the tool's program; builds it when this version is not in the cache.
    ///
    /// # Errors
    /// When it cannot be built: no network, or no compiler.
    pub(crate) fn program(self, root: &Path) -> Result<PathBuf> {
        let tools = workspace::cache_dir()?.join("tools");
        let home = tools.join(format!("{}-{}", self.name, self.version));
        let program = home.join("bin").join(self.name);
        if program.is_file() {
            return Ok(program);
        }
        step::announce(&format!("building {} {} (once, a few minutes)", self.name, self.version));
        step::run(
            workspace::cargo(root)
                // Not optimised: they run for a second, and building takes minutes.
                .args(["install", "--debug", "--locked", "--quiet", self.name, "--version", self.version, "--root"])
                .arg(&home)
                // A later version finds what an earlier one has compiled; it shares none of our flags.
                .env("CARGO_TARGET_DIR", tools.join("target"))
                .env("CARGO_PROFILE_DEV_DEBUG", "0")
                .env_remove("RUSTFLAGS"),
        )?;
        Ok(program)
    }
}
