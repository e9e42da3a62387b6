//! Who may be whom, and who may speak to whom.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outrigger_identity::Alpn;
use outrigger_tests::{App, Mesh, Pod, client, enter, wait, yaml};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

const WEB: &str = "10.96.0.10";
const STRICT: &str = "  annotations:\n    config.outrigger.io/inbound: strict\n";

fn web() -> String {
    yaml::service("web", WEB, 80, 8080)
}

/// A certificate that an attacker may show.
struct Forged {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

/// What the attacker changes; the rest is as the mesh makes it.
struct Forgery {
    id: &'static str,
    not_before: Duration,
    not_after: Duration,
    more_ids: Vec<&'static str>,
}

impl Default for Forgery {
    fn default() -> Self {
        let (hour, now) = (Duration::from_secs(3600), since_epoch());
        Self {
            id: "spiffe://mesh.local/ns/shop/sa/mallory",
            not_before: now - hour,
            not_after: now + hour,
            more_ids: vec![],
        }
    }
}

fn since_epoch() -> Duration {
    SystemTime::UNIX_EPOCH.elapsed().unwrap()
}

impl Forgery {
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        let date = |at: Duration| (SystemTime::UNIX_EPOCH + at).into();
        params.not_before = date(self.not_before);
        params.not_after = date(self.not_after);
        let ids = [self.id].into_iter().chain(self.more_ids.iter().copied());
        params.subject_alt_names = ids.map(|id| SanType::URI(id.try_into().unwrap())).collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params
    }

