//! Known vulnerabilities of dependencies: from a local copy of the advisory database when there is one, else from the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{step, tools, workspace};

/// Names a copy of the database, for machines without a network.
const DATABASE: &str = "OUTRIGGER_ADVISORY_DB";
/// Where cargo-deny gets the database from when no configuration says otherwise.
const UPSTREAM: &str = "https://github.com/RustSec/advisory-db";

/// Fails when a dependency has a known vulnerability, and also when nobody could tell: no answer is not a pass.
///
/// # Errors
/// Names the advisories, or says how to get at the database.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut deny = Command::new(tools::CARGO_DENY.program(root)?);
    deny.current_dir(root).arg("--workspace");
    let Some(database) = local_database(root)? else {
        return step::run(deny.args(["check", "advisories"])).with_context(|| {
            format!(
                "an advisory applies (see above), or the database could not be fetched. Without a network, put a copy \
                 of the RustSec advisory-db into a folder and name it in {DATABASE}"
            )
        });
    };
    eprintln!("advisory database: {}", database.display());
    let work = workspace::target_dir(root).join("advisories");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    let repository = repository_of(&database, &work)?;
    // No list of targets, unlike in deny.toml: every crate of Cargo.lock counts. Whether one was yanked, the registry knows.
    let config = format!(
        "graph.all-features = true\nadvisories.disable-yank-checking = true\nadvisories.db-path = {:?}\n",
        work.join("fetched")
    );
    std::fs::write(work.join("deny.toml"), config)?;
    deny.arg("--config").arg(work.join("deny.toml")).args(["check", "--hide-inclusion-graph", "advisories"]);
    deny.env("GIT_CONFIG_COUNT", "1").env("GIT_CONFIG_VALUE_0", UPSTREAM);
    step::run(deny.env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", repository.display())))
}

/// A Git repository with the advisories of a folder, which stays as it is: cargo-deny clones its database, and reads no other.
fn repository_of(database: &Path, work: &Path) -> Result<PathBuf> {
    let repository = work.join("repository");
    std::fs::create_dir_all(&repository)?;
    let git = |args: &[&str]| {
        let mut git = Command::new("git");
        git.arg("--git-dir").arg(&repository).arg("--work-tree").arg(database);
        git.args(["-c", "user.name=copy", "-c", "user.email=copy@localhost", "-c", "commit.gpgsign=false"]);
        step::run(git.current_dir(database).args(args))
    };
    git(&["init", "--quiet", "--initial-branch", "main"])?;
    git(&["add", "--force", "crates"])?;
    git(&["commit", "--quiet", "--no-verify", "--message", "copy"])?;
    Ok(repository)
}

/// The database that the environment names, or one in a folder beside the repository (`../*/advisory-db`).
fn local_database(root: &Path) -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os(DATABASE) {
        let database = PathBuf::from(named);
        if !is_database(&database) {
            bail!("{DATABASE} names {}, which is no advisory database: it has no folder `crates`", database.display());
        }
        return Ok(Some(database));
    }
    let Some(beside) = root.parent().and_then(|parent| parent.read_dir().ok()) else { return Ok(None) };
    let mut found: Vec<PathBuf> = beside
        .filter_map(|entry| Some(entry.ok()?.path().join("advisory-db")))
        .filter(|database| is_database(database))
        .collect();
    found.sort();
    Ok(found.pop())
}

fn is_database(dir: &Path) -> bool {
    dir.join("crates").is_dir()
}
