//! Tells mesh TLS from an app's own TLS by what the ClientHello offers (ALPN, RFC 7301), without taking a byte.

use std::io::Read;

use outrigger_identity::Alpn;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::detect::Prefixed;

/// Reads until the ClientHello is complete, however it is split, and says whether it is a mesh peer's.
pub(crate) async fn mesh_hello<T>(io: &mut Prefixed<T>) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    // rustls reads the records; the bytes stay in `io` for whoever takes the connection.
    let mut acceptor = Acceptor::default();
    let mut fed = 0;
    loop {
        let mut new = &io.seen()[fed..];
        fed = io.seen().len();
        if !new.is_empty() && !feed(&mut acceptor, &mut new) {
            return false;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return hello.alpn().is_some_and(|mut offered| offered.any(|id| Alpn::from_id(id).is_some()));
            }
            Ok(None) if io.fill().await.unwrap_or(0) > 0 => {}
            Ok(None) | Err(_) => return false,
        }
    }
}

fn feed(acceptor: &mut Acceptor, bytes: &mut impl Read) -> bool {
    // One call may take less than all; 0 means that all is taken.
    loop {
        match acceptor.read_tls(bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[derive(Debug)]
    struct Unused;

    impl ServerCertVerifier for Unused {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Err(rustls::Error::General("not reached".to_owned()))
        }

        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("not reached".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("not reached".to_owned()))
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ECDSA_NISTP256_SHA256]
        }
    }

    fn hello(alpn: &[&[u8]]) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unused))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|id| id.to_vec()).collect();
        let mut client = ClientConnection::new(Arc::new(config), "example.org".try_into().unwrap()).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }

    async fn told(bytes: &[u8], step: usize) -> (bool, Vec<u8>) {
        let (mut client, server) = duplex(1);
        let mut io = Prefixed::new(server);
        let pieces: Vec<Vec<u8>> = bytes.chunks(step).map(<[u8]>::to_vec).collect();
        let send = tokio::spawn(async move {
            for piece in pieces {
                if client.write_all(&piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let mesh = mesh_hello(&mut io).await;
        send.abort();
        (mesh, io.seen().to_vec())
    }

    #[tokio::test]
    async fn knows_a_mesh_peer_however_its_hello_is_split() {
        let mesh = hello(&[Alpn::Opaque.id()]);
        for step in [1, 5, 100, 100_000] {
            let (is_mesh, seen) = told(&mesh, step).await;
            assert!(is_mesh, "step {step}");
            assert_eq!(seen, mesh[..seen.len()], "bytes must stay to be read");
        }
    }

    #[tokio::test]
    async fn leaves_the_apps_own_tls_alone() {
        assert!(!told(&hello(&[b"h2", b"http/1.1"]), 100_000).await.0);
        assert!(!told(&hello(&[]), 100_000).await.0);
    }

    #[tokio::test]
    async fn garbage_is_not_a_hello() {
        assert!(!told(b"\x16\x03\x01\xff\xff garbage", 100_000).await.0);
        assert!(!told(b"GET / HTTP/1.1\r\n\r\n", 100_000).await.0);
    }
}
