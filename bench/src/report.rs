//! Medians of the rounds as a table, ours beside Envoy's, and which limits hold. The JSON has every round.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::cases::{CASES, IDLE_LIMIT_KIB};
use crate::contender::{Contender, Kind, PairMemory};
use crate::load::Outcome;
use crate::memory::IdleCost;

/// All that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    contenders: Vec<About>,
    pub(crate) rows: Vec<Row>,
}

/// One round of one case on one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) contender: Kind,
    pub(crate) round: u32,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

/// What is not about a case.
#[derive(Debug, Serialize)]
struct About {
    contender: Kind,
    version: String,
    /// Memory once it answered its first requests.
    idle: Option<PairMemory>,
    /// Memory after all cases.
    after: Option<PairMemory>,
    idle_connections: Option<IdleCost>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { machine: machine(), contenders: Vec::new(), rows: Vec::new() }
    }

    /// Notes a contender that has just started.
    pub(crate) fn started(&mut self, contender: &Contender) -> Result<()> {
        let (kind, version) = (contender.kind, contender.version.clone());
        let idle = contender.memory()?;
        self.contenders.push(About { contender: kind, version, idle, after: None, idle_connections: None });
        Ok(())
    }

    /// Notes a contender's memory after its work.
    pub(crate) fn worked(&mut self, contender: &Contender) -> Result<()> {
        let after = contender.memory()?;
        if let Some(about) = self.about(contender.kind) {
            about.after = after;
        }
        Ok(())
    }

    /// Notes what idle connections cost.
    pub(crate) fn idle(&mut self, kind: Kind, cost: Option<IdleCost>) {
        if let Some(about) = self.about(kind) {
            about.idle_connections = cost;
        }
    }

    fn about(&mut self, kind: Kind) -> Option<&mut About> {
        self.contenders.iter_mut().find(|about| about.contender == kind)
    }

    /// The limits that do not hold, in words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for case in CASES {
            if let (Some(limit), Some(ratio)) = (case.limit, self.ratio(case.name))
                && ratio > limit
            {
                missed.push(format!("{}: {ratio:.2} of Envoy's CPU time, more than {limit}", case.name));
            }
        }
        for about in self.contenders.iter().filter(|about| about.contender == Kind::Outrigger) {
            if let Some(cost) = &about.idle_connections
                && cost.kib_each > IDLE_LIMIT_KIB
            {
                missed.push(format!("idle connection: {:.1} KiB, more than {IDLE_LIMIT_KIB}", cost.kib_each));
            }
        }
        missed
    }

    /// Prints the table.
    pub(crate) fn print(&self) -> Result<()> {
        let mut text = format!("{}\n", self.machine);
        for about in &self.contenders {
            let _ = writeln!(text, "{}: {}", about.contender.name(), about.version);
        }
        self.write_cases(&mut text);
        self.write_memory(&mut text);
        let missed = self.missed();
        let verdict = if missed.is_empty() { "all limits hold".to_owned() } else { missed.join("\n") };
        let _ = writeln!(text, "\n{verdict}");
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok(())
    }

    fn write_cases(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\nMedians of the rounds; CPU in microseconds per request\n\n{:<22} {:<10} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8}  ours/envoy",
            "case", "contender", "outbound", "inbound", "both", "req/s", "p50 us", "p99 us"
        );
        for case in CASES {
            for kind in Kind::ALL {
                let median = |value: &dyn Fn(&Outcome) -> f64| self.median(case.name, kind, value);
                let Some(rate) = median(&|outcome| outcome.requests as f64 / outcome.seconds) else { continue };
                let cpu = |side: usize| median(&|outcome| outcome.cpu_micros.get(side).copied().unwrap_or(0.0));
                let (p50, p99) = (median(&|outcome| outcome.p50_micros), median(&|outcome| outcome.p99_micros));
                let ratio = self.ratio(case.name).filter(|_| kind == Kind::Outrigger);
                let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                let limit = case
                    .limit
                    .filter(|_| !ratio.is_empty())
                    .map_or_else(String::new, |limit| format!(" (limit {limit})"));
                let _ = writeln!(
                    text,
                    "{:<22} {:<10} {:>8.1} {:>8.1} {:>8.1} {rate:>9.0} {:>8.0} {:>8.0}  {ratio}{limit}",
                    case.name,
                    kind.name(),
                    cpu(0).unwrap_or(0.0),
                    cpu(1).unwrap_or(0.0),
                    self.cpu(case.name, kind).unwrap_or(0.0),
                    p50.unwrap_or(0.0),
                    p99.unwrap_or(0.0),
                );
            }
        }
    }

    fn write_memory(&self, text: &mut String) {
        let _ = writeln!(text, "\nMemory (RSS, MiB: outbound / inbound sidecar)\n");
        let pair = |memory: &PairMemory| {
            format!("{:.1} / {:.1}", mib(memory.outbound.resident_kib), mib(memory.inbound.resident_kib))
        };
        let shown = |memory: &Option<PairMemory>| memory.as_ref().map_or_else(|| "-".to_owned(), pair);
        for about in self.contenders.iter().filter(|about| about.idle.is_some()) {
            let _ = writeln!(
                text,
                "{:<10} idle {}, after the cases {}",
                about.contender.name(),
                shown(&about.idle),
                shown(&about.after)
            );
            if let Some(cost) = &about.idle_connections {
                let _ = writeln!(
                    text,
                    "{:<10} {} idle connections: {} ({:.1} KiB each, both together), 5 s later {}",
                    "",
                    cost.connections,
                    pair(&cost.open),
                    cost.kib_each,
                    pair(&cost.after)
                );
            }
        }
    }

    /// Our CPU time per request as a share of Envoy's, both sidecars together.
    fn ratio(&self, case: &str) -> Option<f64> {
        Some(self.cpu(case, Kind::Outrigger)? / self.cpu(case, Kind::Envoy)?)
    }

    fn cpu(&self, case: &str, kind: Kind) -> Option<f64> {
        // Not `sum()`: of nothing that is -0.0.
        self.median(case, kind, &|outcome| outcome.cpu_micros.iter().fold(0.0, |sum, cpu| sum + cpu))
    }

    fn median(&self, case: &str, kind: Kind, value: &dyn Fn(&Outcome) -> f64) -> Option<f64> {
        let rows = self.rows.iter().filter(|row| row.case == case && row.contender == kind);
        let mut values: Vec<f64> = rows.map(|row| value(&row.outcome)).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

#[expect(clippy::cast_precision_loss, reason = "for reading")]
pub(crate) fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

/// The machine, as far as it explains figures.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contender: Kind, round: u32, cpu: [f64; 2]) -> Row {
        let outcome = Outcome {
            requests: 10,
            errors: 0,
            first_error: None,
            seconds: 1.0,
            p50_micros: 1.0,
            p99_micros: 2.0,
            cpu_micros: cpu.to_vec(),
        };
        Row { case: "http1-small-16", contender, round, outcome }
    }

    #[test]
    fn compares_medians_of_both_sidecars_together_with_the_limit() {
        let mut report = Report::new();
        for (round, ours) in [(1, [20.0, 30.0]), (2, [900.0, 900.0]), (3, [10.0, 10.0])] {
            report.rows.push(row(Kind::Outrigger, round, ours));
            report.rows.push(row(Kind::Envoy, round, [50.0, 50.0]));
        }

        assert!((report.ratio("http1-small-16").unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(report.missed(), ["http1-small-16: 0.50 of Envoy's CPU time, more than 0.45"]);
    }

    #[test]
    fn misses_no_limit_that_was_not_measured() {
        assert!(Report::new().missed().is_empty());
    }
}
