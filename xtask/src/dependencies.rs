//! How many crates go into what ships: each is somebody to trust, and time to build. The numbers are recorded, so that a change of
//! them is seen in review.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};

use crate::{step, workspace};

/// Packages, with the features that images have, and their crates: ours included, what only runs while building left out.
const RECORDED: [(&str, &str, usize); 3] =
    [("outrigger-sidecar", "", 136), ("outrigger-control-plane", "kubernetes", 188), ("outrigger-injector", "", 111)];

/// Counts the crates of each package.
///
/// # Errors
/// When a count differs from what is recorded.
pub(crate) fn check(root: &Path) -> Result<()> {
    let mut differ = Vec::new();
    for (package, features, recorded) in RECORDED {
        let mut tree = workspace::cargo(root);
        tree.args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--package", package]);
        // One target, so that the count is the same on every machine.
        tree.args(["--target", "x86_64-unknown-linux-gnu", "--features", features]);
        let found = count(&step::output(&mut tree)?);
        if found != recorded {
            differ.push(format!("{package} is made of {found} crates, and {recorded} are recorded"));
        }
    }
    if !differ.is_empty() {
        bail!("{}; if that is meant: xtask/src/dependencies.rs", differ.join("; "));
    }
    Ok(())
}

/// Counts the lines that differ: a crate that was shown before is marked.
fn count(tree: &str) -> usize {
    let crates = tree.lines().map(|line| line.trim_end_matches(" (*)").trim()).filter(|line| !line.is_empty());
    crates.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_is_shown_twice_counts_once_and_its_versions_count_each() {
        assert_eq!(count("a v1.0.0\nb v1.0.0\nb v2.0.0\nb v1.0.0 (*)\n\n"), 3);
    }
}
