//! What a request costs in instructions and allocations, and what a sidecar weighs, beside recorded values: figures that
//! hardly depend on what else the machine does, so that CI can guard them.
//!
//! Callgrind counts what a sidecar does in user space.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::cases::{CASES, Case};
use crate::contender::{CALLGRIND_OUT, Contender, Kind, PairMemory, Runner, Special};
use crate::data_plane::Folder;
use crate::{memory, pods};

/// `outrigger-bench cost`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file of recorded values.
    #[arg(long, value_name = "FILE", default_value = "bench/cost.json")]
    recorded: PathBuf,
    /// Writes what is measured into the file instead of comparing.
    #[arg(long)]
    record: bool,
    /// Counts the cases whose name contains this only. `OUTRIGGER_BENCH_KEEP` leaves callgrind's files of the last.
    #[arg(long, value_name = "TEXT", conflicts_with = "record")]
    case: Option<String>,
}

/// The cases that are counted.
const COUNTED: [&str; 4] = ["http1-1", "http1-fresh", "grpc-unary", "opaque"];

/// Requests of the first run, which warm up, too.
const FEW: u64 = 1000;

/// Requests of the second run.
const MANY: u64 = 9000;

/// How often a case is counted, and memory weighed, at most: how bytes and wake-ups fall together, and which pages of the program are mapped, differs
/// from run to run.
const RUNS: usize = 3;

/// Connections at which memory is looked at.
const CONNECTIONS: usize = 1000;

/// Connections that come and go: their memory must go, too.
const BURST: usize = 8000;

/// Services that make no difference to a sidecar that does not call them.
const OTHER_SERVICES: u32 = 10_000;

/// How far a figure may be above the recorded one, as a share, and below: what improves is recorded, too.
const TOLERANCE: f64 = 0.03;

/// Allocations may not grow; a batch that is cut otherwise moves some.
const ALLOCATIONS: f64 = 0.1;

/// All that is recorded, or measured: a figure of each name, or several.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cost<F> {
    /// Per request: instructions in user space, by case and side.
    instructions: BTreeMap<String, F>,
    /// Per request: calls to the allocator, by case and side.
    allocations: BTreeMap<String, F>,
    /// Resident memory in KiB, by state and side.
    memory_kib: BTreeMap<String, F>,
}

/// One figure of each run.
type Figures = Vec<f64>;

/// Measures and compares; the status is 1 when a figure differs from the recorded one by more than its tolerance.
pub(crate) async fn run(args: &Args) -> Result<std::process::ExitCode> {
    pods::sweep();
    let folder = Folder::make()?;
    let mut cost = Cost::default();
    let wanted = |case: &&str| args.case.as_deref().is_none_or(|text| case.contains(text));
    let mut cases: Vec<&str> = COUNTED.into_iter().filter(wanted).collect();
    if args.record {
        for _ in 0..RUNS {
            weigh(&mut cost, folder.path()).await?;
            count(&mut cost, folder.path(), &cases).await?;
        }
        let text = serde_json::to_string_pretty(&cost.medians())? + "\n";
        std::fs::write(&args.recorded, text).with_context(|| format!("write {}", args.recorded.display()))?;
        eprintln!("recorded in {}", args.recorded.display());
        return Ok(std::process::ExitCode::SUCCESS);
    }
    let recorded = std::fs::read(&args.recorded).with_context(|| format!("read {}", args.recorded.display()))?;
    let recorded: Cost<f64> = serde_json::from_slice(&recorded).with_context(|| args.recorded.display().to_string())?;
    let mut to_weigh = true;
    for _ in 0..RUNS {
        if to_weigh {
            weigh(&mut cost, folder.path()).await?;
        }
        count(&mut cost, folder.path(), &cases).await?;
        cases = cost.cases_that_differ(&recorded);
        to_weigh = cost.memory_differs(&recorded);
    }
    let lines = cost.beside(&recorded);
    for Line { name, measured, recorded, verdict } in &lines {
        eprintln!("{name:<40} {measured:>12.1}  recorded {recorded:>12.1}  {}", verdict.text());
    }
    if lines.iter().all(|line| line.verdict == Verdict::Same) {
        return Ok(std::process::ExitCode::SUCCESS);
    }
    eprintln!("if that is meant: cargo xtask bench --profile release cost --record");
    Ok(std::process::ExitCode::from(1))
}

/// Looks at the memory of sidecars that nothing watches.
async fn weigh(cost: &mut Cost<Figures>, folder: &Path) -> Result<()> {
    eprintln!("memory: idle, with {CONNECTIONS} connections, and after {BURST}");
    let contender = Contender::start(Kind::Outrigger, &folder.join("memory"), Special::default()).await?;
    cost.note("idle", contender.memory()?.context("no sidecars")?);
    let held = memory::measure(&contender, CONNECTIONS).await?.context("no sidecars")?;
    cost.note("1000-connections", held.open);
    let burst = memory::measure(&contender, BURST).await?.context("no sidecars")?;
    cost.note("after-8000-connections", burst.after);
    drop(contender);

    eprintln!("memory: in a mesh of {OTHER_SERVICES} more services");
    let special = Special { other_services: OTHER_SERVICES, ..Special::default() };
    let contender = Contender::start(Kind::Outrigger, &folder.join("services"), special).await?;
    cost.note("10000-services", contender.memory()?.context("no sidecars")?);
    Ok(())
}

