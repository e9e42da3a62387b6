//! `target_info`: what the metrics are of, by the attributes that spans have as their resource.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use crate::telemetry::trace::Resource;

/// Writes `target_info`, which OpenTelemetry's conventions for Prometheus ask for.
pub(crate) struct Target {
    resource: Box<dyn Fn() -> Resource + Send + Sync>,
}

impl Target {
    /// `resource` is called at each scrape.
    pub(crate) fn new(resource: impl Fn() -> Resource + Send + Sync + 'static) -> Self {
        Self { resource: Box::new(resource) }
    }
}

impl Collector for Target {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels: Vec<_> =
            (self.resource)().into_iter().map(|(name, value)| (name.replace('.', "_"), value)).collect();
        let help = "The workload, by its OpenTelemetry resource attributes";
        encoder.encode_descriptor("target", help, None, MetricType::Info)?.encode_info(&labels)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}
