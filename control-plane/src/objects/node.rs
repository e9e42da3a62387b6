//! Node, of which the mesh reads only where it stands.

use std::sync::Arc;

use serde::Deserialize;

use super::Metadata;

/// A Kubernetes node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub meta: Metadata,
    /// Its zone, empty when unknown.
    pub zone: Arc<str>,
}

/// The object as written.
#[derive(Deserialize)]
pub(super) struct Written {
    metadata: Metadata,
}

impl From<Written> for Node {
    fn from(Written { mut metadata }: Written) -> Self {
        let label = |name: &str| metadata.labels.get(name).map(|zone| Arc::from(zone.as_str()));
        let zone = label(ZONE).or_else(|| label(OLD_ZONE)).unwrap_or_default();
        // Nothing else is asked for, and nodes have many.
        metadata.labels.clear();
        metadata.annotations.clear();
        Self { meta: metadata, zone }
    }
}

const ZONE: &str = "topology.kubernetes.io/zone";

/// Before Kubernetes 1.17, and on some bare-metal clusters still.
const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
