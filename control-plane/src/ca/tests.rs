//! The authority as a whole, on real files.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use outrigger_identity::{Credentials, KeyPair, peer_of};
use x509_parser::prelude::FromDer;

use super::*;

/// A folder that goes when the test is over.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("outrigger-ca-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self, now: SystemTime) -> Result<Authority, AuthorityError> {
        Authority::open(&self.0, "mesh.local".parse().unwrap(), 24 * HOUR, now)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn subject() -> Subject {
    Subject {
        identity: "spiffe://mesh.local/ns/shop/sa/web".parse().unwrap(),
        workload: Some("shop/web-1".parse().unwrap()),
        uid: Some("0a1b2c3d-0000-4000-8000-000000000001".into()),
    }
}

fn csr(params: rcgen::CertificateParams, key: &rcgen::KeyPair) -> Vec<u8> {
    params.serialize_request(key).unwrap().der().to_vec()
}

#[test]
fn a_leaf_says_what_the_authority_knows_and_nothing_else() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let authority = folder.open(now).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    // Everything that a greedy caller might ask for.
    let mut wish = rcgen::CertificateParams::new(["control-plane.outrigger-system.workload".to_owned()]).unwrap();
    wish.subject_alt_names.push(rcgen::SanType::URI("spiffe://mesh.local/ns/shop/sa/admin".try_into().unwrap()));
    wish.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    wish.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    wish.distinguished_name.push(rcgen::DnType::CommonName, "root");

    let public = PublicKey::from_csr(&csr(wish, &key)).unwrap();
    let chain = authority.issue(&public, &subject(), now).unwrap();

    let peer = peer_of(&chain[0]).unwrap();
    assert_eq!(peer.identity, subject().identity);
    assert_eq!(peer.workload.as_deref(), Some("web-1"));
    let (_, leaf) = x509_parser::certificate::X509Certificate::from_der(&chain[0]).unwrap();
    assert_eq!(leaf.public_key().subject_public_key.data, key.public_key_raw());
    assert!(!leaf.is_ca());
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    assert_eq!(names.value.general_names.len(), 3);
    assert_eq!(uid_of(&leaf), subject().uid);
    assert!(names.critical, "the subject is empty (RFC 5280 section 4.2.1.6)");
    assert_eq!(leaf.subject().iter().count(), 0);
    let usage = leaf.key_usage().unwrap().unwrap().value;
    assert_eq!(usage.flags, 1, "digitalSignature only");
    let extended = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(extended.client_auth && extended.server_auth && !extended.any && extended.other.is_empty());
    let seconds = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(leaf.validity().not_before.timestamp(), seconds - 60);
    assert_eq!(leaf.validity().not_after.timestamp(), seconds + 24 * 3600);
    let other = authority.issue(&public, &subject(), now).unwrap();
    let (_, other) = x509_parser::certificate::X509Certificate::from_der(&other[0]).unwrap();
    assert_ne!(leaf.raw_serial(), other.raw_serial());
    assert_eq!(leaf.raw_serial().len(), 16);
}

#[test]
fn refuses_requests_that_prove_nothing() {
    let key = KeyPair::generate().unwrap();
    let good = key.csr().unwrap();
    assert!(PublicKey::from_csr(&good).is_ok());

    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(PublicKey::from_csr(&forged), Err(CsrError::Signature));

    // Somebody else's key under one's own signature.
    let (mine, victim) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let stolen = csr(rcgen::CertificateParams::default(), &mine);
    let at = stolen.windows(65).position(|window| window == mine.public_key_raw()).unwrap();
    let mut swapped = stolen;
    swapped[at..at + 65].copy_from_slice(victim.public_key_raw());
    assert_eq!(PublicKey::from_csr(&swapped), Err(CsrError::Signature));

    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(PublicKey::from_csr(&longer), Err(CsrError::Malformed));
    for rubbish in [&b""[..], b"rubbish", &good[..good.len() - 1], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]] {
        assert_eq!(PublicKey::from_csr(rubbish), Err(CsrError::Malformed));
    }
    assert_eq!(PublicKey::from_csr(&[0; 17 * 1024]), Err(CsrError::TooLarge));
}

