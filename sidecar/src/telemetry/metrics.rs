//! Metrics: OpenTelemetry's names in Prometheus form where there is a convention, else `outrigger_<side>_<noun>`.
//!
//! The data path adds to atomics that it finds by small keys; names, labels and text exist only when they are scraped.
//! Labels come from the mesh's configuration and from closed sets, never from a caller.

mod connections;
mod counters;
mod edges;
mod histogram;
mod labels;
mod reference;
mod requests;
mod target;

pub(crate) use connections::{ConnectionMetrics, Copied};
pub(crate) use counters::{ControlFacts, Counters, FaultKind, MirrorOutcome};
pub(crate) use edges::EdgeMetrics;
pub(crate) use labels::{Labels, PeerLabel};
pub use reference::sample_metrics;
pub(crate) use requests::{Observed, RequestMetrics};
pub(crate) use target::Target;

use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

/// Values of one metric that are rendered at a scrape: labels and value.
type Samples<'a, V> = &'a [(&'a [(&'static str, &'a str)], V)];

/// A series that nobody has added to for so long is not shown any more.
const IDLE_SECONDS: u32 = 600;

/// Writes a counter; `name` without `_total`.
fn encode_counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    samples: Samples<'_, u64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in samples {
        // An empty family would be written with empty braces.
        match labels {
            [] => metric.encode_counter::<[(&str, &str); 0], _, f64>(value, None)?,
            labels => metric.encode_family(labels)?.encode_counter::<[(&str, &str); 0], _, f64>(value, None)?,
        }
    }
    Ok(())
}

/// Writes a gauge.
fn encode_gauge(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    samples: Samples<'_, f64>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in samples {
        match labels {
            [] => metric.encode_gauge(value)?,
            labels => metric.encode_family(labels)?.encode_gauge(value)?,
        }
    }
    Ok(())
}
