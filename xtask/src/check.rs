//! `cargo xtask check`: all that can be said about a change without running it.

use std::process::Command;

use anyhow::Result;

use crate::step::Steps;
use crate::test::test_command;
use crate::{advisories, dependencies, floors, generate, links, step, tools, words, workspace};

/// `cargo xtask check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Runs only these of: fmt, clippy, doc, floors, links, words, gen, golden, dependencies, deny, advisories.
    #[arg(long, value_name = "CHECK", value_delimiter = ',', value_enum)]
    only: Vec<Check>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Check {
    /// The code is formatted.
    Fmt,
    /// No lint speaks up.
    Clippy,
    /// Links in the documentation comments lead somewhere.
    Doc,
    /// No module imports from one above it (xtask/floors.txt).
    Floors,
    /// Links between the pages lead somewhere.
    Links,
    /// Pages for users have none of the words that the glossary replaces.
    Words,
    /// Generated files are up to date.
    Gen,
    /// What the commands print is what is recorded.
    Golden,
    /// As many crates as are recorded go into what ships.
    Dependencies,
    /// Licences, bans and sources of dependencies (deny.toml).
    Deny,
    /// Security advisories about dependencies.
    Advisories,
}

impl Check {
    const ALL: [Self; 11] = [
        Self::Fmt,
        Self::Clippy,
        Self::Doc,
        Self::Floors,
        Self::Links,
        Self::Words,
        Self::Gen,
        Self::Golden,
        Self::Dependencies,
        Self::Deny,
        Self::Advisories,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "format",
            Self::Clippy => "lints",
            Self::Doc => "documentation links",
            Self::Floors => "floors of the modules",
            Self::Links => "links between the pages",
            Self::Words => "words on pages for users",
            Self::Gen => "generated files",
            Self::Golden => "recorded output of the commands",
            Self::Dependencies => "number of dependencies",
            Self::Deny => "licences, bans and sources of dependencies",
            Self::Advisories => "security advisories",
        }
    }
}

/// Runs the checks.
///
/// # Errors
/// When one of them fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root()?;
    let cargo = || workspace::cargo(&root);
    let mut steps = Steps::default();
    for check in Check::ALL {
        if !args.only.is_empty() && !args.only.contains(&check) {
            continue;
        }
        steps.step(check.name(), || match check {
            // rustfmt colours its diff wherever it goes, unless told.
            Check::Fmt => {
                let colour = if step::colours() { "always" } else { "never" };
                let format = |command: &mut Command| step::run(command.args(["--check", "--", "--color", colour]));
                format(cargo().args(["fmt", "--all"]))?;
                format(cargo().args(["fmt", "--manifest-path", "fuzz/Cargo.toml"]))
            }
            Check::Clippy => step::run(cargo().args([
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--all-features",
                "--",
                "--deny",
                "warnings",
            ])),
            Check::Doc => step::run(
                cargo()
                    .args(["doc", "--quiet", "--workspace", "--all-features", "--no-deps", "--document-private-items"])
                    .env("RUSTDOCFLAGS", "--deny warnings"),
            ),
            Check::Floors => floors::check(&root),
            Check::Links => links::check(&root),
            Check::Words => words::check(&root),
            Check::Gen => generate::check(&root),
            // As `cargo xtask test` builds it, so that nothing is built twice.
            Check::Golden => step::run(&mut test_command(&root, "golden", 2)),
            Check::Dependencies => dependencies::check(&root),
            Check::Deny => {
                let deny = tools::CARGO_DENY.program(&root)?;
                // It looks at the crates of every platform; cargo has fetched those of this one only.
                step::run(cargo().args(["fetch", "--quiet", "--locked"]))?;
                step::run(Command::new(deny).current_dir(&root).args([
                    "--offline",
                    "--workspace",
                    "check",
                    "--hide-inclusion-graph",
                    "licenses",
                    "bans",
                    "sources",
                ]))
            }
            Check::Advisories => advisories::check(&root),
        });
    }
    steps.finish()
}
