//! Tells mesh TLS from an app's own TLS by what the ClientHello offers (ALPN, RFC 7301), without taking a byte.

use std::io::Read;

use outrigger_identity::Alpn;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::detect::{Prefixed, STALLED};

/// Reads until the ClientHello is complete, however it is split, and says whether it is a mesh peer's. One that is not complete
/// in time is not.
pub(crate) async fn mesh_hello<T>(io: &mut Prefixed<T>) -> bool
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let complete = async {
        loop {
            match extent(io.seen()) {
                Extent::Complete => return true,
                Extent::Partial if io.fill().await.unwrap_or(0) > 0 => {}
                Extent::Partial | Extent::Other => return false,
            }
        }
    };
    // Until then nothing is held but the bytes.
    timeout(STALLED, complete).await.unwrap_or(false) && offers_mesh(io.seen())
}

/// How much of a ClientHello there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    Complete,
    Partial,
    /// It is none.
    Other,
}

/// Looks how much of a ClientHello there is: a message of a header of four bytes, in one or more records with headers of five
/// (RFC 8446 sections 4 and 5.1).
fn extent(mut bytes: &[u8]) -> Extent {
    const RECORD: usize = 5;
    const MESSAGE: usize = 4;
    // The type and the length of the message.
    let mut header = [0; MESSAGE];
    let mut payload = 0;
    loop {
        match bytes {
            [HANDSHAKE, ..] | [] => {}
            _ => return Extent::Other,
        }
        let Some((record, rest)) = bytes.split_at_checked(RECORD) else { return Extent::Partial };
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        if length == 0 {
            return Extent::Other;
        }
        let body = &rest[..length.min(rest.len())];
        for (place, byte) in header.iter_mut().skip(payload).zip(body) {
            *place = *byte;
        }
        payload += body.len();
        let [kind, a, b, c] = header;
        if payload > 0 && kind != CLIENT_HELLO {
            return Extent::Other;
        }
        if payload >= MESSAGE && payload - MESSAGE >= u32::from_be_bytes([0, a, b, c]) as usize {
            // The rest of the record as well: records are read as a whole.
            return if rest.len() >= length { Extent::Complete } else { Extent::Partial };
        }
        let Some(next) = rest.get(length..) else { return Extent::Partial };
        bytes = next;
    }
}

/// Whether a complete ClientHello offers a protocol of the mesh. The bytes stay for whoever takes the connection.
fn offers_mesh(mut bytes: &[u8]) -> bool {
    let mut acceptor = Acceptor::default();
    if !feed(&mut acceptor, &mut bytes) {
        return false;
    }
    let Ok(Some(accepted)) = acceptor.accept() else { return false };
    accepted.client_hello().alpn().is_some_and(|mut offered| offered.any(|id| Alpn::from_id(id).is_some()))
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

/// Content type of a record, and type of a message.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

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
    async fn knows_a_mesh_peer_whose_hello_comes_in_many_records() {
        let mesh = hello(&[Alpn::Opaque.id()]);
        for size in [1, 2, 3, 4, 7, 100, 1000] {
            let record = |part: &[u8]| [&[HANDSHAKE, 3, 1, 0, 0][..], part].concat();
            let records: Vec<u8> = mesh[5..].chunks(size).fold(Vec::new(), |mut records, part| {
                let mut record = record(part);
                record[3..5].copy_from_slice(&u16::try_from(part.len()).unwrap().to_be_bytes());
                records.extend(record);
                records
            });
            // Beyond what is looked at it is for the app.
            let fits = records.len() <= 16 * 1024;
            for step in [9, 100_000] {
                assert_eq!(told(&records, step).await.0, fits, "records of {size}, {} bytes", records.len());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_hello_is_waited_for_ten_seconds_and_costs_its_bytes() {
        let mesh = hello(&[Alpn::Opaque.id()]);
        for sent in [1, 5, 6, 100, mesh.len() - 1] {
            let (mut client, server) = duplex(10_000);
            let mut io = Prefixed::new(server);
            client.write_all(&mesh[..sent]).await.unwrap();
            let start = tokio::time::Instant::now();

            assert!(!mesh_hello(&mut io).await, "{sent} of {}", mesh.len());

            assert!(start.elapsed() >= STALLED && start.elapsed() < 2 * STALLED, "{:?}", start.elapsed());
            assert_eq!(io.seen().len(), sent);
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
