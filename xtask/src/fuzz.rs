//! `cargo xtask fuzz`: builds the fuzz targets and runs them, each for a while. It needs a nightly toolchain and nothing else: the flags are
//! those of cargo-fuzz, whose program need not be installed, and `fuzz/` is laid out for it as well.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context as _, Result, bail};

use crate::{step, workspace};

mod report;

use report::Report;

/// `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The targets to run; all when none is named.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Time for each target, in seconds; 0 runs the inputs of the corpus once and looks for no others.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    seconds: u32,
    /// Runs each input of the corpus, and so many variants of it that are the same each time, instead of fuzzing; a target whose inputs take long
    /// runs fewer.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["seconds", "minimise"])]
    variants: Option<u32>,
    /// Targets that run at the same time [default: one per core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Lists the targets and exits.
    #[arg(long)]
    list: bool,
    /// Adds what is found to the committed corpora and removes inputs that cover nothing more, instead of fuzzing.
    #[arg(long)]
    minimise: bool,
    /// Runs the one target on this input instead of fuzzing, and shows what happens
    #[arg(long, value_name = "FILE", conflicts_with = "minimise")]
    input: Option<PathBuf>,
}

/// What every target is built with, so that the fuzzer sees which branches an input takes and which values are compared: the flags of
/// cargo-fuzz without AddressSanitizer, which finds faults of unsafe code, of which there is none here, at twice the time.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0 --cfg fuzzing";

/// The longest input, bytes: what is tested has states, not sizes.
const MAX_LENGTH: u32 = 4096;

/// An input that takes longer is a find, seconds.
const TIMEOUT: u32 = 20;

/// Targets whose inputs take so many times as long as those of others.
const SLOW: [(&str, u32); 3] = [("http1_writer", 4), ("replay", 8), ("http2_schedule", 40)];

/// Memory beyond which an input is a find, MiB.
const MEMORY: u32 = 2048;

/// Runs the targets.
///
/// # Errors
/// When there is no nightly toolchain, or an input makes a target fail.
pub(crate) fn run(args: &Args) -> Result<()> {
    let home = workspace::root()?.join("fuzz");
    let known = targets(&home)?;
    if args.list {
        known.iter().for_each(|target| report::line(target));
        return Ok(());
    }
    if let Some(unknown) = args.targets.iter().find(|target| !known.contains(target)) {
        bail!("no fuzz target is called {unknown}: `cargo xtask fuzz --list` lists them");
    }
    let wanted = if args.targets.is_empty() { known } else { args.targets.clone() };
    let programs = build(&home, &wanted)?;
    if let Some(input) = &args.input {
        let [target] = &wanted[..] else { bail!("--input needs the name of one target") };
        let input = std::path::absolute(input)?;
        return step::run(Place::new(&home, target, &programs).command()?.env("RUST_BACKTRACE", "1").arg(input));
    }
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let reports = in_turns(&wanted, jobs, |target| {
        let place = Place::new(&home, target, &programs);
        match args.variants {
            Some(wanted) => place.variants(wanted),
            None if args.minimise => place.minimise(),
            None => place.fuzz(args.seconds),
        }
    });
    report::finish(&reports)
}

/// The targets: the programs in `fuzz_targets/`.
fn targets(home: &Path) -> Result<Vec<String>> {
    let folder = home.join("fuzz_targets");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Builds the targets; returns the folder of their programs.
fn build(home: &Path, wanted: &[String]) -> Result<PathBuf> {
    let host = step::output(Command::new("rustup").args(["run", TOOLCHAIN, "rustc", "--print", "host-tuple"]))
        .context("fuzzing needs a nightly toolchain: rustup toolchain install nightly --profile minimal")?;
    let host = host.trim();
    step::announce("building the fuzz targets");
    let target_dir = workspace::target_dir(home);
    // Not the folder of all other builds: their toolchain is another.
    let target_dir = if target_dir.starts_with(home) { target_dir } else { target_dir.join("fuzz") };
    let mut cargo = Command::new("rustup");
    cargo.args(["run", TOOLCHAIN, "cargo", "build", "--quiet", "--locked", "--release", "--target", host]);
    cargo.args(wanted.iter().flat_map(|target| ["--bin", target]));
    for name in ["RUSTC", "RUSTUP_TOOLCHAIN", "CARGO_ENCODED_RUSTFLAGS"] {
        cargo.env_remove(name);
    }
    step::run(cargo.current_dir(home).env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &target_dir))?;
    Ok(target_dir.join(host).join("release"))
}