#[test]
fn takes_only_keys_of_the_allowed_kinds() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let public = PublicKey::from_csr(&csr(rcgen::CertificateParams::default(), &key)).unwrap();
        assert_eq!(rcgen::PublicKeyData::der_bytes(&public.0), key.public_key_raw());
    }
    for algorithm in [&rcgen::PKCS_ECDSA_P521_SHA512, &rcgen::PKCS_RSA_SHA256] {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let refused = PublicKey::from_csr(&csr(rcgen::CertificateParams::default(), &key));
        assert_eq!(refused, Err(CsrError::Key));
    }
}

#[test]
fn files_are_closed_to_others_and_a_restart_finds_the_same_root() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let first = folder.open(now).unwrap();
    let bundle = first.bundle();
    Tokens::open(&folder.0).unwrap();
    UsedTokens::open(&folder.0, now).unwrap();

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.0), 0o700);
    for entry in std::fs::read_dir(&folder.0).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let issuer = folder.read("issuer.pem");

    drop(first);
    let second = folder.open(now + HOUR).unwrap();
    assert!(second.bundle() == bundle);
    assert_eq!(folder.read("issuer.pem"), issuer);
}

#[test]
fn the_issuer_is_made_anew_when_less_than_a_third_is_left() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let authority = folder.open(now).unwrap();

    assert!(!authority.refresh(now + 24 * HOUR * 59).unwrap());
    let later = now + 24 * HOUR * 61;
    assert!(authority.refresh(later).unwrap());
    assert!(!authority.refresh(later).unwrap());

    let own = authority.own_credentials(later).unwrap();
    assert!(own.valid_at(later + 23 * HOUR));
}

#[test]
fn a_leaf_never_outlives_its_issuer() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let authority = folder.open(now).unwrap();

    let nearly = now + 24 * HOUR * 90 - HOUR;
    let own = authority.own_credentials(nearly).unwrap();

    assert!(!own.valid_at(nearly + HOUR + Duration::from_secs(1)));
}

#[test]
fn all_anchors_of_root_pem_are_trusted_and_the_issuer_follows_root_key() {
    let (old, new) = (Folder::new(), Folder::new());
    let now = SystemTime::now();
    let authority = old.open(now).unwrap();
    drop(new.open(now).unwrap());

    // The overlap: both are trusted, the old one still signs.
    let both = format!("{}{}", old.read("root.pem"), new.read("root.pem"));
    std::fs::write(old.file("root.pem"), &both).unwrap();
    assert!(authority.refresh(now).unwrap());
    assert_eq!(authority.bundle().anchors().len(), 2);

    // The new one signs, then the old one goes.
    std::fs::copy(new.file("root.key"), old.file("root.key")).unwrap();
    std::fs::copy(new.file("root.pem"), old.file("root.pem")).unwrap();
    assert!(authority.refresh(now).unwrap());
    assert_eq!(authority.bundle().anchors().len(), 1);
    let key = KeyPair::generate().unwrap();
    let public = PublicKey::from_csr(&key.csr().unwrap()).unwrap();
    let chain = authority.issue(&public, &subject(), now).unwrap();
    assert!(Credentials::new(&key, chain).is_ok());
}

#[test]
fn an_offline_root_works_until_the_issuer_ends() {
    let folder = Folder::new();
    let now = SystemTime::now();
    drop(folder.open(now).unwrap());
    std::fs::remove_file(folder.file("root.key")).unwrap();

    let authority = folder.open(now + 24 * HOUR * 80).unwrap();
    assert!(!authority.refresh(now + 24 * HOUR * 89).unwrap());

    let error = authority.refresh(now + 24 * HOUR * 91).unwrap_err();
    assert!(error.to_string().contains("put root.key back"), "{error}");
}

