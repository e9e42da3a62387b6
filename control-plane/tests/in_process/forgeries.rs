//! Requests, tokens and leaves that prove nothing: none of them gives a certificate.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use outrigger_control_plane::ca::{PublicKey, Subject};
use outrigger_identity::{Credentials, KeyPair, peer_of};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use tonic::{Code, Status};

use super::client::{ControlPlane, SHOP};
use super::peer::credentials;

const WEB: &str = "spiffe://mesh.local/ns/shop/sa/web";

/// What a request asks for.
type Wish = Box<dyn Fn(&mut CertificateParams)>;

fn uri(id: &str) -> SanType {
    SanType::URI(id.try_into().unwrap())
}

fn admin() -> SanType {
    uri("spiffe://mesh.local/ns/shop/sa/admin")
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn csr() -> Vec<u8> {
    KeyPair::generate().unwrap().csr().unwrap()
}

fn signed_with(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn changed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

/// Asks until it is not for the pace that it is refused.
async fn refusal(plane: &ControlPlane, own: Option<&Credentials>, csr: &[u8], token: &str) -> Option<Status> {
    loop {
        match plane.certify(own, csr.to_vec(), token.to_owned()).await {
            Ok(_) => return None,
            Err(status) if status.message().starts_with("too many requests") => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(status) => return Some(status),
        }
    }
}

#[tokio::test]
async fn no_broken_request_gives_a_certificate_or_uses_up_its_token() {
    let plane = ControlPlane::start().await;
    let token = plane.token("shop/web-1");
    let (mine, victim) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let swapped = changed(CertificateParams::default().serialize_request(&mine).unwrap().der().to_vec(), |csr| {
        let (from, to) = (mine.public_key_raw(), victim.public_key_raw());
        let at = csr.windows(from.len()).position(|window| window == from).unwrap();
        csr[at..at + to.len()].copy_from_slice(to);
    });
    let certificate = CertificateParams::default().self_signed(&mine).unwrap().der().to_vec();
    let rows = [
        ("nothing", Vec::new()),
        ("rubbish", b"rubbish".to_vec()),
        ("PEM", b"-----BEGIN CERTIFICATE REQUEST-----\nMIH".to_vec()),
        ("its first half", changed(csr(), |csr| csr.truncate(csr.len() / 2))),
        ("without its last byte", changed(csr(), |csr| csr.truncate(csr.len() - 1))),
        ("with a byte behind it", changed(csr(), |csr| csr.push(0))),
        ("two", changed(csr(), |csr| csr.extend_from_slice(&csr.clone()))),
        ("a signature that is wrong", changed(csr(), |csr| *csr.last_mut().unwrap() ^= 1)),
        ("somebody else's key", swapped),
        ("a length without end", vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        ("a certificate", certificate),
        ("a key on P-521", signed_with(&rcgen::PKCS_ECDSA_P521_SHA512)),
        ("an RSA key", signed_with(&rcgen::PKCS_RSA_SHA256)),
        ("17 KiB", vec![0x30; 17 << 10]),
    ];
    for (what, csr) in rows {
        let status = refusal(&plane, None, &csr, &token).await.expect(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
        assert!(status.message().starts_with("csr invalid"), "{what}: {status:?}");
    }
    assert!(refusal(&plane, None, &csr(), &token).await.is_none());
}

#[tokio::test]
async fn no_forged_token_gives_a_certificate() {
    let plane = ControlPlane::start().await;
    let other = ControlPlane::start().await;
    let (good, far) = (plane.token("shop/web-1"), plane.token("shop/far"));
    let part = |token: &str, number: usize| token.split('.').nth(number).unwrap().to_owned();
    let used = plane.token("shop/web-1");
    assert!(refusal(&plane, None, &csr(), &used).await.is_none());
    let jwt = |claims: &str| {
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", encode(r#"{"alg":"none"}"#), encode(claims), encode("x"))
    };

    let rows = [
        ("none", String::new(), "no proof of identity"),
        ("rubbish", "rubbish".to_owned(), "token malformed"),
        ("dots", "..".to_owned(), "token malformed"),
        ("of another CA", other.token("shop/web-1"), "token forged"),
        (
            "one that has ended",
            plane.token_until("shop/web-1", SystemTime::now() - Duration::from_secs(1)),
            "token expired",
        ),
        ("of nobody", plane.token("shop/nobody"), "workload unknown"),
        ("from elsewhere", far.clone(), "token from another address"),
        ("used before", used, "token replayed"),
        ("another workload's claims", format!("ojt1.{}.{}", part(&far, 1), part(&good, 2)), "token forged"),
        ("another one's signature", format!("ojt1.{}.{}", part(&good, 1), part(&far, 2)), "token forged"),
        ("no signature", format!("ojt1.{}.", part(&good, 1)), "token"),
        ("another version", good.replace("ojt1", "ojt2"), "token malformed"),
        ("capitals", good.replace("ojt1", "OJT1"), "token malformed"),
        ("cut short", good[..good.len() - 1].to_owned(), "token"),
        ("something behind it", format!("{good}A"), "token"),
        ("a fourth part", format!("{good}.A"), "token"),
        ("a JWT without a signature", jwt(r#"{"sub":"system:serviceaccount:shop:web"}"#), "token malformed"),
    ];
    for (what, token, reason) in rows {
        let status = refusal(&plane, None, &csr(), &token).await.expect(what);
        assert!(matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied), "{what}: {status:?}");
        assert!(status.message().starts_with(reason), "{what}: {status:?}");
        assert!(token.is_empty() || token.len() < 12 || !status.message().contains(&token), "{what}: it is repeated");
    }
    assert!(refusal(&plane, None, &csr(), &good).await.is_none(), "none of them has used it up");
}

#[tokio::test]
async fn no_leaf_of_somebody_else_gives_a_certificate() {
    let plane = ControlPlane::start().await;
    let other = ControlPlane::start().await;
    plane.objects.save("shop.yaml", &SHOP.replace("name: web-1,", "name: web-1, uid: uid-one,"));
    plane.page_with("/config", "\"snapshot\": 3").await;
    let ended = {
        let key = KeyPair::generate().unwrap();
        let public = PublicKey::from_csr(&key.csr().unwrap()).unwrap();
        let subject =
            Subject { identity: WEB.parse().unwrap(), workload: Some("shop/web-1".parse().unwrap()), uid: None };
        let chain = plane.authority().issue(&public, &subject, SystemTime::now() - Duration::from_secs(7200)).unwrap();
        Credentials::new(&key, chain).unwrap()
    };
    let own = plane.join("shop/web-1").await;

    let rows = [
        ("of nobody", plane.signed(WEB, Some("shop/nobody"), None), "", "workload unknown"),
        (
            "of another account",
            plane.signed("spiffe://mesh.local/ns/shop/sa/admin", Some("shop/web-1"), None),
            "",
            "identity changed",
        ),
        ("of no workload", plane.signed(WEB, None, None), "", "workload unknown"),
        (
            "of another namespace",
            plane.signed("spiffe://mesh.local/ns/bank/sa/web", Some("shop/web-1"), None),
            "",
            "workload unknown",
        ),
        ("of one that had the name", plane.signed(WEB, Some("shop/web-1"), Some("uid-zero")), "", "workload replaced"),
        (
            "from elsewhere",
            plane.signed("spiffe://mesh.local/ns/shop/sa/default", Some("shop/far"), None),
            "",
            "leaf from another address",
        ),
        ("with a token that is none", own.clone(), "rubbish", "token malformed"),
        // The handshake refuses these.
        ("that has ended", ended, "", ""),
        ("of another CA", other.join("shop/web-1").await, "", ""),
    ];
    for (what, leaf, token, reason) in rows {
        let status = refusal(&plane, Some(&leaf), &csr(), token).await.expect(what);
        assert!(status.message().starts_with(reason), "{what}: {status:?}");
    }
    assert!(refusal(&plane, Some(&own), &csr(), "").await.is_none());
}

#[tokio::test]
async fn what_a_request_wishes_for_is_not_looked_at() {
    let plane = ControlPlane::start().await;
    let wishes: [(&str, Wish); 7] = [
        ("another identity", Box::new(|params| params.subject_alt_names.push(admin()))),
        ("two identities", Box::new(|params| params.subject_alt_names.extend([uri(WEB), admin()]))),
        ("another workload", Box::new(|params| params.subject_alt_names.push(dns("far.shop.workload")))),
        ("a uid", Box::new(|params| params.subject_alt_names.push(dns("uid-one.uid")))),
        ("to be a CA", Box::new(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("to sign", Box::new(|params| params.key_usages = vec![KeyUsagePurpose::KeyCertSign])),
        ("any usage", Box::new(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any])),
    ];
    for (what, wish) in wishes {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        wish(&mut params);
        let theirs = rcgen::KeyPair::try_from(key.secret_der()).unwrap();
        let csr = params.serialize_request(&theirs).unwrap().der().to_vec();

        let answer = plane.certify(None, csr, plane.token("shop/web-1")).await.unwrap();

        let leaf = answer.chain[0].to_vec();
        let peer = peer_of(&leaf.clone().into()).unwrap();
        assert_eq!((peer.identity.as_str(), peer.workload.as_deref()), (WEB, Some("web-1")), "{what}");
        let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        assert!(!leaf.is_ca(), "{what}");
        assert_eq!(leaf.subject_alternative_name().unwrap().unwrap().value.general_names.len(), 2, "{what}");
        assert_eq!(leaf.key_usage().unwrap().unwrap().value.flags, 1, "{what}: digitalSignature only");
        assert!(!leaf.extended_key_usage().unwrap().unwrap().value.any, "{what}");
        credentials(&key, answer);
    }
}
