//! Names of resources, as text on the wire and parsed everywhere else.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::sync::Arc;

/// A port of a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePort {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Service name.
    pub name: Arc<str>,
    /// The service's port, not the target port.
    pub port: NonZeroU16,
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// A workload's (pod's) name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadName {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod or Workload name.
    pub name: Arc<str>,
}

impl fmt::Display for WorkloadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for WorkloadName {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError { key: s.chars().take(256).collect() };
        let (namespace, name) = s.split_once('/').ok_or_else(wrong)?;
        if !is_name(namespace) || !is_name(name) {
            return Err(wrong());
        }
        Ok(Self { namespace: namespace.into(), name: name.into() })
    }
}

/// The name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `mesh`: settings of the whole mesh.
    Mesh,
    /// `address/IP:PORT`: what an original destination is.
    Address(SocketAddr),
    /// `service/NAMESPACE/NAME/PORT`: protocol and routes.
    Service(ServicePort),
    /// `endpoints/NAMESPACE/NAME/PORT/SHARD`: a part of a service's endpoints.
    Endpoints(ServicePort, u16),
    /// `workload/NAMESPACE/NAME`: what a sidecar needs to know of its own workload.
    Workload(WorkloadName),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("mesh"),
            Self::Address(address) => write!(f, "address/{address}"),
            Self::Service(s) => write!(f, "service/{}/{}/{}", s.namespace, s.name, s.port),
            Self::Endpoints(s, shard) => write!(f, "endpoints/{}/{}/{}/{shard}", s.namespace, s.name, s.port),
            Self::Workload(w) => write!(f, "workload/{}/{}", w.namespace, w.name),
        }
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(s: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError { key: s.chars().take(256).collect() };
        if s.len() > 1024 {
            return Err(wrong());
        }
        let parts: Vec<&str> = s.split('/').collect();
        let service = |namespace: &str, name: &str, port: &str| {
            if !is_name(namespace) || !is_name(name) {
                return Err(wrong());
            }
            let port = port.parse().map_err(|_| wrong())?;
            Ok(ServicePort { namespace: namespace.into(), name: name.into(), port })
        };
        match parts[..] {
            ["mesh"] => Ok(Self::Mesh),
            ["address", address] => address.parse().map(Self::Address).map_err(|_| wrong()),
            ["service", namespace, name, port] => Ok(Self::Service(service(namespace, name, port)?)),
            ["endpoints", namespace, name, port, shard] => {
                Ok(Self::Endpoints(service(namespace, name, port)?, shard.parse().map_err(|_| wrong())?))
            }
            ["workload", namespace, name] => {
                format!("{namespace}/{name}").parse().map(Self::Workload).map_err(|_| wrong())
            }
            _ => Err(wrong()),
        }
    }
}

/// Kubernetes object names: DNS subdomain characters (RFC 1123).
fn is_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// A text that names no resource.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` names no resource")]
pub struct KeyError {
    /// The text, cut short.
    pub key: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes() {
        for text in [
            "mesh",
            "address/10.96.0.1:80",
            "address/[fd00::1]:443",
            "service/shop/web/8080",
            "endpoints/shop/web/8080/3",
            "workload/shop/web-7d9.a",
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "",
            "mesh/",
            "address/x",
            "service/a/b",
            "service/a/b/0",
            "service/a/b/99999",
            "service//b/1",
            "workload/A/b",
            "what/a",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text} was accepted");
        }
    }
}
