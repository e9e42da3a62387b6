//! A peer with a certificate of the mesh that keeps to no rule behind it: mesh TLS by hand, to a sidecar's inbound port.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::desync::Connection;
use crate::Mesh;

/// What it needs to speak mesh TLS.
#[derive(Clone, Debug)]
pub struct Intruder(Arc<ClientConfig>);

impl Intruder {
    /// With a certificate of the mesh's own issuer, as `shop/mallory`.
    ///
    /// # Panics
    /// When the mesh has no issuer.
    #[must_use]
    pub fn of(mesh: &Mesh, alpn: outrigger_identity::Alpn) -> Self {
        let pem = std::fs::read(mesh.ca_dir().join("issuer.pem")).expect("the CA has an issuer");
        let issuer_der = CertificateDer::from_pem_slice(&pem).expect("the issuer has a certificate");
        let key = KeyPair::from_pem(&String::from_utf8_lossy(&pem)).expect("the issuer has a key");
        let issuer = Issuer::from_ca_cert_der(&issuer_der, key).expect("the issuer's certificate is one");
        let key = KeyPair::generate().expect("a key can be made");
        let leaf = leaf().signed_by(&key, &issuer).expect("the issuer signs");
        let (chain, key) =
            (vec![leaf.der().clone(), issuer_der.clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let mut config = config().with_client_auth_cert(chain, key).expect("key and certificate agree");
        config.alpn_protocols = vec![alpn.id().to_vec()];
        Self(Arc::new(config))
    }

    /// Connects and shakes hands.
    ///
    /// # Errors
    /// When nobody answers, or not so.
    pub fn connect(&self, address: &str) -> io::Result<Tls> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
        tcp.set_write_timeout(Some(Duration::from_secs(20)))?;
        let mut tls = StreamOwned::new(self.session(), tcp);
        tls.conn.complete_io(&mut tls.sock)?;
        Ok(Tls(tls))
    }

    /// The client's side of a handshake, for whoever moves the records himself.
    ///
    /// # Panics
    /// Never in practice.
    #[must_use]
    pub fn session(&self) -> ClientConnection {
        let name = ServerName::try_from("web").expect("a name");
        ClientConnection::new(self.0.clone(), name).expect("the configuration is complete")
    }
}

fn leaf() -> CertificateParams {
    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    let mut params = CertificateParams::default();
    params.not_before = (now - hour).into();
    params.not_after = (now + hour).into();
    let id = "spiffe://mesh.local/ns/shop/sa/mallory".try_into().expect("ASCII");
    params.subject_alt_names = vec![SanType::URI(id)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params
}

fn config() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("the provider has all versions").dangerous().with_custom_certificate_verifier(Arc::new(AnyServer))
}

/// A session.
#[derive(Debug)]
pub struct Tls(pub StreamOwned<ClientConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Connection for Tls {
    fn finish(&mut self) {
        self.0.conn.send_close_notify();
        // Both fail where the other side has closed.
        let _ = self.0.flush();
        let _ = self.0.sock.shutdown(Shutdown::Write);
    }

    fn patience(&mut self, limit: Duration) -> io::Result<()> {
        self.0.sock.set_read_timeout(Some(limit))
    }
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
