//! Counters and gauges of connections, retries, ejections, certificate and configuration.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_proto::ErrorCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{encode_counter, encode_gauge};
use crate::admission::Level;
use crate::admission::Refused;
use crate::direction::Direction;
use crate::flow::RetryOutcome;
use crate::limits::Limits;
use crate::zone::Zone;

/// What a policy did to a request on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// It was held back.
    Delay,
    /// It was answered with an error.
    Abort,
}

/// What became of the copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MirrorOutcome {
    /// There was an answer, whatever it said.
    Answered,
    /// There was none.
    Failed,
    /// It was given up: it fell behind its request, or the request broke off.
    Cut,
    /// It was not sent: too many were in flight.
    Dropped,
}

/// What is asked at each scrape.
#[derive(Clone, Debug)]
pub(crate) struct ControlFacts {
    /// When the own leaf expires.
    pub(crate) certificate_expiry: Option<SystemTime>,
    /// Hash of the configuration in force; empty: none yet.
    pub(crate) config_version: String,
    /// Since the last commit.
    pub(crate) config_age: Option<Duration>,
    pub(crate) connected: bool,
    pub(crate) ejections: u64,
    /// Sent and received, by [`Zone::ALL`].
    pub(crate) bytes: [[u64; 2]; Zone::ALL.len()],
    pub(crate) spans_exported: u64,
    pub(crate) spans_dropped: u64,
    pub(crate) log_lines_dropped: u64,
    /// On connections.
    pub(crate) limits: Limits,
    /// Accepted connections, inbound and outbound.
    pub(crate) open: [usize; 2],
    /// Inbound connections that have shown nothing.
    pub(crate) silent: usize,
    /// Such that were closed to make room.
    pub(crate) closed: u64,
    /// Used and limit, bytes.
    pub(crate) memory: Option<(u64, u64)>,
    pub(crate) overload: Level,
}

/// Counters of one sidecar; the data path adds to atomics and nothing else.
pub(crate) struct Counters {
    retries: [AtomicU64; RETRIES.len()],
    mirrored: [AtomicU64; MIRRORED.len()],
    faults: [AtomicU64; FAULTS.len()],
    // By direction, then by code.
    handshakes: [[AtomicU64; HANDSHAKES.len() + 1]; 2],
    head_timeouts: [AtomicU64; 2],
    /// By direction, then by reason.
    connections_refused: [[AtomicU64; Refused::ALL.len()]; 2],
    control: Box<dyn Fn() -> ControlFacts + Send + Sync>,
}

impl Counters {
    /// Makes counters at zero; `control` is asked at each scrape.
    pub(crate) fn new(control: impl Fn() -> ControlFacts + Send + Sync + 'static) -> Self {
        Self {
            retries: Default::default(),
            mirrored: Default::default(),
            faults: Default::default(),
            handshakes: Default::default(),
            head_timeouts: Default::default(),
            connections_refused: Default::default(),
            control: Box::new(control),
        }
    }

