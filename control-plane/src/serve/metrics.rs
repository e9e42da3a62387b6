//! What the control plane counts.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::resource::Published;

/// The control plane's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics(Arc<Families>);

#[derive(Debug, Default)]
struct Families {
    sidecars: Gauge,
    snapshot_version: Gauge,
    snapshot_time: Gauge<f64, AtomicU64>,
    source_errors: Gauge,
    route_problems: Gauge,
    encoded: Counter,
    updates: Counter,
    resources: Counter,
    acks: Counter,
    nacks: Counter,
    issued: Counter,
    #[cfg(feature = "kubernetes")]
    reviews: Counter,
    refused: Family<Labels, Counter>,
    shed: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    reason: Refusal,
}

impl Metrics {
    /// Registers all metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let m = &self.0;
        registry.register("outrigger_control_sidecars", "Connected sidecars", m.sidecars.clone());
        registry.register("outrigger_control_snapshot_version", "Snapshots made", m.snapshot_version.clone());
        registry.register(
            "outrigger_control_snapshot_timestamp_seconds",
            "When the latest snapshot was made",
            m.snapshot_time.clone(),
        );
        registry.register(
            "outrigger_control_source_errors",
            "Files that cannot be read; their last good objects are in force",
            m.source_errors.clone(),
        );
        registry.register("outrigger_control_route_problems", "Problems of routes", m.route_problems.clone());
        registry.register(
            "outrigger_control_encoded_resources",
            "Resources encoded, each for all sidecars that hold it, up to the latest snapshot",
            m.encoded.clone(),
        );
        registry.register("outrigger_control_updates", "Updates sent to sidecars", m.updates.clone());
        registry.register("outrigger_control_resources", "Resources sent to sidecars", m.resources.clone());
        registry.register("outrigger_control_acks", "Resources that sidecars took", m.acks.clone());
        registry.register("outrigger_control_nacks", "Resources that sidecars refused", m.nacks.clone());
        registry.register("outrigger_control_certificates_issued", "Leaves signed", m.issued.clone());
        #[cfg(feature = "kubernetes")]
        registry.register(
            "outrigger_control_token_reviews",
            "Tokens that the API server was asked about",
            m.reviews.clone(),
        );
        registry.register("outrigger_control_certificates_refused", "Leaves refused", m.refused.clone());
        registry.register(
            "outrigger_control_connections_shed",
            "Connections that had proved nothing, closed to make room for others",
            m.shed.clone(),
        );
        // From the start: an alert on a series that is not there never fires.
        for reason in Refusal::ALL {
            drop(m.refused.get_or_create(&Labels { reason }));
        }
    }

    /// Returns a page of all metrics, in OpenMetrics.
    pub(crate) fn sample() -> String {
        let registry = outrigger_daemon::Metrics::new();
        registry.register(|registry| Self::default().register(registry));
        registry.encode()
    }

    /// Notes a new snapshot.
    pub(crate) fn snapshot(&self, snapshot: &Published, route_problems: usize) {
        let (version, source_errors) = (snapshot.version, snapshot.state.source_errors.len());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.0.snapshot_version.set(i64::try_from(version).unwrap_or(i64::MAX));
        self.0.snapshot_time.set(now.as_secs_f64());
        self.0.source_errors.set(i64::try_from(source_errors).unwrap_or(i64::MAX));
        self.0.route_problems.set(i64::try_from(route_problems).unwrap_or(i64::MAX));
        self.0.encoded.inc_by(snapshot.memo.made().saturating_sub(self.0.encoded.get()));
    }

    pub(super) fn connected(&self) {
        self.0.sidecars.inc();
    }

    pub(super) fn disconnected(&self) {
        self.0.sidecars.dec();
    }

    pub(super) fn sent(&self, resources: usize) {
        self.0.updates.inc();
        self.0.resources.inc_by(u64::try_from(resources).unwrap_or(0));
    }

    pub(super) fn acked(&self, resources: usize) {
        self.0.acks.inc_by(u64::try_from(resources).unwrap_or(0));
    }

    pub(super) fn nacked(&self) {
        self.0.nacks.inc();
    }

    pub(super) fn shed(&self) {
        self.0.shed.inc();
    }

    pub(super) fn issued(&self) {
        self.0.issued.inc();
    }

    #[cfg(feature = "kubernetes")]
    pub(super) fn reviewed(&self) {
        self.0.reviews.inc();
    }

    pub(super) fn refused(&self, reason: Refusal) {
        self.0.refused.get_or_create(&Labels { reason }).inc();
    }
}

/// Why a certificate was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    TokenMalformed,
    TokenForged,
    TokenExpired,
    TokenReplayed,
    TokenAudience,
    TokenRefused,
    TokenUnbound,
    OtherAddress,
    WorkloadUnknown,
    WorkloadReplaced,
    LeafElsewhere,
    IdentityChanged,
    NoProof,
    Csr,
    TooMany,
    NotReady,
    Internal,
}

impl Refusal {
    const ALL: [Self; 17] = [
        Self::TokenMalformed,
        Self::TokenForged,
        Self::TokenExpired,
        Self::TokenReplayed,
        Self::TokenAudience,
        Self::TokenRefused,
        Self::TokenUnbound,
        Self::OtherAddress,
        Self::WorkloadUnknown,
        Self::WorkloadReplaced,
        Self::LeafElsewhere,
        Self::IdentityChanged,
        Self::NoProof,
        Self::Csr,
        Self::TooMany,
        Self::NotReady,
        Self::Internal,
    ];

    /// The words that start the status message, the log line's `reason` and the metric's label. They are stable:
    /// sidecars, tests and runbooks look for them.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TokenMalformed => "token malformed",
            Self::TokenForged => "token forged",
            Self::TokenExpired => "token expired",
            Self::TokenReplayed => "token replayed",
            Self::TokenAudience => "token for another audience",
            Self::TokenRefused => "token refused",
            Self::TokenUnbound => "token of no pod",
            Self::OtherAddress => "token from another address",
            Self::WorkloadUnknown => "workload unknown",
            Self::WorkloadReplaced => "workload replaced",
            Self::LeafElsewhere => "leaf from another address",
            Self::IdentityChanged => "identity changed",
            Self::NoProof => "no proof of identity",
            Self::Csr => "csr invalid",
            Self::TooMany => "too many requests",
            Self::NotReady => "not ready",
            Self::Internal => "internal error",
        }
    }
}

impl EncodeLabelValue for Refusal {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.reason(), encoder)
    }
}
