//! What came of the targets: one line each, and one that adds them up.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// What a target's program wrote, and how it ended.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) passed: bool,
    text: String,
    took: Duration,
}

/// What came of one target.
#[derive(Debug)]
pub(crate) struct Report {
    target: String,
    executions: u64,
    /// Places in the code that inputs reached, with how often they were passed there.
    features: u64,
    /// Inputs that reached something new.
    new: u64,
    took: Duration,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
struct Failure {
    /// What the target said.
    why: String,
    /// The input that makes it fail.
    input: Option<PathBuf>,
    /// How to run it.
    again: Option<String>,
}

/// Runs a target's program.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn timed(command: &mut Command) -> Result<Output> {
    let start = Instant::now();
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Output { passed: output.status.success(), text, took: start.elapsed() })
}

impl Report {
    /// Reads what the program of `target` wrote.
    pub(crate) fn read(target: &str, output: Result<Output>) -> Self {
        let mut report =
            Self { target: target.to_owned(), executions: 0, features: 0, new: 0, took: Duration::ZERO, failure: None };
        let output = match output {
            Ok(output) => output,
            Err(error) => {
                report.failure = Some(Failure { why: format!("{error:#}"), ..Failure::default() });
                return report;
            }
        };
        report.took = output.took;
        for line in output.text.lines() {
            if let Some(executions) = number_after(line, "stat::number_of_executed_units:") {
                report.executions = executions;
            } else if let Some(new) = number_after(line, "stat::new_units_added:") {
                report.new = new;
            } else if let Some(features) = number_after(line, " ft: ") {
                report.features = features;
            }
        }
        if !output.passed {
            report.failure = Some(Failure::read(target, &output.text));
        }
        report
    }

    /// Each execution stands for so many.
    pub(crate) const fn times(mut self, runs: u64) -> Self {
        self.executions *= runs;
        self
    }

    /// Says what came of it.
    pub(crate) fn show(&self) {
        let Self { target, executions, features, new, took, .. } = self;
        let verdict = if self.failure.is_some() { "FAILED" } else { "ok    " };
        let took = took.as_secs_f64();
        line(&format!(
            "{verdict} {target:<20} {executions:>9} executions, {features:>6} coverage features, {new:>5} new inputs, {took:>6.1} s"
        ));
        if let Some(Failure { why, input, again }) = &self.failure {
            line(&format!("  {}", why.replace('\n', "\n  ")));
            if let (Some(input), Some(again)) = (input, again) {
                line(&format!("  input: {}\n  again: {again}", input.display()));
            }
        }
    }
}

impl Failure {
    fn read(target: &str, text: &str) -> Self {
        let panic = text.lines().skip_while(|line| !line.contains("panicked at"));
        let why: Vec<&str> = panic.take_while(|line| !line.starts_with("==") && !line.starts_with("note:")).collect();
        let other =
            || text.lines().find(|line| line.contains("ERROR: libFuzzer")).unwrap_or("it ended early").to_owned();
        let input = text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path.into());
        let why = if why.is_empty() { other() } else { why.join("\n") };
        let again =
            input.as_ref().map(|input: &PathBuf| format!("cargo xtask fuzz {target} --input {}", input.display()));
        Self { why, input, again }
    }
}

fn number_after(line: &str, word: &str) -> Option<u64> {
    let rest = line.split_once(word)?.1.trim_start();
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Adds up.
///
/// # Errors
/// When a target failed.
pub(crate) fn finish(reports: &[Report]) -> Result<()> {
    let failed: Vec<&str> =
        reports.iter().filter(|report| report.failure.is_some()).map(|report| report.target.as_str()).collect();
    let executions: u64 = reports.iter().map(|report| report.executions).sum();
    let new: u64 = reports.iter().map(|report| report.new).sum();
    line(&format!("{executions} executions, {new} new inputs, {} finds", failed.len()));
    line(&format!("{} passed, {} failed", reports.len() - failed.len(), failed.len()));
    if !failed.is_empty() {
        bail!("{} of {} fuzz targets failed: {}", failed.len(), reports.len(), failed.join(", "));
    }
    Ok(())
}

/// Writes a line to stdout.
pub(crate) fn line(text: &str) {
    // Who does not read it any more has no use for it.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: &str = "INFO: Seed: 1\n#2\tINITED cov: 5 ft: 7 corp: 1/1b\n\
        \nthread '<unnamed>' (7) panicked at src/http1/server.rs:48:9:\nsmuggled: []\nnote: run with\n\
        ==7== ERROR: libFuzzer: deadly signal\n\
        artifact_prefix='a/'; Test unit written to a/crash-1\n\
        stat::number_of_executed_units: 13\nstat::new_units_added:          2\n";

    fn output(passed: bool) -> Result<Output> {
        Ok(Output { passed, text: CRASH.to_owned(), took: Duration::from_secs(1) })
    }

    #[test]
    fn reads_what_libfuzzer_wrote() {
        let report = Report::read("http1_server", output(true));

        assert_eq!((report.executions, report.features, report.new), (13, 7, 2));
        assert!(finish(&[report]).is_ok());
    }

    #[test]
    fn a_crash_is_a_failure_with_its_input() {
        let report = Report::read("http1_server", output(false));

        let failure = report.failure.as_ref().unwrap();
        assert!(failure.why.ends_with("smuggled: []"), "{}", failure.why);
        assert_eq!(failure.input, Some(PathBuf::from("a/crash-1")));
        assert_eq!(finish(&[report]).unwrap_err().to_string(), "1 of 1 fuzz targets failed: http1_server");
    }
}
