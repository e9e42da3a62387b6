//! The run: all contenders started, then each case on each contender in turn, several rounds, so that whatever else the machine
//! does meets all of them alike.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tokio::signal::unix::{SignalKind, signal};

use crate::cases::{CASES, Case, IDLE_CONNECTIONS, SOME_CONNECTIONS};
use crate::contender::{Contender, Kind, Special};
use crate::report::{Report, Row};
use crate::{memory, pods};

/// `outrigger-bench data-plane`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Five short rounds instead of five long ones.
    #[arg(long)]
    quick: bool,
    /// Writes every single figure to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes tables, a plot and every single figure into this folder.
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
    /// Measures these contenders only.
    #[arg(long, value_delimiter = ',')]
    contenders: Vec<Kind>,
    /// Measures the cases whose name contains this only.
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Leaves out the idle connections.
    #[arg(long)]
    no_idle: bool,
}

/// Measures, prints the table; the status is 1 when a limit is missed.
pub(crate) async fn run(args: &Args) -> Result<std::process::ExitCode> {
    pods::sweep();
    let folder = Folder::make()?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let report = tokio::select! {
        report = measure(args, folder.path()) => report?,
        _ = interrupt.recv() => anyhow::bail!("interrupted"),
        _ = terminate.recv() => anyhow::bail!("terminated"),
    };
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&report)?)
            .with_context(|| format!("write {}", file.display()))?;
    }
    let text = report.text();
    std::io::stdout().lock().write_all(text.as_bytes())?;
    if let Some(folder) = &args.report {
        for (name, text) in [
            ("data-plane.json", serde_json::to_string_pretty(&report)?),
            ("data-plane.txt", text),
            ("data-plane.svg", report.svg()),
        ] {
            let file = folder.join(name);
            std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(if report.missed().is_empty() { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::from(1) })
}

async fn measure(args: &Args, folder: &Path) -> Result<Report> {
    let kinds = if args.contenders.is_empty() { Kind::ALL.to_vec() } else { args.contenders.clone() };
    let cases: Vec<&Case> =
        CASES.iter().filter(|case| args.case.as_ref().is_none_or(|text| case.name.contains(text))).collect();
    ensure!(
        !cases.is_empty(),
        "no such case; there are: {}",
        CASES.iter().map(|case| case.name).collect::<Vec<_>>().join(", ")
    );
    let (rounds, warmup, window) = if args.quick { (5, 0.4, 1.2) } else { (5, 1.0, 4.0) };

    let mut report = Report::new();
    let mut contenders = Vec::new();
    for kind in kinds {
        eprintln!("starting {}", kind.name());
        let contender = Contender::start(kind, folder, Special::default()).await?;
        let seen = contender.eavesdrop().await?;
        // Of this one, all that is said passes in the clear: it shows that the look is not blind.
        let secret = seen.clear == 0 && seen.encrypted > 0;
        ensure!(secret == (kind != Kind::Direct), "{}: on the wire between the pods: {seen:?}", kind.name());
        report.started(&contender)?;
        contenders.push(contender);
    }
    // Before all else: what other cases leave in pools is not theirs.
    for contender in contenders.iter().filter(|_| !args.no_idle) {
        eprintln!("{SOME_CONNECTIONS} idle connections on {}", contender.kind.name());
        report.idle(contender.kind, memory::measure(contender, SOME_CONNECTIONS).await?);
    }
    for round in 1..=rounds {
        for case in &cases {
            for contender in contenders.iter().filter(|contender| contender.can(case)) {
                eprintln!("round {round} of {rounds}: {} on {}", case.name, contender.kind.name());
                let outcome = contender.measure(case, warmup, window).await?;
                ensure!(outcome.errors == 0, "{} on {}: {:?}", case.name, contender.kind.name(), outcome.first_error);
                report.rows.push(Row { case: case.name, contender: contender.kind, round, outcome });
            }
        }
    }
    for contender in &contenders {
        report.worked(contender)?;
        if !args.no_idle {
            eprintln!("{IDLE_CONNECTIONS} idle connections on {}", contender.kind.name());
            report.idle(contender.kind, memory::measure(contender, IDLE_CONNECTIONS).await?);
        }
        for case in cases.iter().filter(|case| contender.can(case)) {
            eprintln!("system calls: {} on {}", case.name, contender.kind.name());
            report.counted(contender.kind, case.name, contender.syscalls(case).await?);
        }
    }
    Ok(report)
}

/// A folder for the run's files; every user may look in, and it goes with the run.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn make() -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let temporary = std::env::temp_dir();
        for name in pods::left_behind(&temporary, "outrigger-bench") {
            drop(std::fs::remove_dir_all(temporary.join(name)));
        }
        let path = temporary.join(format!("outrigger-bench-{}", std::process::id()));
        std::fs::DirBuilder::new().mode(0o755).create(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // OUTRIGGER_BENCH_KEEP leaves the sidecars' logs for a look.
        if std::env::var_os("OUTRIGGER_BENCH_KEEP").is_none() {
            drop(std::fs::remove_dir_all(&self.0));
        }
    }
}
