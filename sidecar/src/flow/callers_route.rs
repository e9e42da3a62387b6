//! The path that a route has matched goes from the caller's sidecar to the server's, which has no routes and names its span by it.
//!
//! Only a request that has spans carries it. It is believed of who has proved to be of the mesh, and only as a name.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::balance::Endpoint;
use crate::direction::Direction;
use crate::flow::Flow;

/// The path of the match as the route wrote it.
pub(crate) const ROUTE: HeaderName = HeaderName::from_static("outrigger-route");

/// Routes may have longer ones, which no span needs.
const LONGEST: usize = 256;

/// Writes it into the headers of an attempt at a meshed endpoint.
pub(crate) fn tell(flow: &Flow, to: &Endpoint, headers: &mut HeaderMap) {
    if flow.trace.get().is_none() || flow.direction == Direction::Inbound || !to.has_sidecar() {
        return;
    }
    let value = {
        let facts = flow.facts.lock();
        let pattern = facts.rule.as_ref().zip(facts.matched).map_or("", |(rule, matched)| rule.pattern(matched));
        if pattern.is_empty() || pattern.len() > LONGEST { None } else { HeaderValue::from_str(pattern).ok() }
    };
    if let Some(value) = value {
        headers.insert(ROUTE, value);
    }
}

/// Keeps what a request's header says, which has been taken out of the request.
pub(crate) fn hear(flow: &Flow, value: &HeaderValue) {
    let is_meshed = flow.caller.as_ref().is_some_and(|caller| caller.peer.is_some());
    if let Ok(text) = value.to_str()
        && is_meshed
        && text.len() <= LONGEST
    {
        // The first of several counts.
        let _ = flow.callers_route.set(text.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outrigger_identity::Peer;

    use super::*;
    use crate::admission::tests::place;
    use crate::caller::Caller;

    #[tokio::test]
    async fn only_who_is_of_the_mesh_is_believed_and_only_so_much() {
        let identity: outrigger_identity::Identity = "spiffe://mesh.local/ns/shop/sa/web".parse().unwrap();
        let long = "/x".repeat(LONGEST);
        for (is_meshed, values, want) in [
            (true, &["/items"][..], "/items"),
            (false, &["/items"], ""),
            (true, &["/items", "/other"], "/items"),
            (true, &[&long], ""),
        ] {
            let peer = is_meshed.then(|| Peer { identity: identity.clone(), workload: None });
            let address = ([10, 0, 0, 9], 40_000).into();
            let caller = Caller::new(peer, address, place());
            let flow = Flow::new(Direction::Inbound, false, Some(Arc::new(caller)));

            for value in values {
                hear(&flow, &HeaderValue::from_str(value).unwrap());
            }

            assert_eq!(flow.callers_route(), want);
        }
    }
}
