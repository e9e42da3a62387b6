//! Settings that are fixed for the life of the process. Everything else comes from the objects.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use outrigger_daemon::logging;
use outrigger_identity::TrustDomain;
use outrigger_proto::WorkloadName;
use outrigger_proto::model::{Egress, InboundMode};

use crate::ca;

/// The control plane of the Outrigger service mesh.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "outrigger-control-plane")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Serve certificates and configuration to sidecars.
    Run(Box<RunArgs>),
    /// Mint a join token for a workload and print it: good once, for that workload only.
    Token(TokenArgs),
    /// Print the version.
    Version,
}

/// Settings of `run`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// What to serve.
    #[command(flatten)]
    pub config: Config,

    /// What is logged, as a tracing filter: `info`, or `info,outrigger_control_plane=debug`.
    #[arg(long, env = "OUTRIGGER_LOG_FILTER", default_value = "info", value_parser = outrigger_daemon::logging::filter)]
    pub log_filter: String,

    /// How log lines look: `text` or `json`.
    #[arg(long, env = "OUTRIGGER_LOG_FORMAT", default_value = "text")]
    pub log_format: logging::Format,
}

/// What one control plane serves, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    /// Where the objects and the certificate authority are: `files` when --config-dir is given, else `kubernetes`.
    #[arg(long, env = "OUTRIGGER_SOURCE", value_enum)]
    pub source: Option<Source>,

    /// Folder of the YAML objects; read again when it changes.
    #[arg(long, env = "OUTRIGGER_CONFIG_DIR", value_name = "DIR")]
    pub config_dir: Option<PathBuf>,

    /// Folder of the certificate authority; made when it is missing. Its `root.pem` is what sidecars need to trust us.
    #[arg(long, env = "OUTRIGGER_CA_DIR", value_name = "DIR")]
    pub ca_dir: Option<PathBuf>,

    /// In Kubernetes: how to reach the API server. Without it: by the pod's ServiceAccount, or as KUBECONFIG says.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// In Kubernetes: the namespace of the control plane, where it keeps its Secrets and its Lease.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME", default_value = NAMESPACE)]
    pub namespace: String,

    /// In Kubernetes: the name of this replica among the others, made up when it is not given.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub replica: Option<String>,

    /// In Kubernetes: the MutatingWebhookConfiguration of the injector, whose `caBundle` is kept current.
    #[arg(long, env = "OUTRIGGER_INJECTOR_WEBHOOK", value_name = "NAME", default_value = WEBHOOK)]
    pub injector_webhook: String,

    /// In Kubernetes: how long a sidecar stays with one replica, give or take a third, such as `30m`. It comes back with what
    /// it holds and gets what differs.
    #[arg(long, env = "OUTRIGGER_STREAM_LIFETIME", default_value = "30m", value_parser = duration)]
    pub stream_lifetime: Duration,

    /// Where sidecars connect to.
    #[arg(long, env = "OUTRIGGER_LISTEN", value_name = "IP:PORT", default_value = "127.0.0.1:4180")]
    pub listen: SocketAddr,

    /// Where /ready, /live, /metrics, /config and /sidecars are. Keep it on loopback: it has no authentication.
    #[arg(long, env = "OUTRIGGER_ADMIN", value_name = "IP:PORT", default_value = "127.0.0.1:4182")]
    pub admin: SocketAddr,

    /// The first part of every identity.
    #[arg(long, env = "OUTRIGGER_TRUST_DOMAIN", value_name = "NAME", default_value = "mesh.local")]
    pub trust_domain: TrustDomain,

    /// Default inbound mode: `permissive` accepts mutual TLS and plaintext, `strict` mutual TLS only. The annotation `config.outrigger.io/inbound` on a pod or namespace overrides it.
    #[arg(long, env = "OUTRIGGER_INBOUND_MODE", default_value = "permissive", value_parser = inbound)]
    pub inbound_mode: InboundMode,

    /// Whether workloads may dial what the mesh does not know: `allow` or `deny`.
    #[arg(long, env = "OUTRIGGER_EGRESS", default_value = "allow", value_parser = egress)]
    pub egress: Egress,

    /// How long a workload's certificate is valid, such as `24h`. Sidecars renew near half of it.
    #[arg(long, env = "OUTRIGGER_LEAF_LIFETIME", default_value = "24h", value_parser = leaf_lifetime)]
    pub leaf_lifetime: Duration,
}

