//! Request headers in which a mesh asserts who sent a request. An application that reads one believes that a proxy verified it; so none
//! passes that came from outside of this mesh's own assertion: not from a client of the plaintext port, not from another workload, whose
//! certificate says who it is and not whom it speaks for.
//!
//! What describes the way of a request, and is set by every ingress (`forwarded`, `x-forwarded-for`, `x-forwarded-proto`, `x-real-ip`), passes
//! as it does without a mesh: whom to believe about it is the application's decision. So does what an application's own ingress asserts of TLS
//! clients under names of its own (`ssl-client-verify`, `x-ssl-cert`). See `docs/reference/security.md`.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// Envoy and what is built on it; Linkerd.
const OF_OTHER_MESHES: [&str; 2] = ["x-forwarded-client-cert", "l5d-client-id"];

/// This mesh's own, those to come included.
const OWN: &str = "outrigger-";

/// Says whether no request that comes in may carry this, and no message as a trailer.
pub(crate) fn asserts_identity(name: &HeaderName) -> bool {
    OF_OTHER_MESHES.iter().any(|known| is(name, known)) || is_own(name)
}

/// This mesh alone may say this, which holds for requests that leave a workload, too.
fn is_own(name: &HeaderName) -> bool {
    name.as_str().get(..OWN.len()).is_some_and(|prefix| is_same(prefix, OWN))
}

fn is(name: &HeaderName, known: &str) -> bool {
    name.as_str().len() == known.len() && is_same(name.as_str(), known)
}

/// CGI and what follows it (WSGI, Rack, PHP) do not tell `_` from `-`.
fn is_same(name: &str, known: &str) -> bool {
    name.bytes().zip(known.bytes()).all(|(byte, other)| byte == other || (byte == b'_' && other == b'-'))
}

/// What becomes of the headers of other meshes and proxies in requests to the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ClientCertHeaders {
    /// They are removed.
    #[default]
    Remove,
    /// They reach the application, which must know whom to believe: an ingress that verified the client sends them.
    Keep,
}

/// Which headers are taken from requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asserted {
    /// All: at the workload that is to believe them.
    All,
    /// This mesh's own alone: a workload may be the ingress that verified a client, and tell others outside of the mesh.
    Own,
}

impl Asserted {
    /// For requests that come in.
    pub(crate) fn inbound(setting: ClientCertHeaders) -> Self {
        match setting {
            ClientCertHeaders::Remove => Self::All,
            ClientCertHeaders::Keep => Self::Own,
        }
    }

    /// Takes them out of a request's headers; `heard` gets each.
    pub(crate) fn remove(self, headers: &mut HeaderMap, mut heard: impl FnMut(&HeaderName, &HeaderValue)) {
        let forbidden = match self {
            Self::All => asserts_identity,
            Self::Own => is_own,
        };
        // Hardly any message has one: a look at the names costs less than hashing each that may not be there.
        while let Some(name) = headers.keys().find(|name| forbidden(name)).cloned() {
            if let Some(value) = headers.remove(&name) {
                heard(&name, &value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(asserted: Asserted, names: &[&'static str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(*name, HeaderValue::from_static("one"));
            headers.append(*name, HeaderValue::from_static("two"));
        }
        asserted.remove(&mut headers, |_, _| {});
        let mut names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_asserts_an_identity_goes_and_what_describes_the_way_stays() {
        let own = ["outrigger-client-id", "outrigger-x", "outrigger_client_id"];
        let others = ["l5d-client-id", "l5d_client_id", "x-forwarded-client-cert", "x_forwarded-client_cert"];
        let describing = [
            "authorization",
            "forwarded",
            "outrigger",
            "ssl-client-verify",
            "x-forwarded-client",
            "x-forwarded-for",
            "x-real-ip",
        ];
        let all = [&own[..], &others, &describing].concat();

        assert_eq!(left(Asserted::All, &all), describing);
        let mut kept = [&others[..], &describing].concat();
        kept.sort_unstable();
        assert_eq!(left(Asserted::Own, &all), kept);
    }
}
