//! What the demo prints: lines as the proofs come, or one JSON document at the end.

use std::time::Instant;

use outrigger_console::output::API_VERSION;
use outrigger_console::output::{Output, Stream, Style};
use serde_json::{Value, json};

use super::event::{Finished, Mode, Step};

/// Collects the proofs, and prints them on the way.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    output: &'a Output,
    started: Instant,
    json: bool,
    mode: Option<Mode>,
    steps: Vec<(Step, u64)>,
}

impl<'a> Report<'a> {
    /// With `json`, stdout is for the document alone.
    pub(crate) fn new(output: &'a Output, json: bool) -> Self {
        Self { output, started: Instant::now(), json, mode: None, steps: Vec::new() }
    }

    pub(crate) fn started(&mut self, mode: Mode, workloads: usize) {
        self.mode = Some(mode);
        let how = match mode {
            Mode::Namespaces => "each in a network namespace, its TCP captured by the kernel",
            Mode::Loopback => "on loopback ports that each app is given, without capture",
        };
        self.line(&format!("{workloads} workloads with a sidecar each, {how}\n"));
    }

    pub(crate) fn step(&mut self, step: Step) {
        let elapsed = self.elapsed_ms();
        let verdict = if step.ok { self.paint(Style::Good, "  ok  ") } else { self.paint(Style::Bad, " FAIL ") };
        let name = self.paint(Style::Bold, &format!("{:<13}", step.name));
        let clock = self.paint(Style::Dim, &format!("{:.1} s", seconds(elapsed)));
        self.line(&format!("{verdict}{name}{}  {clock}", step.summary));
        for detail in &step.details {
            self.line(&format!("{:19}{detail}", ""));
        }
        self.steps.push((step, elapsed));
    }

    /// Tells whether all of it was proved.
    pub(crate) fn ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|(step, _)| step.ok)
    }

    /// Prints the end: a line, or the document.
    pub(crate) fn finish(&self, finished: Option<&Finished>, error: Option<&str>) {
        let proved = self.steps.iter().filter(|(step, _)| step.ok).count();
        let total = self.steps.len();
        let took = seconds(self.elapsed_ms());
        if proved == total && error.is_none() {
            self.line(&format!("\n{proved} of {total} proved in {took:.1} s"));
        } else {
            self.line(&format!("\n{proved} of {total} proved, {} not, in {took:.1} s", total - proved));
        }
        if self.json {
            self.output.json(&self.document(finished, error));
        }
    }

    pub(crate) fn line(&self, text: &str) {
        self.output.line(self.stream(), text);
    }

    pub(crate) fn paint(&self, style: Style, text: &str) -> String {
        self.output.paint(self.stream(), style, text)
    }

    fn document(&self, finished: Option<&Finished>, error: Option<&str>) -> Value {
        let steps = self.steps.iter().map(|(step, elapsed)| {
            json!({
                "name": step.name,
                "ok": step.ok,
                "summary": step.summary,
                "values": step.values,
                "elapsedMs": elapsed,
            })
        });
        json!({
            "apiVersion": API_VERSION,
            "kind": "Demo",
            "version": outrigger_daemon::VERSION,
            "mode": self.mode,
            "ok": self.ok() && error.is_none(),
            "elapsedMs": self.elapsed_ms(),
            "steps": steps.collect::<Vec<_>>(),
            "forwardedExports": finished.map(|finished| finished.forwarded_exports),
            "error": error,
        })
    }

    fn stream(&self) -> Stream {
        if self.json { Stream::Stderr } else { Stream::Stdout }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a demo takes seconds")]
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use outrigger_console::output::Color;

    fn step(name: &str, ok: bool) -> Step {
        Step { name: name.into(), ok, summary: "s".into(), details: Vec::new(), values: json!({"n": 1}) }
    }

    #[test]
    fn is_ok_only_when_every_step_is_and_there_are_some() {
        let output = Output::new(Color::Never, true);
        let mut report = Report::new(&output, true);
        assert!(!report.ok());

        report.step(step("ca", true));
        assert!(report.ok());
        assert_eq!(report.document(None, Some("interrupted"))["ok"], false);

        report.step(step("split", false));
        let document = report.document(None, None);
        assert!(!report.ok());
        assert_eq!(document["apiVersion"], "cli.outrigger.io/v1");
        assert_eq!(document["steps"][1]["name"], "split");
        assert_eq!(document["steps"][1]["ok"], false);
        assert_eq!(document["steps"][0]["values"]["n"], 1);
    }
}
