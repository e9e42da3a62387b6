//! Progress: says what runs, how long it took, and at the end which steps failed.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::times::{self, Clock, Took};

/// The steps of one command: each runs even when one before it failed, so that one run shows all that is wrong.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
    counted: Counts,
    took: Vec<Took>,
}

#[derive(Debug)]
struct Step {
    name: String,
    took: Duration,
    /// `None`: it passed.
    failure: Option<String>,
}

/// What a test runner's closing lines add up to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Steps {
    /// Runs one step.
    pub(crate) fn step(&mut self, name: &str, run: impl FnOnce() -> Result<()>) {
        announce(name);
        let start = Instant::now();
        let failure = run().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            eprintln!("{} {name}: {failure}", paint("31;1", "failed"));
        }
        self.done.push(Step { name: name.to_owned(), took: start.elapsed(), failure });
    }

    /// Runs test binaries, each with so many tests at once, as one step; their lines are shown as they come, and counted.
    pub(crate) fn test_step(&mut self, name: &str, at_once: usize, command: &mut Command) {
        let mut clock = Clock::new(at_once);
        self.counted_step(name, |counted| {
            let status = show_and_count(command, counted, &mut clock)?;
            check_status(command, status)
        });
        let with_suite = |took: Took| Took { test: format!("{name}: {}", took.test), ..took };
        self.took.extend(clock.took().into_iter().map(with_suite));
    }

    /// Runs one step that counts tests.
    pub(crate) fn counted_step(&mut self, name: &str, run: impl FnOnce(&mut Counts) -> Result<()>) {
        let mut counted = Counts::default();
        self.step(name, || run(&mut counted));
        self.counted.add(counted);
    }

    /// Whether all steps so far passed.
    pub(crate) fn all_passed(&self) -> bool {
        self.done.iter().all(|step| step.failure.is_none())
    }

    /// The summary of the steps; fails when one of them did.
    ///
    /// # Errors
    /// Names the failed steps.
    pub(crate) fn finish(self) -> Result<()> {
        let mut summary = String::new();
        for step in &self.done {
            let verdict = if step.failure.is_none() { paint("32", "ok    ") } else { paint("31;1", "FAILED") };
            let _ = writeln!(summary, "  {verdict} {:>7.1} s  {}", step.took.as_secs_f64(), step.name);
        }
        eprint!("\n{summary}");
        if !self.took.is_empty() {
            eprint!("\nthe slowest tests:\n{}", times::slowest(self.took));
        }
        if self.counted != Counts::default() {
            let Counts { passed, failed, skipped } = self.counted;
            // On stdout, plainly: the one line that scripts read.
            let mut out = std::io::stdout().lock();
            writeln!(out, "{passed} passed, {failed} failed, {skipped} skipped")?;
        }
        let failed: Vec<&str> =
            self.done.iter().filter(|step| step.failure.is_some()).map(|step| step.name.as_str()).collect();
        if !failed.is_empty() {
            bail!("{} of {} steps failed: {}", failed.len(), self.done.len(), failed.join(", "));
        }
        Ok(())
    }
}

impl Counts {
    /// Adds what one line says, when it is the closing line of a `cargo test` binary.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some((_, rest)) = line.trim().split_once("test result: ") else { return };
        let number = |word: &str| {
            let before = rest.split_once(word)?.0.trim_end();
            before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        self.passed += number(" passed").unwrap_or(0);
        self.failed += number(" failed").unwrap_or(0);
        self.skipped += number(" ignored").unwrap_or(0);
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs a command with its output shown; its failure is ours.
///
/// # Errors
/// When it cannot be started or exits with another status than 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start {}", shown(command)))?;
    check_status(command, status)
}

/// Runs a command and gives what it wrote to stdout.
///
/// # Errors
/// When it cannot be started, exits with another status than 0, or writes something that is not UTF-8.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    check_status(command, output.status)?;
    Ok(String::from_utf8(output.stdout)?)
}

fn show_and_count(command: &mut Command, counted: &mut Counts, clock: &mut Clock) -> Result<ExitStatus> {
    if std::io::stdout().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?);
    for line in lines.split(b'\n') {
        let line = line?;
        let now = Instant::now();
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        counted.read_line(&line);
        clock.read_line(&line, now);
    }
    Ok(child.wait()?)
}

fn check_status(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` ended with {status}", shown(command));
    }
    Ok(())
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    command.get_args().fold(program, |mut line, arg| {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
        line
    })
}

/// Says which step begins.
pub(crate) fn announce(name: &str) {
    eprintln!("{} {name}", paint("36;1", "==>"));
}

/// Colours are for people: none when stderr is not a terminal, or NO_COLOR is set.
pub(crate) fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn paint(colour: &str, text: &str) -> String {
    if colours() { format!("\u{1b}[{colour}m{text}\u{1b}[0m") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_closing_lines_of_test_binaries() {
        let mut counts = Counts::default();

        counts.read_line("test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out");
        counts.read_line("test result: \u{1b}[31mFAILED\u{1b}[0m. 1 passed; 2 failed; 0 ignored; 0 measured");
        counts.read_line("test step::tests::adds_up ... ok");

        assert_eq!(counts, Counts { passed: 13, failed: 2, skipped: 3 });
    }

    #[test]
    fn runs_the_steps_after_a_failed_one_and_names_the_failed() {
        let mut steps = Steps::default();
        let mut ran = false;

        steps.step("first", || bail!("broken"));
        steps.step("second", || {
            ran = true;
            Ok(())
        });

        assert!(ran);
        assert_eq!(steps.finish().unwrap_err().to_string(), "1 of 2 steps failed: first");
    }
}