    /// Signed by the mesh's own issuer: the attacker has somehow got its key.
    fn by_the_mesh(&self, mesh: &Mesh) -> Forged {
        let read = |name: &str| std::fs::read_to_string(mesh.ca_dir().join(name)).unwrap();
        let issuer_pem = read("issuer.pem");
        let issuer_der = CertificateDer::from_pem_slice(issuer_pem.as_bytes()).unwrap();
        let issuer = Issuer::from_ca_cert_der(&issuer_der, KeyPair::from_pem(&issuer_pem).unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = self.params().signed_by(&key, &issuer).unwrap();
        Forged { chain: vec![leaf.der().clone(), issuer_der], key }
    }

    fn by_another_ca(&self) -> Forged {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = self.params().signed_by(&key, &ca).unwrap();
        Forged { chain: vec![leaf.der().clone(), ca.der().clone()], key }
    }

    fn self_signed(&self) -> Forged {
        let key = KeyPair::generate().unwrap();
        let leaf = self.params().self_signed(&key).unwrap();
        Forged { chain: vec![leaf.der().clone()], key }
    }
}

/// Sends a request over mesh TLS to `address`, with a certificate or none.
fn attack(address: &str, forged: Option<&Forged>) -> std::io::Result<String> {
    let mut stream = connect(address, forged, Alpn::Http1)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    match stream.read_to_string(&mut answer) {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// Begins mesh TLS with `address`.
fn connect(
    address: &str,
    forged: Option<&Forged>,
    alpn: Alpn,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer));
    let mut config = match forged {
        Some(forged) => {
            let key = PrivateKeyDer::Pkcs8(forged.key.serialize_der().into());
            builder.with_client_auth_cert(forged.chain.clone(), key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.id().to_vec()];
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
    let name = ServerName::try_from("web").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    Ok(StreamOwned::new(session, tcp))
}

/// A connection over mesh TLS of a workload whose own program speaks it, with no sidecar of ours between.
pub(crate) fn connect_as(
    mesh: &Mesh,
    id: &'static str,
    address: &str,
    alpn: Alpn,
) -> std::io::Result<impl Read + Write + use<>> {
    connect(address, Some(&Forgery { id, ..Forgery::default() }.by_the_mesh(mesh)), alpn)
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

#[test]
fn only_a_proved_identity_of_the_mesh_gets_in() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod_with("web-1", "web", STRICT, &[]);
    let app = App::echo(&web, 8080, "web-1");
    let outside = mesh.bare("outside");
    let address = format!("{}:8080", web.ip());
    let attacked = |forged: Option<&Forged>| outside.run(|| attack(&address, forged)).unwrap();
    let (hour, day, now) = (Duration::from_secs(3600), Duration::from_secs(86_400), since_epoch());

    // The method works: what the mesh would have signed gets in.
    let good = Forgery::default().by_the_mesh(&mesh);
    assert!(attacked(Some(&good)).unwrap().starts_with("HTTP/1.1 200"));
    let before = app.count();

    let with = |change: fn(&mut Forgery)| {
        let mut forgery = Forgery::default();
        change(&mut forgery);
        forgery
    };
    let expired = Forgery { not_before: now - day, not_after: now - hour, ..Forgery::default() };
    let early = Forgery { not_before: now + hour, not_after: now + day, ..Forgery::default() };
    for (what, forged) in [
        ("no certificate", None),
        ("expired", Some(expired.by_the_mesh(&mesh))),
        ("not yet valid", Some(early.by_the_mesh(&mesh))),
        ("another trust domain", Some(with(|f| f.id = "spiffe://evil.local/ns/shop/sa/web").by_the_mesh(&mesh))),
        ("another CA", Some(Forgery::default().by_another_ca())),
        ("self-signed", Some(Forgery::default().self_signed())),
        ("two ids", Some(with(|f| f.more_ids = vec!["spiffe://mesh.local/ns/shop/sa/web"]).by_the_mesh(&mesh))),
        ("no workload's id", Some(with(|f| f.id = "spiffe://mesh.local/admin").by_the_mesh(&mesh))),
        ("not a SPIFFE id", Some(with(|f| f.id = "https://mesh.local/ns/shop/sa/web").by_the_mesh(&mesh))),
    ] {
        let answer = attacked(forged.as_ref());
        assert!(answer.is_err(), "{what}: {answer:?}");
    }
    assert_eq!(app.count(), before, "nothing reached the app");
    wait::until_true("refusals are logged with their code", || web.log().contains("E006"));
}

#[test]
fn an_endpoint_with_another_identity_than_was_named_is_refused() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let app = App::echo(&web, 8080, "web-1");
    // The address now belongs to a workload of another identity, says the control plane; the old one still sits there.
    let yaml = yaml::workload("web-1", "web", &web.ip().to_string(), "");
    mesh.write("web-1.yaml", &yaml.replace("serviceAccountName: web", "serviceAccountName: bank"));
    let client = mesh.pod("client-1", "client");

    let response = wait::until("the new identity is known", || {
        let response = client.get(&format!("http://{WEB}/"));
        (response.status != 200).then_some(response)
    });

    assert_eq!(response.status, 502);
    let text = response.text();
    assert!(text.contains("E006") || text.contains("E009"), "{text}");
    assert!(text.contains("ns/shop/sa/bank") && text.contains("ns/shop/sa/web"), "both identities are named: {text}");
    let count = app.count();
    assert_eq!(client.get(&format!("http://{WEB}/")).status, 502);
    assert_eq!(app.count(), count, "nothing is sent to the wrong peer");
}

#[test]
fn strict_mode_refuses_plaintext_and_permissive_does_not() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod_with("web-1", "web", STRICT, &[]);
    let app = App::echo(&web, 8080, "web-1");
    let client = mesh.pod("client-1", "client");
    let outside = mesh.bare("outside");
    let url = format!("http://{}:8080/", web.ip());

    assert_eq!(client.get(&format!("http://{WEB}/")).status, 200);
    let before = app.count();
    let refused = outside.run(|| client::try_get(&url)).unwrap();
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(app.count(), before);
    wait::until_true("the refusal is logged with its code", || web.log().contains("E007"));

    // The mode changes while the sidecar runs.
    mesh.write("web-1.yaml", &yaml::workload("web-1", "web", &web.ip().to_string(), ""));
    wait::until_true("permissive mode is in force", || outside.run(|| client::try_get(&url)).unwrap().is_ok());
}

/// Starts a sidecar in `thief` with the token that was minted for `victim`, and waits for what it is told.
fn refusal(mesh: &mut Mesh, thief: &Pod, victim: &str, token: &str) -> String {
    let file = thief.folder().join("stolen");
    std::fs::write(&file, token).unwrap();
    let mut command = std::process::Command::new(outrigger_tests::binary());
    command.args(["sidecar", "run", "--workload", &format!("shop/{victim}"), "--admin", "127.0.0.1:4999"]);
    command.args(["--outbound-port", "5140", "--inbound-port", "5143", "--mark", "0x4f52"]);
    command
        .args(["--control-plane", &mesh.control_plane_address(), "--trust-anchors"])
        .arg(mesh.ca_dir().join("root.pem"));
    command.arg("--token-file").arg(&file);
    let process = thief.start_program("thief", &mut command);
    wait::until("the control plane's answer", || {
        let log = process.output();
        assert!(!log.contains("certificate in force"), "the token was accepted:\n{log}");
        log.lines().find(|line| line.contains("the control plane refused")).map(str::to_owned)
    })
}

#[test]
fn a_token_is_good_once_and_only_from_its_workloads_address() {
    let Some(sandbox) = enter() else { return };
    let mut mesh = Mesh::start(sandbox, &web());
    let web = mesh.pod("web-1", "web");
    let thief = mesh.pod("thief-1", "thief");

    let used = std::fs::read_to_string(web.folder().join("token")).unwrap();
    let replayed = refusal(&mut mesh, &web, "web-1", &used);
    assert!(replayed.contains("token replayed"), "{replayed}");

    let fresh = mesh.token("web-1");
    let stolen = refusal(&mut mesh, &thief, "web-1", &fresh);
    assert!(stolen.contains("another address"), "{stolen}");

    let forged = refusal(&mut mesh, &thief, "thief-1", "ojt1.e30.AAAA");
    assert!(forged.contains("token"), "{forged}");
}
