//! Known vulnerabilities of dependencies: from a local copy of the advisory database when there is one, else from the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{step, tools};

/// Names a copy of the database, for machines without a network.
const DATABASE: &str = "OUTRIGGER_ADVISORY_DB";

/// Fails when a dependency has a known vulnerability, and also when nobody could tell: no answer is not a pass.
///
/// # Errors
/// Names the advisories, or says how to get at the database.
pub(crate) fn check(root: &Path) -> Result<()> {
    if let Some(database) = local_database(root)? {
        eprintln!("advisory database: {}", database.display());
        let audit = tools::CARGO_AUDIT.program(root)?;
        return step::run(
            Command::new(audit)
                .current_dir(root)
                .arg("audit")
                .arg("--db")
                .arg(database)
                .args(["--no-fetch", "--stale"]),
        );
    }
    let deny = tools::CARGO_DENY.program(root)?;
    step::run(Command::new(deny).current_dir(root).args(["--workspace", "check", "advisories"])).with_context(|| {
        format!(
            "an advisory applies (see above), or the database could not be fetched. Without a network, put a copy of \
             the RustSec advisory-db into a folder and name it in {DATABASE}"
        )
    })
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
