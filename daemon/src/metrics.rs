//! The process's metrics, in Prometheus text form.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::registry::Registry;

use crate::exposition::{Format, Writer};

/// A registry of metrics. Clones share it.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Makes an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `with` register metrics.
    pub fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.registry.lock())
    }

    /// Writes all metrics in the OpenMetrics format.
    #[must_use]
    pub fn encode(&self) -> String {
        self.encode_as(Format::OpenMetrics)
    }

    /// Writes all metrics in a format.
    #[must_use]
    pub fn encode_as(&self, format: Format) -> String {
        let mut text = String::new();
        let encoded =
            prometheus_client::encoding::text::encode(&mut Writer::new(format, &mut text), &self.registry.lock());
        match encoded {
            Ok(()) => text,
            Err(fmt::Error) => "# a metric could not be written\n".to_owned(),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
