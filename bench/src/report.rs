//! Medians of the rounds as a table, ours beside Envoy's, and which limits hold. The JSON has every round.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Serialize;

use crate::cases::{
    CASES, FLOOR_LIMIT, IDLE_CONNECTIONS, IDLE_LIMIT_KIB, RESIDENT_LIMIT_MIB, SOME_CONNECTIONS, SOME_LIMIT_MIB,
};
use crate::contender::{Contender, Kind, PairMemory};
use crate::load::Outcome;
use crate::memory::IdleCost;
use crate::plot::{self, Bar, Group};

/// All that a run found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    contenders: Vec<About>,
    pub(crate) rows: Vec<Row>,
    pub(crate) syscalls: Vec<Syscalls>,
}

/// System calls of both sidecars for one request of a case.
#[derive(Debug, Serialize)]
pub(crate) struct Syscalls {
    case: &'static str,
    contender: Kind,
    per_request: f64,
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
    idle_connections: Vec<IdleCost>,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { machine: machine(), contenders: Vec::new(), rows: Vec::new(), syscalls: Vec::new() }
    }

    /// Notes a contender that has just started.
    pub(crate) fn started(&mut self, contender: &Contender) -> Result<()> {
        let (kind, version) = (contender.kind, contender.version.clone());
        let idle = contender.memory()?;
        self.contenders.push(About { contender: kind, version, idle, after: None, idle_connections: Vec::new() });
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
            about.idle_connections.extend(cost);
        }
    }

    /// Notes the system calls of one case.
    pub(crate) fn counted(&mut self, contender: Kind, case: &'static str, per_request: Option<f64>) {
        self.syscalls.extend(per_request.map(|per_request| Syscalls { case, contender, per_request }));
    }

    fn about(&mut self, kind: Kind) -> Option<&mut About> {
        self.contenders.iter_mut().find(|about| about.contender == kind)
    }

    /// The limits that do not hold, in words.
    pub(crate) fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        for case in CASES {
            if let (Some(limit), Some(ratio)) = (case.limit, self.share(case.name, Kind::Outrigger, Kind::Envoy))
                && ratio > limit
            {
                let floor = self.share(case.name, Kind::FloorHttp, Kind::Envoy);
                let floor = floor.filter(|floor| *floor > limit);
                let floor = floor.map_or_else(String::new, |floor| format!(" (so does bare hyper, with {floor:.2})"));
                missed.push(format!("{}: {ratio:.2} of Envoy's CPU time, more than {limit}{floor}", case.name));
            }
            if case.limit.is_some()
                && let Some(ratio) = self.share(case.name, Kind::Outrigger, Kind::FloorHttp)
                && ratio > FLOOR_LIMIT
            {
                missed.push(format!("{}: {ratio:.2} of bare hyper's CPU time, more than {FLOOR_LIMIT}", case.name));
            }
            let p50 = |kind| self.median(case.name, kind, &|outcome| outcome.p50_micros);
            if let (Some(limit), Some(ours), Some(envoy)) = (case.latency_limit, p50(Kind::Outrigger), p50(Kind::Envoy))
                && ours / envoy > limit
            {
                missed.push(format!("{}: {:.2} of Envoy's median latency, more than {limit}", case.name, ours / envoy));
            }
        }
        for about in self.contenders.iter().filter(|about| about.contender == Kind::Outrigger) {
            for cost in &about.idle_connections {
                if cost.connections == IDLE_CONNECTIONS && cost.kib_each > IDLE_LIMIT_KIB {
                    missed.push(format!("idle connection: {:.1} KiB, more than {IDLE_LIMIT_KIB}", cost.kib_each));
                }
                let most = mib(cost.open.outbound.resident_kib.max(cost.open.inbound.resident_kib));
                if cost.connections == SOME_CONNECTIONS && most > SOME_LIMIT_MIB {
                    missed.push(format!("{SOME_CONNECTIONS} connections: {most:.1} MiB, more than {SOME_LIMIT_MIB}"));
                }
            }
            if let Some(idle) = &about.idle {
                let most = mib(idle.outbound.resident_kib.max(idle.inbound.resident_kib));
                if most > RESIDENT_LIMIT_MIB {
                    missed.push(format!("idle: {most:.1} MiB, more than {RESIDENT_LIMIT_MIB}"));
                }
            }
        }
        missed
    }

    /// Returns the tables.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n", self.machine);
        for about in &self.contenders {
            let _ = writeln!(text, "{}: {}", about.contender.name(), about.version);
        }
        self.write_cases(&mut text);
        self.write_memory(&mut text);
        let missed = self.missed();
        let verdict = if missed.is_empty() { "all limits hold".to_owned() } else { missed.join("\n") };
        let _ = writeln!(text, "\n{verdict}");
        text
    }

    /// Draws ours and the floors beside Envoy.
    pub(crate) fn svg(&self) -> String {
        let shown = [(Kind::Outrigger, "#0a7", "Outrigger"), (Kind::FloorHttp, "#9ac", "bare hyper + rustls")];
        let shown = shown.into_iter().chain([(Kind::FloorBytes, "#bbb", "bytes over rustls")]);
        let groups = CASES.iter().filter_map(|case| {
            let envoy = self.cpu(case.name, Kind::Envoy)?;
            let bars = shown
                .clone()
                .filter_map(|(kind, color, name)| Some(Bar { name, color, share: self.cpu(case.name, kind)? / envoy }));
            let base = format!("Envoy: {envoy:.0} µs");
            Some(Group { label: case.what.to_owned(), base, bars: bars.collect(), limit: case.limit })
        });
        let groups: Vec<Group> = groups.collect();
        plot::svg("CPU time per request, both sidecars, as a share of Envoy's; red: our limit", &groups)
    }

    fn write_cases(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\nMedians of the rounds; CPU in microseconds per request\n\n{:<22} {:<11} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8}  of floor  of envoy",
            "case", "contender", "outbound", "inbound", "both", "syscalls", "req/s", "p50 us", "p99 us", "p99.9 us"
        );
        for case in CASES {
            for kind in Kind::ALL {
                let median = |value: &dyn Fn(&Outcome) -> f64| self.median(case.name, kind, value);
                let Some(rate) = median(&|outcome| outcome.requests as f64 / outcome.seconds) else { continue };
                let cpu = |side: usize| median(&|outcome| outcome.cpu_micros.get(side).copied().unwrap_or(0.0));
                let [p50, p99, p999] = [
                    median(&|outcome| outcome.p50_micros),
                    median(&|outcome| outcome.p99_micros),
                    median(&|outcome| outcome.p999_micros),
                ];
                let syscalls = self.syscalls.iter().find(|count| count.case == case.name && count.contender == kind);
                let syscalls = syscalls.map_or_else(|| "-".to_owned(), |count| format!("{:.1}", count.per_request));
                let share = |of| if kind == of { None } else { self.share(case.name, kind, of) };
                let share = |of| share(of).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                let (floor, ratio) = (share(Kind::FloorHttp), share(Kind::Envoy));
                let limit = case
                    .limit
                    .filter(|_| kind == Kind::Outrigger && !ratio.is_empty())
                    .map_or_else(String::new, |limit| format!(" (limit {limit})"));
                let _ = writeln!(
                    text,
                    "{:<22} {:<11} {:>8.1} {:>8.1} {:>8.1} {syscalls:>8} {rate:>9.0} {:>8.0} {:>8.0} {:>8.0}  {floor:<8}  {ratio}{limit}",
                    case.name,
                    kind.name(),
                    cpu(0).unwrap_or(0.0),
                    cpu(1).unwrap_or(0.0),
                    self.cpu(case.name, kind).unwrap_or(0.0),
                    p50.unwrap_or(0.0),
                    p99.unwrap_or(0.0),
                    p999.unwrap_or(0.0),
                );
            }
        }
    }

    fn write_memory(&self, text: &mut String) {
        let _ = writeln!(text, "\nMemory (RSS, MiB: outbound / inbound sidecar)\n");
        let pair = |memory: &PairMemory| {
            format!("{:.1} / {:.1}", mib(memory.outbound.resident_kib), mib(memory.inbound.resident_kib))
        };
        let peak =
            |memory: &PairMemory| format!("{:.1} / {:.1}", mib(memory.outbound.peak_kib), mib(memory.inbound.peak_kib));
        let shown = |memory: &Option<PairMemory>| memory.as_ref().map_or_else(|| "-".to_owned(), pair);
        for about in self.contenders.iter().filter(|about| about.idle.is_some()) {
            let _ = writeln!(
                text,
                "{:<10} idle {}, after the cases {}, at most {}",
                about.contender.name(),
                shown(&about.idle),
                shown(&about.after),
                about.after.as_ref().map_or_else(|| "-".to_owned(), peak),
            );
            for cost in &about.idle_connections {
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
    /// The CPU time of one as a share of another's.
    fn share(&self, case: &str, kind: Kind, of: Kind) -> Option<f64> {
        let is_proxy = kind != Kind::Direct && of != Kind::Direct;
        is_proxy.then_some(self.cpu(case, kind)? / self.cpu(case, of)?)
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
            p999_micros: 3.0,
            cpu_micros: cpu.to_vec(),
        };
        Row { case: "http1-16", contender, round, outcome }
    }

    #[test]
    fn compares_medians_of_both_sidecars_together_with_the_limit() {
        let mut report = Report::new();
        for (round, ours) in [(1, [20.0, 30.0]), (2, [900.0, 900.0]), (3, [10.0, 10.0])] {
            report.rows.push(row(Kind::Outrigger, round, ours));
            report.rows.push(row(Kind::Envoy, round, [50.0, 50.0]));
        }

        assert!((report.share("http1-16", Kind::Outrigger, Kind::Envoy).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(report.missed(), ["http1-16: 0.50 of Envoy's CPU time, more than 0.28"]);
    }

    #[test]
    fn says_that_a_limit_is_below_what_the_floor_takes_and_compares_with_that() {
        let mut report = Report::new();
        report.rows.push(row(Kind::Outrigger, 1, [26.0, 26.0]));
        report.rows.push(row(Kind::Envoy, 1, [50.0, 50.0]));
        report.rows.push(row(Kind::FloorHttp, 1, [20.0, 20.0]));

        let envoy = "http1-16: 0.52 of Envoy's CPU time, more than 0.28 (so does bare hyper, with 0.40)";
        assert_eq!(report.missed(), [envoy, "http1-16: 1.30 of bare hyper's CPU time, more than 1.25"]);
    }

    #[test]
    fn misses_no_limit_that_was_not_measured() {
        assert!(Report::new().missed().is_empty());
    }
}