const TOOLCHAIN: &str = "nightly";

/// Runs all targets, so many at a time.
fn in_turns(wanted: &[String], jobs: usize, run: impl Fn(&str) -> Report + Sync) -> Vec<Report> {
    let (waiting, done) = (Mutex::new(wanted.iter()), Mutex::new(Vec::new()));
    let next = || waiting.lock().ok().and_then(|mut waiting| waiting.next());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, wanted.len().max(1)) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let report = run(target);
                    report.show();
                    if let Ok(mut done) = done.lock() {
                        done.push(report);
                    }
                }
            });
        }
    });
    done.into_inner().unwrap_or_default()
}

/// Where a target and its inputs are.
struct Place<'a> {
    home: &'a Path,
    target: &'a str,
    program: PathBuf,
}

impl<'a> Place<'a> {
    fn new(home: &'a Path, target: &'a str, programs: &Path) -> Self {
        Self { home, target, program: programs.join(target) }
    }

    fn corpus(&self) -> PathBuf {
        self.home.join("corpus").join(self.target)
    }

    /// Where new inputs go; not committed.
    fn found(&self) -> PathBuf {
        self.home.join("artifacts").join(self.target).join("found")
    }

    /// Where inputs go that make the target fail.
    fn crashes(&self) -> PathBuf {
        self.home.join("artifacts").join(self.target).join("crashes")
    }

    fn command(&self) -> Result<Command> {
        for folder in [self.corpus(), self.found(), self.crashes()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut command = Command::new(&self.program);
        command.current_dir(self.home).env("RUST_BACKTRACE", "0").args([
            format!("-artifact_prefix={}/", self.crashes().display()),
            format!("-timeout={TIMEOUT}"),
            format!("-rss_limit_mb={MEMORY}"),
            format!("-max_len={MAX_LENGTH}"),
        ]);
        // One for all targets of a protocol.
        let family = self.target.split('_').next().unwrap_or(self.target);
        let dictionary = self.home.join("dictionaries").join(format!("{family}.dict"));
        if dictionary.exists() {
            command.arg(format!("-dict={}", dictionary.display()));
        }
        Ok(command)
    }

    fn fuzz(&self, seconds: u32) -> Report {
        let output = self.command().and_then(|mut command| {
            // To libFuzzer, no time is time without end.
            let bound = if seconds == 0 { "-runs=0".to_owned() } else { format!("-max_total_time={seconds}") };
            command.args([bound, "-print_final_stats=1".to_owned()]);
            command.arg(self.found()).arg(self.corpus());
            report::timed(&mut command)
        });
        Report::read(self.target, output)
    }

    fn variants(&self, wanted: u32) -> Report {
        let slow = SLOW.iter().find(|(target, _)| *target == self.target);
        let count = slow.map_or(wanted, |(_, times)| wanted / times);
        let output = self.command().and_then(|mut command| {
            command.env("OUTRIGGER_FUZZ_VARIANTS", count.to_string()).env("OUTRIGGER_FUZZ_CRASHES", self.crashes());
            report::timed(command.args(["-runs=0", "-print_final_stats=1"]).arg(self.corpus()))
        });
        // libFuzzer knows of no variants.
        Report::read(self.target, output).times(u64::from(count) + 1)
    }

    /// Makes the smallest corpus that covers what the present one and the new inputs cover.
    fn minimise(&self) -> Report {
        let output = self.command().and_then(|mut command| {
            let small = self.home.join("artifacts").join(self.target).join("minimised");
            if small.exists() {
                std::fs::remove_dir_all(&small)?;
            }
            std::fs::create_dir_all(&small)?;
            command.arg("-merge=1").args([&small, &self.corpus(), &self.found()]);
            let output = report::timed(&mut command)?;
            if output.passed {
                std::fs::remove_dir_all(self.corpus())?;
                std::fs::rename(&small, self.corpus())?;
                std::fs::remove_dir_all(self.found())?;
            }
            Ok(output)
        });
        Report::read(self.target, output)
    }
}
