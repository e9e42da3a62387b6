//! Who is who in the mesh.
//!
//! A workload's identity is a SPIFFE id in the URI SAN of its leaf certificate. This crate parses ids, holds trust
//! bundles and credentials, and makes the rustls settings with which two sidecars prove their identities to each
//! other. It knows nothing of routes, policy or Kubernetes.

mod bundle;
mod credentials;
mod id;
mod provider;
mod tls;
mod verify;

pub use bundle::{BundleError, TrustBundle};
pub use credentials::{Credentials, CredentialsError, KeyPair};
pub use id::{IdError, Identity, TrustDomain};
pub use tls::{Alpn, TlsError, client_config, control_plane_client_config, control_plane_server_config, server_config};
pub use verify::{Peer, PeerError, peer_of, verify_failure};