/// Counts instructions and allocations: what many requests cost more than few, so that the start has no part in it.
async fn count(cost: &mut Cost<Figures>, folder: &Path, cases: &[&str]) -> Result<()> {
    for name in cases {
        let case = CASES.iter().find(|case| case.name == *name).context("no such case")?;
        eprintln!("counting {name}");
        let few = run_counted(case, FEW, folder).await?;
        let many = run_counted(case, MANY, folder).await?;
        for ((side, few), (_, many)) in few.into_iter().zip(many) {
            let name = format!("{name} {side}");
            let note = |figures: &mut BTreeMap<String, Figures>, figure| {
                figures.entry(name.clone()).or_default().push(figure);
            };
            note(&mut cost.instructions, per_request(few.instructions, many.instructions));
            note(&mut cost.allocations, per_request(few.allocations, many.allocations));
        }
    }
    Ok(())
}

/// What both sidecars do from their start to their end, with some requests in between.
async fn run_counted(case: &Case, requests: u64, folder: &Path) -> Result<[(&'static str, Counted); 2]> {
    let folder = folder.join(format!("{}-{requests}", case.name));
    let special = Special { runner: Runner::Callgrind, ..Special::default() };
    let contender = Contender::start(Kind::Outrigger, &folder, special).await?;
    contender.ask(case, requests).await?;
    let [outbound, inbound] = contender.end_sidecars().await?.map(|folder| {
        let file = folder.join(CALLGRIND_OUT);
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Counted::read(&text).with_context(|| file.display().to_string())
    });
    Ok([("outbound", outbound?), ("inbound", inbound?)])
}

/// To a tenth: what is behind that is noise.
fn per_request(few: u64, many: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
    (each * 10.0).round() / 10.0
}

/// What one dump says.
#[derive(Debug, PartialEq, Eq)]
struct Counted {
    instructions: u64,
    allocations: u64,
}

impl Counted {
    /// Reads callgrind's format: `totals: N`, and for each call `cfn=(ID) NAME` (the name the first time only), then `calls=N …`.
    fn read(text: &str) -> Result<Self> {
        let mut instructions = None;
        let mut allocations = 0;
        let mut allocators = BTreeSet::new();
        let mut called = "";
        for line in text.lines() {
            let named = line.strip_prefix("cfn=").or_else(|| line.strip_prefix("fn="));
            if let Some((id, name)) = named.and_then(|function| function.split_once(' ')) {
                // The name may have a version behind it, or a number for recursion.
                if ALLOCATORS.contains(&name.split(['@', '\'']).next().unwrap_or(name)) {
                    allocators.insert(id);
                }
            }
            if let Some(function) = line.strip_prefix("cfn=") {
                called = function.split(' ').next().unwrap_or_default();
            } else if let Some(calls) = line.strip_prefix("calls=").filter(|_| allocators.contains(called)) {
                allocations += calls.split(' ').next().unwrap_or_default().parse::<u64>().context(line.to_owned())?;
            } else if let Some(totals) = line.strip_prefix("totals:") {
                instructions = Some(totals.trim().parse().context(line.to_owned())?);
            }
        }
        ensure!(allocations > 0, "no call of an allocator; was the sidecar built without the names of its functions?");
        Ok(Self { instructions: instructions.context("no totals")?, allocations })
    }
}

/// What gives memory; in a static program the names of glibc's insides may stand for them.
const ALLOCATORS: [&str; 8] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "__libc_malloc",
    "__libc_calloc",
    "__libc_realloc",
];

/// A figure beside its recorded value.
#[derive(Debug)]
struct Line {
    name: String,
    measured: f64,
    recorded: f64,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    Less,
    New,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Same => "ok",
            Self::More => "MORE",
            Self::Less => "LESS: record it, so that it stays",
            Self::New => "NOT RECORDED",
        }
    }
}

impl Cost<Figures> {
    fn note(&mut self, state: &str, memory: PairMemory) {
        for (side, memory) in [("outbound", memory.outbound), ("inbound", memory.inbound)] {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 KiB")]
            self.memory_kib.entry(format!("{state} {side}")).or_default().push(memory.resident_kib as f64);
        }
    }

    fn medians(&self) -> Cost<f64> {
        let medians = |all: &BTreeMap<String, Figures>| {
            all.iter().map(|(name, figures)| (name.clone(), median(figures))).collect()
        };
        Cost {
            instructions: medians(&self.instructions),
            allocations: medians(&self.allocations),
            memory_kib: medians(&self.memory_kib),
        }
    }

