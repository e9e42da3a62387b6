//! Whom the control plane knows: the workloads of the latest snapshot, and the identities that they bear.

use std::net::IpAddr;
use std::sync::Arc;

use outrigger_identity::{Identity, TrustDomain};
use outrigger_proto::WorkloadName;

use super::metrics::Refusal;
use crate::ca::Subject;
use crate::latest::Latest;
use crate::objects::Workload;
use crate::state::Reading;

/// A refusal with what there is to say about it.
pub(super) type Refused = (Refusal, String);

/// Looks workloads up.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    latest: Latest,
    domain: TrustDomain,
}

impl Known {
    /// Looks into what `latest` publishes.
    pub(crate) fn new(latest: Latest, domain: TrustDomain) -> Self {
        Self { latest, domain }
    }

    /// Says whether what existed at the start is known.
    pub(super) fn synced(&self) -> bool {
        self.latest.get().state.synced()
    }

    /// Finds whom a leaf for this workload names.
    pub(super) fn subject(&self, name: &WorkloadName) -> Result<(Subject, Arc<Workload>), Refused> {
        let snapshot = self.latest.get();
        let Some(workload) = snapshot.state.workload(&name.namespace, &name.name) else {
            let refusal = match snapshot.state.reading() {
                Reading::Wholly => Refusal::WorkloadUnknown,
                // It may be in what cannot be read.
                Reading::Started | Reading::Partly => Refusal::NotReady,
            };
            return Err((refusal, format!("there is no Workload {name}")));
        };
        if workload.ended {
            return Err((Refusal::WorkloadUnknown, format!("{name} has run to its end")));
        }
        Ok((self.subject_of(workload)?, workload.clone()))
    }

    /// Returns whom a leaf for this workload names.
    pub(super) fn subject_of(&self, workload: &Workload) -> Result<Subject, Refused> {
        let identity = Identity::new(&self.domain, &workload.meta.namespace, &workload.service_account);
        let identity = identity.map_err(|error| (Refusal::Internal, error.to_string()))?;
        let uid = Some(workload.meta.uid.clone()).filter(|uid| !uid.is_empty());
        Ok(Subject { identity, workload: Some(workload.meta.workload_name()), uid })
    }

    /// Finds a pod, however it stands with it.
    #[cfg(feature = "kubernetes")]
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Workload>> {
        self.latest.get().state.pods.get(namespace, name).cloned()
    }

    /// Finds who is at an address of its own.
    #[cfg(feature = "kubernetes")]
    pub(super) fn at(&self, address: IpAddr) -> Option<Arc<Workload>> {
        self.latest.get().workload_at(address, 0).cloned()
    }
}

/// Refuses what does not come from one of the workload's addresses: a token that was stolen is no good anywhere else. On
/// loopback every process has the same address.
pub(super) fn check_address(workload: &Workload, from: IpAddr) -> Result<(), Refused> {
    let here = |address: &IpAddr| address.is_loopback() || address.to_canonical() == from;
    if workload.addresses.is_empty() || workload.addresses.iter().any(here) {
        return Ok(());
    }
    let addresses: Vec<String> = workload.addresses.iter().map(ToString::to_string).collect();
    let (name, addresses) = (workload.meta.workload_name(), addresses.join(" and "));
    Err((Refusal::OtherAddress, format!("{name} is at {addresses}, and this came from {from}")))
}
