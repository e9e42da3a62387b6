//! One sidecar's reports: when it is asked for them, and whom they count for.

use std::sync::Arc;
use std::time::Duration;

use outrigger_identity::Peer;
use outrigger_proto::wire;

use crate::observed::{Observed, Reports, Source};
use crate::resource::{Published, service_name};

/// The reports of one stream.
#[derive(Debug)]
pub(super) struct Reporting {
    reports: Reports,
    /// What the stream's certificate names, and what the configuration says of that.
    source: Source,
    /// The name of the very workload.
    name: Option<Arc<str>>,
}

impl Reporting {
    /// A stream begins. `share` names whose budget pays for it.
    pub(super) fn new(observed: &Observed, share: Arc<str>, peer: &Peer, hello: &wire::Hello) -> Self {
        let can_report = hello.capabilities.iter().any(|capability| capability == CAPABILITY);
        let service_account: Arc<str> = peer.identity.service_account().into();
        let name: Option<Arc<str>> = peer.workload.as_deref().map(Arc::from);
        let workload = name.clone().unwrap_or_else(|| service_account.clone());
        let source = Source { namespace: peer.identity.namespace().into(), workload, service_account };
        Self { reports: observed.open(share, can_report), source, name }
    }

    /// Waits until the sidecar is to be told how often to report, and returns that.
    pub(super) async fn asked(&mut self) -> wire::Observe {
        let every = self.reports.asked().await;
        let every_ms = every.map_or(0, |every: Duration| u32::try_from(every.as_millis()).unwrap_or(u32::MAX));
        wire::Observe { every_ms }
    }

    /// Takes a report. It counts for the workload, by the name that its pods have in common now.
    pub(super) fn take(&mut self, snapshot: &Published, report: &wire::Report) {
        let workload = self.name.as_ref().and_then(|name| snapshot.state.workload(&self.source.namespace, name));
        if let Some(workload) = workload
            && *service_name(workload) != *self.source.workload
        {
            self.source.workload = service_name(workload).into();
        }
        self.reports.take(&self.source, report);
    }
}

/// What a sidecar says in its Hello that can report.
const CAPABILITY: &str = "reports";
