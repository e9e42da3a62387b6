//! The sidecar's settings: what must be known before the control plane is reached. Everything else comes from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use outrigger_daemon::logging::{self, Format};
use outrigger_identity::TrustDomain;
use outrigger_proto::WorkloadName;

use crate::capture::InitArgs;
use crate::headers::{ClientCertHeaders, ClientHeaders};
use crate::probe::Probes;
use crate::scrape::{MetricsFrom, Page, Scrape};
use crate::telemetry;
use crate::wire_form::Wire;

/// The data plane of Outrigger: rides beside one workload and takes over its TCP traffic.
#[derive(Debug, Parser)]
#[command(name = "outrigger-sidecar", version)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install the rules that redirect the workload's TCP traffic to the sidecar (needs NET_ADMIN)
    Init(InitArgs),
    /// Carry the workload's traffic
    Run(Box<RunArgs>),
    /// Tell a running sidecar's peers that it is about to leave; it serves on until SIGTERM
    Leave(LeaveArgs),
    /// Wait until a running sidecar is ready: what the application's start waits for
    Wait(WaitArgs),
    /// Print the version
    Version,
}

/// Settings of `wait`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WaitArgs {
    /// The sidecar's admin endpoints
    #[arg(long, env = "OUTRIGGER_ADMIN", default_value = "127.0.0.1:4191")]
    pub(crate) admin: SocketAddr,

    /// Longest wait
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

/// Settings of `leave`.
#[derive(Debug, ClapArgs)]
pub(crate) struct LeaveArgs {
    /// The sidecar's admin endpoints
    #[arg(long, env = "OUTRIGGER_ADMIN", default_value = "127.0.0.1:4191")]
    pub(crate) admin: SocketAddr,
}

/// Settings of `run`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The workload beside which this sidecar rides, NAMESPACE/NAME
    #[arg(long, env = "OUTRIGGER_WORKLOAD")]
    pub(crate) workload: WorkloadName,

    /// Where the control plane listens, HOST:PORT
    #[arg(long, env = "OUTRIGGER_CONTROL_PLANE")]
    pub(crate) control_plane: String,

    /// The trust domain of the mesh
    #[arg(long, env = "OUTRIGGER_TRUST_DOMAIN", default_value = "mesh.local")]
    pub(crate) trust_domain: TrustDomain,

    /// PEM file of the trust anchors; newer ones are streamed by the control plane
    #[arg(long, env = "OUTRIGGER_TRUST_ANCHORS", required_unless_present = "trust_anchors_pem")]
    pub(crate) trust_anchors: Option<PathBuf>,

    /// The trust anchors themselves, PEM, where there is no file
    #[arg(long, env = "OUTRIGGER_TRUST_ANCHORS_PEM", conflicts_with = "trust_anchors", hide_env_values = true)]
    pub(crate) trust_anchors_pem: Option<String>,

    /// File with the token that the first certificate is asked for with
    #[arg(long, env = "OUTRIGGER_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,

    /// Directory for the last good state; on a tmpfs it holds the certificate's key as well
    #[arg(long, env = "OUTRIGGER_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,

    /// Port to which captured outbound connections are redirected
    #[arg(long, env = "OUTRIGGER_OUTBOUND_PORT", default_value_t = 4140)]
    pub(crate) outbound_port: u16,

    /// Port to which captured inbound connections are redirected
    #[arg(long, env = "OUTRIGGER_INBOUND_PORT", default_value_t = 4143)]
    pub(crate) inbound_port: u16,

    /// Without capture: listen here for connections to that destination, LISTEN=DESTINATION (repeatable)
    #[arg(long, env = "OUTRIGGER_OUTBOUND", value_delimiter = ',')]
    pub(crate) outbound: Vec<Explicit>,

    /// Without capture: listen here for peers, and forward to the app there, LISTEN=APP (repeatable)
    #[arg(long, env = "OUTRIGGER_INBOUND", value_delimiter = ',')]
    pub(crate) inbound: Vec<Explicit>,

    /// Mark of the sidecar's own packets, when the capture exempts a mark instead of a user (see `init --proxy-mark`)
    #[arg(long, env = "OUTRIGGER_MARK")]
    pub(crate) mark: Option<crate::capture::Mark>,

    /// Where /ready, /live, /metrics and /config are served; loopback only
    #[arg(long, env = "OUTRIGGER_ADMIN", default_value = "127.0.0.1:4191")]
    pub(crate) admin: SocketAddr,

    /// Port on all addresses that answers /ready and /live and nothing else, for the kubelet; none by default
    #[arg(long, env = "OUTRIGGER_HEALTH_PORT")]
    pub(crate) health_port: Option<u16>,

    /// Captured port at which scrapers read /metrics and nothing else, by mutual TLS of the mesh or in plaintext; none by default
    #[arg(long, env = "OUTRIGGER_METRICS_PORT")]
    pub(crate) metrics_port: Option<u16>,

    /// Which scrapers may read them
    #[arg(long, env = "OUTRIGGER_METRICS_FROM", value_enum, default_value_t)]
    pub(crate) metrics_from: MetricsFrom,

    /// Pages of the application that scrapers outside the mesh may GET although the inbound mode is strict, PORT/PATH such as 9090/metrics
    /// (repeatable)
    #[arg(long, env = "OUTRIGGER_SCRAPE", value_delimiter = ',')]
    pub(crate) scrape: Vec<Page>,

    /// The app's probes, which the kubelet asks here for: JSON, path to probe; written by the injector
    #[arg(long, env = "OUTRIGGER_PROBES", value_name = "JSON")]
    pub(crate) probes: Option<Probes>,

    /// Port on all addresses that answers them
    #[arg(long, env = "OUTRIGGER_PROBE_PORT", default_value_t = 4193)]
    pub(crate) probe_port: u16,

    /// Threads that carry traffic
    #[arg(long, env = "OUTRIGGER_WORKERS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: u16,

    /// How HTTP/1 requests travel between sidecars
    #[arg(long, env = "OUTRIGGER_WIRE", value_enum, default_value_t = Wire::ByLoad)]
    pub(crate) wire: Wire,

    /// What becomes of x-forwarded-client-cert and l5d-client-id in requests to the workload
    #[arg(long, env = "OUTRIGGER_CLIENT_CERT_HEADERS", value_enum, default_value_t)]
    pub(crate) client_cert_headers: ClientCertHeaders,

    /// Whether requests to the workload name their sender, in outrigger-client-id and outrigger-client-address
    #[arg(long, env = "OUTRIGGER_CLIENT_HEADERS", value_enum, default_value_t)]
    pub(crate) client_headers: ClientHeaders,

    /// Longest wait for a connection to an endpoint, TLS included
    #[arg(long, env = "OUTRIGGER_CONNECT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub(crate) connect_timeout: Duration,

    /// Longest time that a request's head may take from its first byte, and a frame or a header block of HTTP/2; then the client gets 408, or
    /// its connection is closed
    #[arg(long, env = "OUTRIGGER_REQUEST_HEAD_TIMEOUT", default_value = "60s", value_parser = duration)]
    pub(crate) request_head_timeout: Duration,

    /// Most connections at once, for each direction: fewer where the process may have fewer descriptors (RLIMIT_NOFILE, which is
    /// raised as far as it can be; each connection takes two, and a direction gets three quarters at most). More are closed with
    /// E010; inbound ones that have sent no request and proved no identity make room first. What is in effect is logged at the
    /// start, and under `limits` in /config
    #[arg(long, env = "OUTRIGGER_MAX_CONNECTIONS", default_value_t = 20_000)]
    pub(crate) max_connections: u32,

    /// Age at which an inbound HTTP connection is to be replaced, give or take a tenth: its client is notified by GOAWAY or `Connection: close`, and what is
    /// in flight ends; none: never
    #[arg(long, env = "OUTRIGGER_MAX_CONNECTION_AGE", value_parser = duration)]
    pub(crate) max_connection_age: Option<Duration>,

    /// Longest wait for requests in flight after SIGTERM
    #[arg(long, env = "OUTRIGGER_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub(crate) drain_timeout: Duration,

    /// Where to send traces, OTLP over gRPC, such as http://127.0.0.1:4317; none: no traces
    #[arg(long, env = "OUTRIGGER_OTLP", value_parser = telemetry::endpoint)]
    pub(crate) otlp: Option<String>,

    /// Share of the traces that the mesh starts itself, 0 to 1; callers' decisions are honoured
    #[arg(long, env = "OUTRIGGER_TRACE_RATIO", default_value_t = 0.01, value_parser = ratio)]
    pub(crate) trace_ratio: f64,

    /// Which requests go to the access log: off, errors, all, sample:N (one in N)
    #[arg(long, env = "OUTRIGGER_ACCESS_LOG", default_value = "errors")]
    pub(crate) access_log: telemetry::Which,

    /// How the access log looks: json or text
    #[arg(long, env = "OUTRIGGER_ACCESS_LOG_FORMAT", default_value = "json")]
    pub(crate) access_log_format: telemetry::LineFormat,

    /// What to log, such as info or info,outrigger_sidecar=debug
    #[arg(long, env = "OUTRIGGER_LOG", default_value = "info", value_parser = logging::filter)]
    pub(crate) log_filter: String,

    /// How logs look: text or json
    #[arg(long, env = "OUTRIGGER_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: Format,
}