/// Settings of `token`.
#[derive(Clone, Debug, clap::Args)]
pub struct TokenArgs {
    /// The workload, as NAMESPACE/NAME.
    pub workload: WorkloadName,

    /// Folder of the certificate authority, the one that the control plane runs with.
    #[arg(long, env = "OUTRIGGER_CA_DIR", value_name = "DIR")]
    pub ca_dir: PathBuf,

    /// How long the token is good for, such as `10m`.
    #[arg(long, default_value = "10m", value_parser = duration)]
    pub lifetime: Duration,
}

/// Where objects and the certificate authority are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// In two folders.
    Files,
    /// In a Kubernetes cluster: found by the pod's ServiceAccount, or by KUBECONFIG.
    Kubernetes,
}

impl Config {
    /// Returns where objects come from: what was asked for, else what the folders say.
    #[must_use]
    pub fn source(&self) -> Source {
        let given = if self.config_dir.is_some() { Source::Files } else { Source::Kubernetes };
        self.source.unwrap_or(given)
    }

    /// The defaults, for a cluster and ports that the system chooses.
    #[must_use]
    pub fn for_cluster(kubeconfig: PathBuf, namespace: String) -> Self {
        Self { kubeconfig: Some(kubeconfig), namespace, source: Some(Source::Kubernetes), ..Self::local() }
    }

    /// The defaults, for two folders and ports that the system chooses.
    #[must_use]
    pub fn for_folders(config_dir: PathBuf, ca_dir: PathBuf) -> Self {
        Self { config_dir: Some(config_dir), ca_dir: Some(ca_dir), ..Self::local() }
    }

    fn local() -> Self {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            source: None,
            config_dir: None,
            ca_dir: None,
            kubeconfig: None,
            namespace: NAMESPACE.to_owned(),
            replica: None,
            injector_webhook: WEBHOOK.to_owned(),
            stream_lifetime: STREAM_LIFETIME,
            listen: any_port,
            admin: any_port,
            #[expect(clippy::expect_used, reason = "a literal")]
            trust_domain: "mesh.local".parse().expect("mesh.local is a trust domain"),
            inbound_mode: InboundMode::Permissive,
            egress: Egress::Allow,
            leaf_lifetime: LEAF_LIFETIME,
        }
    }
}

fn inbound(text: &str) -> Result<InboundMode, String> {
    match text {
        "permissive" => Ok(InboundMode::Permissive),
        "strict" => Ok(InboundMode::Strict),
        _ => Err("neither `permissive` nor `strict`".to_owned()),
    }
}

fn egress(text: &str) -> Result<Egress, String> {
    match text {
        "allow" => Ok(Egress::Allow),
        "deny" => Ok(Egress::Deny),
        _ => Err("neither `allow` nor `deny`".to_owned()),
    }
}

fn leaf_lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = duration(text)?;
    // Shorter, and renewals would chase one another; longer than the issuer makes no sense.
    let (least, most) = (Duration::from_secs(10), Duration::from_secs(30 * 24 * 60 * 60));
    if !(least..=most).contains(&lifetime) {
        return Err("must be from 10s to 30d".to_owned());
    }
    Ok(lifetime)
}

fn duration(text: &str) -> Result<Duration, String> {
    // jiff leaves days to calendars; here, as in the chart's values, one is 24 hours.
    if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u32>().ok()).filter(|days| *days > 0) {
        return Ok(Duration::from_secs(24 * 60 * 60) * days);
    }
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|e| e.to_string())?;
    Duration::try_from(parsed).ok().filter(|parsed| !parsed.is_zero()).ok_or_else(|| "must be more than 0s".to_owned())
}

const NAMESPACE: &str = "outrigger-system";
const WEBHOOK: &str = "outrigger-injector";
const STREAM_LIFETIME: Duration = Duration::from_secs(30 * 60);
const LEAF_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

const _: () = assert!(ca::TOKEN_LIFETIME.as_secs() == 10 * 60, "the default of --lifetime says 10m");
