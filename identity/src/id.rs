//! SPIFFE ids of workloads (SPIFFE-ID section 2), in the one form that the mesh issues.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name under which one authority issues identities, such as `cluster.local`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// Returns the trust domain as text, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        // SpiffeId accepts "spiffe://td" too, which is not a trust domain's name here.
        if s.contains('/') || s.contains(':') {
            return Err(IdError::Syntax { id: s.to_owned() });
        }
        let domain = spiffe::TrustDomain::new(s).map_err(|_| IdError::Syntax { id: s.to_owned() })?;
        Ok(Self(domain.to_string().as_str().into()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A workload's identity: `spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>`.
///
/// Equality is that of the whole id, byte for byte. Identities are compared and never turned into patterns.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    uri: Arc<str>,
    // Ends of the parts inside `uri`.
    domain_end: u16,
    namespace_end: u16,
}

const SCHEME: &str = "spiffe://";

impl Identity {
    /// Makes the id of a service account.
    ///
    /// # Errors
    /// When a part is empty or holds a character that a SPIFFE path segment may not hold.
    pub fn new(domain: &TrustDomain, namespace: &str, service_account: &str) -> Result<Self, IdError> {
        format!("{SCHEME}{domain}/ns/{namespace}/sa/{service_account}").parse()
    }

    /// Returns the whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.uri
    }

    /// Returns the trust domain's name.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.uri[SCHEME.len()..usize::from(self.domain_end)]
    }

    /// Returns the Kubernetes namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.uri[usize::from(self.domain_end) + "/ns/".len()..usize::from(self.namespace_end)]
    }

    /// Returns the service account's name.
    #[must_use]
    pub fn service_account(&self) -> &str {
        &self.uri[usize::from(self.namespace_end) + "/sa/".len()..]
    }
}

impl FromStr for Identity {
    type Err = IdError;

    fn from_str(s: &str) -> Result<Self, IdError> {
        let syntax = || IdError::Syntax { id: s.chars().take(256).collect() };
        // SpiffeId checks characters, lengths and dot segments, and lower-cases the trust domain.
        let id = spiffe::SpiffeId::new(s).map_err(|_| syntax())?;
        let uri = id.to_string();
        let path = uri.strip_prefix(SCHEME).and_then(|rest| rest.find('/')).ok_or_else(syntax)?;
        let domain_end = SCHEME.len() + path;
        let segments: Vec<&str> = uri[domain_end + 1..].split('/').collect();
        let ["ns", namespace, "sa", _] = segments[..] else {
            return Err(IdError::Form { id: uri });
        };
        let namespace_end = domain_end + "/ns/".len() + namespace.len();
        Ok(Self {
            domain_end: u16::try_from(domain_end).map_err(|_| syntax())?,
            namespace_end: u16::try_from(namespace_end).map_err(|_| syntax())?,
            uri: uri.into(),
        })
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

/// Why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a SPIFFE id at all.
    #[error("`{id}` is not a SPIFFE id")]
    Syntax { id: String },
    /// A SPIFFE id, but not of a workload.
    #[error("`{id}` is not of the form spiffe://<trust-domain>/ns/<namespace>/sa/<service-account>")]
    Form { id: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_apart_what_it_puts_together() {
        let domain: TrustDomain = "Cluster.Local".parse().unwrap();
        let id = Identity::new(&domain, "shop", "cart.v1").unwrap();

        assert_eq!(id.as_str(), "spiffe://cluster.local/ns/shop/sa/cart.v1");
        assert_eq!((id.trust_domain(), id.namespace(), id.service_account()), ("cluster.local", "shop", "cart.v1"));
        assert_eq!(id.as_str().parse::<Identity>().unwrap(), id);
    }

    #[test]
    fn refuses_what_is_not_a_workload_id() {
        for text in [
            "",
            "spiffe://",
            "spiffe://a",
            "spiffe://a/ns/b",
            "spiffe://a/ns/b/sa",
            "spiffe://a/ns/b/sa/",
            "spiffe://a/ns//sa/c",
            "spiffe://a/ns/b/sa/c/d",
            "spiffe://a/ns/b/sa/..",
            "spiffe://a/ns/b/sa/c?x",
            "spiffe://a/ns/b/sa/*/",
            "spiffe://a:80/ns/b/sa/c",
            "https://a/ns/b/sa/c",
            "spiffe://a/NS/b/sa/c",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn refuses_names_that_would_forge_another_path() {
        let domain: TrustDomain = "a".parse().unwrap();

        assert!(Identity::new(&domain, "b/sa/admin", "c").is_err());
        assert!(Identity::new(&domain, "b", "c/../d").is_err());
        assert!("a/ns/x".parse::<TrustDomain>().is_err());
    }
}
