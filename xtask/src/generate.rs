//! `cargo xtask gen`: files that are made from other files, committed, and checked to be up to date.
//!
//! Code of the protocols (so that building needs no protoc), `docs/reference` and `docs/reliability.md` (so that they can be read on the web).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{step, workspace};

/// `cargo xtask gen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Writes nothing; fails when a committed file differs from what would be written.
    #[arg(long)]
    check: bool,
}

/// A protocol: its folder, its file in there, and the folder for its code.
struct Protocol {
    include: &'static str,
    file: &'static str,
    code: &'static str,
    /// What turns messages into bytes.
    codec: &'static str,
    /// Whether code for a server is generated.
    server: bool,
}

const PROTOCOLS: &[Protocol] = &[
    Protocol {
        include: "proto/proto",
        file: "outrigger/mesh/v1/mesh.proto",
        code: "proto/src/generated",
        codec: "crate::Codec",
        server: false,
    },
    Protocol {
        include: "demo/proto",
        file: "pricing.proto",
        code: "demo/src/apps/generated",
        codec: "tonic_prost::ProstCodec",
        server: true,
    },
];

const REFERENCE: &str = "docs/reference";

/// What the program for the reference writes beside its folder.
const PAGES: &[&str] = &["docs/reliability.md"];

/// Writes the generated files, or checks them.
///
/// # Errors
/// When a source is faulty, or with `--check` when a file is stale.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    if args.check {
        return check(&root);
    }
    generate(&root, &root)
}

/// Fails when a committed file differs from what its source says today.
///
/// # Errors
/// Names the stale files, and the first line that differs in each.
pub(crate) fn check(root: &Path) -> Result<()> {
    let fresh = workspace::target_dir(root).join("generated");
    if fresh.exists() {
        std::fs::remove_dir_all(&fresh)?;
    }
    generate(root, &fresh)?;
    let mut stale: Vec<String> = Vec::new();
    for page in PAGES {
        let difference = first_difference(&root.join(page), &fresh.join(page));
        stale.extend(difference.map(|difference| format!("{page}{difference}")));
    }
    for folder in PROTOCOLS.iter().map(|protocol| protocol.code).chain([REFERENCE]) {
        for file in files(&root.join(folder))?.into_iter().chain(files(&fresh.join(folder))?) {
            let file = Path::new(folder).join(file);
            if !fresh.join(&file).exists() && is_written_by_hand(&root.join(&file)) {
                continue;
            }
            if let Some(difference) = first_difference(&root.join(&file), &fresh.join(&file)) {
                let difference = format!("{}{difference}", file.display());
                if !stale.contains(&difference) {
                    stale.push(difference);
                }
            }
        }
    }
    if !stale.is_empty() {
        bail!("stale; run `cargo xtask gen` and commit what it writes:\n{}", stale.join("\n"));
    }
    Ok(())
}

/// A page of the reference that does not say that it is generated.
fn is_written_by_hand(file: &Path) -> bool {
    let is_page = file.extension().is_some_and(|extension| extension == "md");
    is_page && std::fs::read_to_string(file).is_ok_and(|text| !text.starts_with("<!-- Generated"))
}

fn generate(root: &Path, into: &Path) -> Result<()> {
    for Protocol { include, file, code, codec, server } in PROTOCOLS {
        let code = into.join(code);
        std::fs::create_dir_all(&code)?;
        let parsed = protox::compile([file], [root.join(include)])?;
        tonic_prost_build::configure()
            .bytes(".")
            .codec_path(codec)
            .build_server(*server)
            .out_dir(&code)
            .compile_fds(parsed)
            .with_context(|| format!("generate the code of {file}"))?;
    }
    let reference = into.join(REFERENCE);
    std::fs::create_dir_all(&reference)?;
    // With the features of the tests, although there are no examples: nothing is compiled for these pages alone.
    let features = ["--workspace", "--all-features", "--examples"];
    step::run(workspace::cargo(root).args(["build", "--quiet", "--bin", "outrigger-docs"]).args(features))?;
    step::run(Command::new(workspace::target_dir(root).join("debug/outrigger-docs")).arg(&reference))
}

/// The names of the files in a folder; none when it is not there.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in folder.read_dir()? {
        files.push(PathBuf::from(entry?.file_name()));
    }
    Ok(files)
}

/// Where a committed file first differs from the fresh one, as `:LINE: …`.
fn first_difference(committed: &Path, fresh: &Path) -> Option<String> {
    let (Ok(committed), Ok(fresh)) = (std::fs::read_to_string(committed), std::fs::read_to_string(fresh)) else {
        let why = if fresh.exists() { "not committed yet" } else { "nothing generates it any more: remove it" };
        return Some(format!(": {why}"));
    };
    if committed == fresh {
        return None;
    }
    let same = committed.lines().zip(fresh.lines()).take_while(|(old, new)| old == new).count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(end of file)").trim().to_owned();
    Some(format!(":{}:\n  - {}\n  + {}", same + 1, line(&committed), line(&fresh)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_first_line_that_differs() {
        let dir = std::env::temp_dir().join(format!("xtask-generate-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (committed, fresh) = (dir.join("committed"), dir.join("fresh"));
        std::fs::write(&committed, "a\nb\nc\n").unwrap();
        std::fs::write(&fresh, "a\nx\nc\n").unwrap();

        assert_eq!(first_difference(&committed, &committed), None);
        assert_eq!(first_difference(&committed, &fresh).unwrap(), ":2:\n  - b\n  + x");
        assert_eq!(first_difference(&dir.join("none"), &fresh).unwrap(), ": not committed yet");
        assert!(first_difference(&committed, &dir.join("none")).unwrap().contains("remove it"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