impl From<&RunArgs> for telemetry::TelemetryConfig {
    fn from(args: &RunArgs) -> Self {
        Self {
            access_log: args.access_log,
            access_log_format: args.access_log_format,
            otlp: args.otlp.clone().filter(|endpoint| !endpoint.is_empty()),
            trace_ratio: args.trace_ratio,
            mark: args.mark.map(|mark| mark.value()),
        }
    }
}

impl From<&RunArgs> for Scrape {
    fn from(args: &RunArgs) -> Self {
        Self { metrics: args.metrics_port, from: args.metrics_from, pages: args.scrape.clone() }
    }
}

/// A listener that stands for an address, where traffic is not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Explicit {
    pub(crate) listen: SocketAddr,
    pub(crate) stands_for: SocketAddr,
}

impl FromStr for Explicit {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parse = |address: &str| address.parse().map_err(|_| format!("`{address}` is not IP:PORT"));
        let (listen, stands_for) = s.split_once('=').ok_or_else(|| format!("`{s}` is not LISTEN=ADDRESS"))?;
        Ok(Self { listen: parse(listen)?, stands_for: parse(stands_for)? })
    }
}

/// Reads a share.
fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or_else(|| format!("`{text}` is not a number from 0 to 1"))
}

/// Reads `5s`, `250ms`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 250ms, 5s or 2m");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return Err(wrong()),
    };
    Ok(unit * number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_and_refuses_the_rest() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["", "5", "s", "5h", "-1s", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_explicit_listeners() {
        let explicit: Explicit = "127.0.0.1:1=10.0.0.1:2".parse().unwrap();
        assert_eq!(explicit.stands_for, ([10, 0, 0, 1], 2).into());
        assert!("127.0.0.1:1".parse::<Explicit>().is_err());
    }
}