    pub(crate) fn retried(&self, outcome: RetryOutcome) {
        self.retries[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn mirrored(&self, outcome: MirrorOutcome) {
        self.mirrored[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn faulted(&self, fault: FaultKind) {
        self.faults[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a TLS handshake that failed.
    pub(crate) fn handshake_failed(&self, direction: Direction, code: ErrorCode) {
        let reason = HANDSHAKES.iter().position(|known| *known == code).unwrap_or(HANDSHAKES.len());
        self.handshakes[side(direction)][reason].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose head was not complete in time.
    pub(crate) fn head_timed_out(&self, direction: Direction) {
        self.head_timeouts[side(direction)].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a connection that was closed at once.
    pub(crate) fn connection_refused(&self, direction: Direction, why: Refused) {
        self.connections_refused[side(direction)][why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn encode_side(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        facts: &ControlFacts,
        direction: Direction,
    ) -> fmt::Result {
        let name = |metric: &str| format!("outrigger_{}_{metric}", direction.as_str());
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let failed = &self.handshakes[side(direction)];
        let reasons = HANDSHAKES.iter().map(|code| code.token()).chain(["other"]).map(|reason| [("reason", reason)]);
        let reasons: Vec<_> = reasons.collect();
        let samples: Vec<_> = reasons.iter().zip(failed).map(|(reason, failed)| (&reason[..], count(failed))).collect();
        encode_counter(encoder, (&name("tls_handshake_failures"), "TLS handshakes that failed"), &samples)?;
        let help = (&*name("request_head_timeouts"), "Requests answered with 408: their head was not complete in time");
        encode_counter(encoder, help, &[(&[], count(&self.head_timeouts[side(direction)]))])?;
        let help = (&*name("connections_refused"), "Connections closed at once because a limit was reached");
        let reasons = Refused::ALL.map(|why| [("reason", why.as_str())]);
        let refused = &self.connections_refused[side(direction)];
        let samples: Vec<_> = reasons.iter().zip(refused).map(|(reason, n)| (&reason[..], count(n))).collect();
        encode_counter(encoder, help, &samples)?;
        let help = (&*name("open_connections"), "Accepted connections that are open now");
        encode_gauge(encoder, help, &[(&[], facts.open[side(direction)] as f64)])?;
        let help = (&*name("max_connections"), "Accepted connections that may be open at once");
        encode_gauge(encoder, help, &[(&[], facts.limits.each as f64)])
    }
}

impl Collector for Counters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let facts = (self.control)();
        self.encode_side(encoder, &facts, Direction::Inbound)?;
        self.encode_side(encoder, &facts, Direction::Outbound)?;
        encode_admission(encoder, &facts)?;
        let help = ("outrigger_outbound_retries", "Requests whose first attempt failed");
        encode_outcomes(encoder, help, &RETRIES, &self.retries)?;
        let help = ("outrigger_outbound_mirrored_requests", "Copies of requests that filters of routes asked for");
        encode_outcomes(encoder, help, &MIRRORED, &self.mirrored)?;
        let faults = FAULTS.map(|fault| [("fault", fault)]);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let samples: Vec<_> = faults.iter().zip(&self.faults).map(|(f, faults)| (&f[..], count(faults))).collect();
        encode_counter(encoder, ("outrigger_outbound_faults", "Requests to which a policy did something"), &samples)?;
        let help = ("outrigger_outbound_ejections", "Endpoints left out for a while after failures");
        encode_counter(encoder, help, &[(&[], facts.ejections)])?;
        encode_bytes(encoder, &facts)?;
        encode_control(encoder, &facts)
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counters")
    }
}

fn encode_outcomes(
    encoder: &mut DescriptorEncoder<'_>,
    help: (&str, &str),
    outcomes: &[&str],
    counters: &[AtomicU64],
) -> fmt::Result {
    let labels: Vec<_> = outcomes.iter().map(|outcome| [("outcome", *outcome)]).collect();
    let counts = counters.iter().map(|counter| counter.load(Ordering::Relaxed));
    let samples: Vec<_> = labels.iter().zip(counts).map(|(label, count)| (&label[..], count)).collect();
    encode_counter(encoder, help, &samples)
}

fn encode_bytes(encoder: &mut DescriptorEncoder<'_>, facts: &ControlFacts) -> fmt::Result {
    let zones = Zone::ALL.map(|zone| [("zone", zone.as_str())]);
    for (way, name, help) in [
        (0, "outrigger_outbound_sent_bytes", "Bytes sent to endpoints, by where they are"),
        (1, "outrigger_outbound_received_bytes", "Bytes received from endpoints, by where they are"),
    ] {
        let samples: Vec<_> = zones.iter().zip(&facts.bytes).map(|(zone, bytes)| (&zone[..], bytes[way])).collect();
        encode_counter(encoder, (name, help), &samples)?;
    }
    Ok(())
}

fn encode_admission(encoder: &mut DescriptorEncoder<'_>, facts: &ControlFacts) -> fmt::Result {
    let help =
        ("outrigger_inbound_silent_connections", "Open connections that have sent no request and proved no identity");
    encode_gauge(encoder, help, &[(&[], facts.silent as f64)])?;
    let help = ("outrigger_inbound_connections_shed", "Connections of peers without an identity closed to make room");
    encode_counter(encoder, help, &[(&[], facts.closed)])?;
    let help = ("outrigger_control_max_descriptors", "Descriptors that the process may have");
    encode_gauge(encoder, help, &[(&[], facts.limits.descriptors as f64)])?;
    let help = ("outrigger_control_overload", "How short memory is: 0 normal, 1 tight, 2 hard, 3 full, 4 critical");
    encode_gauge(encoder, help, &[(&[], f64::from(facts.overload as u8))])?;
    let Some((used, limit)) = facts.memory else { return Ok(()) };
    let help = ("outrigger_control_memory_used_bytes", "Memory that counts towards the limit");
    encode_gauge(encoder, help, &[(&[], used as f64)])?;
    let help = ("outrigger_control_memory_limit_bytes", "Memory limit of the container");
    encode_gauge(encoder, help, &[(&[], limit as f64)])
}

fn encode_control(encoder: &mut DescriptorEncoder<'_>, facts: &ControlFacts) -> fmt::Result {
    if let Some(expiry) = facts.certificate_expiry {
        let seconds = expiry.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let help = ("outrigger_control_certificate_expiry_timestamp_seconds", "When the own certificate expires");
        encode_gauge(encoder, help, &[(&[], seconds)])?;
    }
    let help = ("outrigger_control_config_version", "The configuration in force, by its hash; always 1");
    encode_gauge(encoder, help, &[(&[("version", &facts.config_version)], 1.0)])?;
    if let Some(age) = facts.config_age {
        let help = ("outrigger_control_config_age_seconds", "Since the last change of the configuration");
        encode_gauge(encoder, help, &[(&[], age.as_secs_f64())])?;
    }
    let help = ("outrigger_control_connected", "Whether the control plane is reached");
    encode_gauge(encoder, help, &[(&[], f64::from(u8::from(facts.connected)))])?;
    let help = ("outrigger_control_spans", "Spans by what became of them");
    let (exported, dropped) = ([("outcome", "exported")], [("outcome", "dropped")]);
    encode_counter(encoder, help, &[(&exported, facts.spans_exported), (&dropped, facts.spans_dropped)])?;
    let help = ("outrigger_control_access_log_dropped_lines", "Lines that the access log's reader did not take");
    encode_counter(encoder, help, &[(&[], facts.log_lines_dropped)])
}

fn side(direction: Direction) -> usize {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

/// Labels of [`RetryOutcome`], in its order.
const RETRIES: [&str; 4] = ["succeeded", "failed", "over_budget", "not_replayable"];

/// Labels of [`MirrorOutcome`], in its order.
const MIRRORED: [&str; 4] = ["answered", "failed", "cut", "dropped"];

/// Labels of [`FaultKind`], in its order.
const FAULTS: [&str; 2] = ["delay", "abort"];

/// How a handshake fails; all else is `other`.
const HANDSHAKES: [ErrorCode; 2] = [ErrorCode::TlsCertificate, ErrorCode::TlsProtocol];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_daemon::Metrics;

    use super::*;

    fn lines(counters: Counters) -> Vec<String> {
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(Arc::new(counters))));
        let text = metrics.encode();
        text.lines()
            .filter(|line| !line.starts_with('#') && !line.ends_with(" 0") && !line.ends_with(" 0.0"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn shows_what_was_counted() {
        let counters = Counters::new(|| ControlFacts {
            certificate_expiry: Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
            config_version: "ab12".to_owned(),
            config_age: Some(Duration::from_secs(4)),
            connected: true,
            ejections: 1,
            bytes: [[10, 11], [20, 0], [0, 31]],
            spans_exported: 7,
            spans_dropped: 2,
            log_lines_dropped: 3,
            limits: Limits::new(1024, 20_000),
            open: [5, 6],
            silent: 4,
            closed: 8,
            memory: Some((60, 64)),
            overload: Level::Hard,
        });
        counters.retried(RetryOutcome::Succeeded);
        counters.retried(RetryOutcome::NotReplayable);
        counters.mirrored(MirrorOutcome::Answered);
        counters.mirrored(MirrorOutcome::Dropped);
        counters.faulted(FaultKind::Delay);
        counters.faulted(FaultKind::Abort);
        counters.head_timed_out(Direction::Inbound);
        counters.handshake_failed(Direction::Inbound, ErrorCode::TlsProtocol);
        counters.handshake_failed(Direction::Outbound, ErrorCode::TlsCertificate);
        counters.handshake_failed(Direction::Outbound, ErrorCode::Internal);
        counters.connection_refused(Direction::Inbound, Refused::Memory);

        assert_eq!(
            lines(counters),
            [
                r#"outrigger_inbound_tls_handshake_failures_total{reason="tls_protocol_error"} 1"#,
                "outrigger_inbound_request_head_timeouts_total 1",
                r#"outrigger_inbound_connections_refused_total{reason="memory"} 1"#,
                "outrigger_inbound_open_connections 5.0",
                "outrigger_inbound_max_connections 384.0",
                r#"outrigger_outbound_tls_handshake_failures_total{reason="tls_certificate_error"} 1"#,
                r#"outrigger_outbound_tls_handshake_failures_total{reason="other"} 1"#,
                "outrigger_outbound_open_connections 6.0",
                "outrigger_outbound_max_connections 384.0",
                "outrigger_inbound_silent_connections 4.0",
                "outrigger_inbound_connections_shed_total 8",
                "outrigger_control_max_descriptors 1024.0",
                "outrigger_control_overload 2.0",
                "outrigger_control_memory_used_bytes 60.0",
                "outrigger_control_memory_limit_bytes 64.0",
                r#"outrigger_outbound_retries_total{outcome="succeeded"} 1"#,
                r#"outrigger_outbound_retries_total{outcome="not_replayable"} 1"#,
                r#"outrigger_outbound_mirrored_requests_total{outcome="answered"} 1"#,
                r#"outrigger_outbound_mirrored_requests_total{outcome="dropped"} 1"#,
                r#"outrigger_outbound_faults_total{fault="delay"} 1"#,
                r#"outrigger_outbound_faults_total{fault="abort"} 1"#,
                "outrigger_outbound_ejections_total 1",
                r#"outrigger_outbound_sent_bytes_total{zone="same"} 10"#,
                r#"outrigger_outbound_sent_bytes_total{zone="other"} 20"#,
                r#"outrigger_outbound_received_bytes_total{zone="same"} 11"#,
                r#"outrigger_outbound_received_bytes_total{zone="unknown"} 31"#,
                "outrigger_control_certificate_expiry_timestamp_seconds 1800000000.0",
                r#"outrigger_control_config_version{version="ab12"} 1.0"#,
                "outrigger_control_config_age_seconds 4.0",
                "outrigger_control_connected 1.0",
                r#"outrigger_control_spans_total{outcome="exported"} 7"#,
                r#"outrigger_control_spans_total{outcome="dropped"} 2"#,
                "outrigger_control_access_log_dropped_lines_total 3",
            ]
        );
    }
}
