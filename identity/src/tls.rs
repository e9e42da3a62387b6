//! TLS settings: TLS 1.3 only, both sides prove their identity, ALPN says what the bytes inside are.

use std::sync::Arc;

use rustls::client::{ClientConfig, Resumption};
use rustls::server::{NoServerSessionStorage, ServerConfig};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;

use crate::provider::provider;
use crate::verify::{AnyClient, ExactServer};
use crate::{Credentials, Identity, TrustBundle};

/// What a mesh connection carries. The names tell mesh TLS from an app's own TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// HTTP/1.1, as the app spoke it.
    Http1,
    /// HTTP/2, as the app spoke it.
    Http2,
    /// HTTP/1.1 requests of the app, carried as streams of one HTTP/2 connection.
    Http1InHttp2,
    /// Connections of bytes, one after the other; the accepting side says of each whether the app took it.
    Tunnel,
    /// Bytes of one connection, as sidecars of older versions carry them.
    Opaque,
}

impl Alpn {
    /// All protocols. A client names exactly one, and for bytes the older form as well: the first in this order is agreed on.
    pub const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Http1InHttp2, Self::Tunnel, Self::Opaque];

    /// Returns the protocol id as it appears in the ClientHello (RFC 7301).
    #[must_use]
    pub fn id(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"outrigger/http1",
            Self::Http2 => b"outrigger/http2",
            Self::Http1InHttp2 => b"outrigger/http1-in-http2",
            Self::Opaque => b"outrigger/opaque",
            Self::Tunnel => b"outrigger/tunnel",
        }
    }

    /// Finds the protocol of an ALPN id; `None` for an app's own protocols.
    #[must_use]
    pub fn from_id(id: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.id() == id)
    }
}

/// Makes settings to dial one endpoint: it must prove `expected`.
///
/// # Errors
/// When the cryptography provider cannot do TLS 1.3.
pub fn client_config(
    own: &Credentials,
    bundle: &TrustBundle,
    expected: &Identity,
    alpn: Alpn,
) -> Result<ClientConfig, TlsError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // our verifier checks the chain and, beyond it, the exact identity
        .with_custom_certificate_verifier(Arc::new(ExactServer::new(expected.clone(), bundle.clone())))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified().clone())));
    config.alpn_protocols = vec![alpn.id().to_vec()];
    if alpn == Alpn::Tunnel {
        // A sidecar of an older version knows this one alone.
        config.alpn_protocols.push(Alpn::Opaque.id().to_vec());
    }
    // A resumed session skips the verifier, so it could outlive a change of trust.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Makes settings to accept mesh connections: any identity of the trust domain, proved.
///
/// # Errors
/// When the bundle cannot verify clients.
pub fn server_config(own: &Credentials, bundle: &TrustBundle) -> Result<ServerConfig, TlsError> {
    let mut config = server(own, bundle, true)?;
    config.alpn_protocols = Alpn::ALL.iter().map(|alpn| alpn.id().to_vec()).collect();
    Ok(config)
}

/// Makes settings for the control plane's own listener: a client may show a leaf (to sync and to renew) or none (to
/// ask for its first one with a token).
///
/// # Errors
/// When the bundle cannot verify clients.
pub fn control_plane_server_config(own: &Credentials, bundle: &TrustBundle) -> Result<ServerConfig, TlsError> {
    let mut config = server(own, bundle, false)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Makes settings to dial the control plane, which must prove `expected`; `own` is absent for the first certificate.
///
/// # Errors
/// When the cryptography provider cannot do TLS 1.3.
pub fn control_plane_client_config(
    own: Option<&Credentials>,
    bundle: &TrustBundle,
    expected: &Identity,
) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous() // as above
        .with_custom_certificate_verifier(Arc::new(ExactServer::new(expected.clone(), bundle.clone())));
    let mut config = match own {
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified().clone()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server(own: &Credentials, bundle: &TrustBundle, client_leaf_required: bool) -> Result<ServerConfig, TlsError> {
    let verifier = AnyClient::new(bundle.clone(), client_leaf_required).map_err(|_| TlsError::Verifier)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(own.certified().clone())));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0; // 0-RTT data can be replayed
    Ok(config)
}

/// Why TLS settings cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The provider lacks what TLS 1.3 needs.
    #[error("cannot set up TLS 1.3")]
    Rustls(#[from] rustls::Error),
    /// The bundle cannot verify clients.
    #[error("the trust bundle cannot verify clients")]
    Verifier,
}
