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
        let mut labels: Vec<(String, String)> = Vec::new();
        for (name, value) in (self.resource)() {
            let name = label(&name);
            // Names may differ only in what no label has.
            if labels.iter().all(|(known, _)| *known != name) {
                labels.push((name, value));
            }
        }
        let help = "The workload, by its OpenTelemetry resource attributes";
        encoder.encode_descriptor("target", help, None, MetricType::Info)?.encode_info(&labels)
    }
}

/// The name of an attribute as one of a label: letters, digits and `_`, no digit first.
fn label(name: &str) -> String {
    let is_digit_first = name.starts_with(|first: char| first.is_ascii_digit());
    let characters = name.chars().map(|character| if character.is_ascii_alphanumeric() { character } else { '_' });
    is_digit_first.then_some('_').into_iter().chain(characters).collect()
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

#[cfg(test)]
mod tests {
    use outrigger_daemon::Metrics;

    use super::*;

    #[test]
    fn attributes_of_any_name_make_labels_that_are_valid() {
        let attributes = [("service.name", "a\"b\n"), ("team-name", "x"), ("team.name", "y"), ("1/ä", "z")];
        let target = Target::new(move || attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        let metrics = Metrics::new();
        metrics.register(|registry| registry.register_collector(Box::new(target)));

        let page = metrics.encode();

        let info = page.lines().find(|line| line.starts_with("target_info")).unwrap();
        assert_eq!(info, r#"target_info{service_name="a\"b\n",team_name="x",_1__="z"} 1"#);
    }
}