#[test]
fn half_an_authority_is_reported_and_not_replaced() {
    for (file, content, expected) in [
        ("root.pem", None, "put it back"),
        ("root.pem", Some("rubbish"), "trust bundle"),
        ("root.key", Some("rubbish"), "root.key: not a PKCS #8"),
        ("issuer.pem", Some("rubbish"), "issuer.pem: no certificate"),
    ] {
        let folder = Folder::new();
        drop(folder.open(SystemTime::now()).unwrap());
        match content {
            None => std::fs::remove_file(folder.file(file)).unwrap(),
            Some(content) => std::fs::write(folder.file(file), content).unwrap(),
        }

        let error = folder.open(SystemTime::now()).unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_token_that_was_changed_anywhere_is_refused() {
    let folder = Folder::new();
    let now = SystemTime::now();
    let tokens = Tokens::open(&folder.0).unwrap();
    let token = tokens.mint(&"shop/web-1".parse().unwrap(), HOUR, now).unwrap();
    assert_eq!(tokens.check(&token, now).unwrap().workload.to_string(), "shop/web-1");

    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(tokens.check(&changed, now).is_err(), "changed at {at}");
    }
    for rubbish in ["", ".", "..", "ojt1", "ojt1.", "ojt1..", "ojt1.e30.", &token[..token.len() - 1], &"a".repeat(3000)]
    {
        assert!(tokens.check(rubbish, now).is_err(), "{rubbish}");
    }
    assert_eq!(tokens.check(&token, now + HOUR), Err(TokenError::Expired));
    assert!(tokens.check(&token, now + HOUR - Duration::from_secs(2)).is_ok());
}

#[test]
fn secrets_do_not_show() {
    let folder = Folder::new();
    let authority = folder.open(SystemTime::now()).unwrap();
    let tokens = Tokens::open(&folder.0).unwrap();

    let shown = format!("{authority:?} {tokens:?}");

    let secret = folder.read("token.key");
    assert!(!shown.contains(&secret));
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[test]
fn a_used_token_stays_used_over_restarts_until_it_has_expired() {
    let folder = Folder::new();
    let now = SystemTime::now();
    drop(folder.open(now).unwrap());
    let tokens = Tokens::open(&folder.0).unwrap();
    let claims = tokens.check(&tokens.mint(&"a/b".parse().unwrap(), HOUR, now).unwrap(), now).unwrap();

    let mut used = UsedTokens::open(&folder.0, now).unwrap();
    assert!(used.claim(&claims, now).unwrap());
    assert!(!used.claim(&claims, now).unwrap());
    drop(used);
    assert!(!UsedTokens::open(&folder.0, now).unwrap().claim(&claims, now).unwrap());

    drop(UsedTokens::open(&folder.0, now + 2 * HOUR).unwrap());
    assert_eq!(folder.read("used-tokens"), "", "what has expired is not kept");
}

#[test]
fn a_line_cut_short_by_a_crash_is_forgotten_but_rubbish_is_reported() {
    let folder = Folder::new();
    let now = SystemTime::now();
    drop(folder.open(now).unwrap());
    let claims = Claims { workload: "a/b".parse().unwrap(), nonce: "00ff".to_owned(), expires: u64::MAX };
    UsedTokens::open(&folder.0, now).unwrap().claim(&claims, now).unwrap();

    let whole = folder.read("used-tokens");
    std::fs::write(folder.file("used-tokens"), format!("{whole}184467")).unwrap();
    let mut used = UsedTokens::open(&folder.0, now).unwrap();
    assert!(!used.claim(&claims, now).unwrap());
    assert_eq!(folder.read("used-tokens"), whole);

    std::fs::write(folder.file("used-tokens"), "rubbish\n").unwrap();
    assert!(UsedTokens::open(&folder.0, now).is_err());
}

#[test]
fn the_list_of_used_tokens_is_pruned_while_it_runs() {
    let folder = Folder::new();
    let now = SystemTime::now();
    drop(folder.open(now).unwrap());
    let mut used = UsedTokens::open(&folder.0, now).unwrap();
    let claims =
        |number: u32, expires| Claims { workload: "a/b".parse().unwrap(), nonce: format!("{number:08x}"), expires };

    let end = token::seconds(now) + 10;
    for number in 0..126 {
        assert!(used.claim(&claims(number, end), now).unwrap());
    }
    let later = now + HOUR;
    for number in 126..128 {
        assert!(used.claim(&claims(number, u64::MAX), later).unwrap());
    }

    assert_eq!(folder.read("used-tokens").lines().count(), 2);
    assert!(!used.claim(&claims(126, u64::MAX), later).unwrap());
}

/// Puts a root into the folder that is valid for so long.
fn root_of(folder: &Folder, lifetime: Duration, now: SystemTime) {
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&folder.0).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    params.not_before = (now - HOUR).into();
    params.not_after = (now + lifetime).into();
    let write = |name: &str, text: String| {
        use std::io::Write as _;
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(folder.file(name));
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    };
    write("root.pem", params.self_signed(&key).unwrap().pem());
    write("root.key", key.serialize_pem());
}

/// When the first certificate of a PEM text, or of a chain, ends.
fn end(der: &[u8]) -> i64 {
    x509_parser::parse_x509_certificate(der).unwrap().1.validity().not_after.timestamp()
}

fn end_of_pem(pem: &str) -> i64 {
    use rustls_pki_types::pem::PemObject as _;
    end(&CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

#[test]
fn nothing_outlives_the_root_that_it_hangs_from() {
    let folder = Folder::new();
    let now = SystemTime::now();
    root_of(&folder, 24 * HOUR, now);

    let authority = folder.open(now).unwrap();

    let root = end_of_pem(&folder.read("root.pem"));
    assert!(end_of_pem(&folder.read("issuer.pem")) <= root, "the issuer");
    let key = rcgen::KeyPair::generate().unwrap();
    let public = PublicKey::from_csr(&csr(rcgen::CertificateParams::default(), &key)).unwrap();
    let late = now + 23 * HOUR;
    assert!(end(&authority.issue(&public, &subject(), late).unwrap()[0]) <= root, "a leaf");
    #[cfg(feature = "kubernetes")]
    {
        let server = authority.issue_server(&["a.svc".to_owned()], 24 * 90 * HOUR, now).unwrap();
        assert!(end_of_pem(&server.chain) <= root, "a server's certificate");
    }
    // Looked at again, even near its end, it is not made again: the next one would be no better.
    let before = folder.read("issuer.pem");
    assert!(!authority.refresh(late).unwrap());
    assert_eq!(folder.read("issuer.pem"), before);
    assert!(authority.refresh(now + 25 * HOUR).unwrap_err().to_string().contains("expired"));
}

#[test]
fn an_issuer_that_outlives_its_root_is_replaced() {
    let folder = Folder::new();
    let now = SystemTime::now();
    folder.open(now).unwrap();
    let (key, issuer) = (folder.read("root.key"), folder.read("issuer.pem"));
    // The same root key under a certificate that ends tomorrow, as a version without this rule could have left it.
    let root = rcgen::KeyPair::from_pem(&key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Outrigger root of mesh.local");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(1));
    params.not_before = (now - HOUR).into();
    params.not_after = (now + 24 * HOUR).into();
    std::fs::write(folder.file("root.pem"), params.self_signed(&root).unwrap().pem()).unwrap();

    folder.open(now).unwrap();

    let after = folder.read("issuer.pem");
    assert_ne!(after, issuer);
    assert!(end_of_pem(&after) <= end_of_pem(&folder.read("root.pem")));
}
