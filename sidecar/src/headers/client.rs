//! Who sent a request, for an application that cannot see it: every connection comes from its own pod's sidecar. The headers are the mesh's own
//! (`outrigger-…`), which [`super::asserted`] takes out of every request first. Requests that come as bytes are found
//! ([`crate::detect::watch`]), except on ports that are declared to carry something else (docs/reference/security.md).

use std::sync::Arc;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::caller::Caller;

/// The SPIFFE id that the client has proved; absent for a client without mesh TLS.
const ID: HeaderName = HeaderName::from_static("outrigger-client-id");

/// The address that the connection came from.
const ADDRESS: HeaderName = HeaderName::from_static("outrigger-client-address");

/// Whether requests to the workload say who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ClientHeaders {
    /// They do not.
    #[default]
    None,
    /// They do, in outrigger-client-id and outrigger-client-address.
    Add,
}

/// What the requests of one connection say: made once, and shared by them.
#[derive(Clone, Debug)]
pub(crate) struct ClientNames(Arc<[(HeaderName, HeaderValue)]>);

impl ClientNames {
    /// Names the client of a connection, where that is wanted.
    pub(crate) fn of(setting: ClientHeaders, caller: &Caller) -> Option<Self> {
        if setting == ClientHeaders::None {
            return None;
        }
        let identity = caller.peer.as_ref().map(|peer| (ID, peer.identity.to_string()));
        let address = Some((ADDRESS, caller.address.ip().to_string()));
        let header = |(name, text)| Some((name, HeaderValue::try_from(text).ok()?));
        Some(Self(identity.into_iter().chain(address).filter_map(header).collect()))
    }

    /// Writes them.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &*self.0 {
            headers.insert(name, value.clone());
        }
    }
}