    /// Names the counted cases of which something is not as recorded, by all of its runs.
    fn cases_that_differ(&self, recorded: &Cost<f64>) -> Vec<&'static str> {
        let lines = self.beside(recorded);
        let differs = |case: &str| {
            lines.iter().any(|line| line.verdict != Verdict::Same && line.name.starts_with(&format!("{case} ")))
        };
        COUNTED.into_iter().filter(|case| differs(case)).collect()
    }

    fn memory_differs(&self, recorded: &Cost<f64>) -> bool {
        self.beside(recorded).iter().any(|line| line.name.ends_with(", KiB") && line.verdict != Verdict::Same)
    }

    fn beside(&self, recorded: &Cost<f64>) -> Vec<Line> {
        let both = [
            ("instructions", &self.instructions, &recorded.instructions),
            ("allocations", &self.allocations, &recorded.allocations),
            ("KiB", &self.memory_kib, &recorded.memory_kib),
        ];
        let lines = both.into_iter().flat_map(|(unit, measured, recorded)| {
            measured.iter().map(move |(name, measured)| {
                let recorded = recorded.get(name).copied();
                let verdict = recorded.map_or(Verdict::New, |recorded| verdict(unit, measured, recorded));
                Line {
                    name: format!("{name}, {unit}"),
                    measured: median(measured),
                    recorded: recorded.unwrap_or(0.0),
                    verdict,
                }
            })
        });
        lines.collect()
    }
}

/// The figure in the middle; of two, the lower.
fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// What all runs agree on. Memory may be less without a word: how much of it the kernel counts moves from run to run.
fn verdict(unit: &str, measured: &[f64], recorded: f64) -> Verdict {
    let slack = if unit == "allocations" { ALLOCATIONS.max(recorded * TOLERANCE) } else { recorded * TOLERANCE };
    if measured.iter().all(|figure| *figure > recorded + slack) {
        Verdict::More
    } else if measured.iter().all(|figure| *figure < recorded - slack) && unit != "KiB" {
        Verdict::Less
    } else {
        Verdict::Same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_callgrind_writes() {
        let text = "version: 1\nevents: Ir\nfn=(1) serve\n16 400\ncfn=(2) malloc\ncalls=30 0\n16 90\ncfn=(3) memcpy\ncalls=7 0\n\
                    16 70\n\nfn=(4) other\n8 1\ncfn=(2)\ncalls=12 0\n8 24\ncfn=(5) calloc@@GLIBC_2.2.5\ncalls=1 0\n8 9\ntotals: 594\n";

        assert_eq!(Counted::read(text).unwrap(), Counted { instructions: 594, allocations: 43 });
        assert!(Counted::read("events: Ir\n").is_err());
    }

    #[test]
    fn names_what_differs_from_what_is_recorded() {
        for (unit, measured, expected) in [
            ("instructions", &[1031.0][..], Verdict::More),
            ("instructions", &[1029.0], Verdict::Same),
            ("instructions", &[969.0], Verdict::Less),
            ("instructions", &[1050.0, 1040.0, 1031.0], Verdict::More),
            ("instructions", &[1050.0, 1040.0, 1029.0], Verdict::Same),
            ("instructions", &[950.0, 971.0], Verdict::Same),
            ("instructions", &[950.0, 969.0], Verdict::Less),
            ("allocations", &[1031.0], Verdict::More),
            ("KiB", &[1031.0], Verdict::More),
            ("KiB", &[500.0], Verdict::Same),
        ] {
            assert_eq!(verdict(unit, measured, 1000.0), expected, "{measured:?} {unit}");
        }
        let measured = Cost { memory_kib: [("idle".to_owned(), vec![1.0])].into(), ..Cost::default() };

        assert_eq!(measured.beside(&Cost::default())[0].verdict, Verdict::New);
        assert!(measured.memory_differs(&Cost::default()));
        let twice = Cost { memory_kib: [("idle".to_owned(), vec![1.1, 1.0])].into(), ..Cost::default() };
        assert!(!twice.memory_differs(&Cost { memory_kib: [("idle".to_owned(), 1.0)].into(), ..Cost::default() }));
    }

    #[test]
    fn a_case_is_counted_again_while_its_runs_agree_that_it_differs() {
        let name = || "opaque outbound".to_owned();
        let recorded = Cost { instructions: [(name(), 1000.0)].into(), ..Cost::default() };
        let differs = |figures: &[f64]| {
            let measured = Cost { instructions: [(name(), figures.to_vec())].into(), ..Cost::default() };
            measured.cases_that_differ(&recorded)
        };

        assert_eq!(differs(&[1050.0]), ["opaque"]);
        assert_eq!(differs(&[950.0, 940.0]), ["opaque"]);
        assert!(differs(&[1050.0, 1010.0]).is_empty());
        assert!(differs(&[950.0, 1050.0]).is_empty());
    }

    #[test]
    fn the_figure_in_the_middle_is_recorded() {
        let measured =
            Cost { instructions: [("opaque inbound".to_owned(), vec![3.0, 1.0, 2.0])].into(), ..Cost::default() };

        assert_eq!(measured.medians().instructions["opaque inbound"], 2.0);
    }
}
