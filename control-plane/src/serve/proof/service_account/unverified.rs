//! What a ServiceAccount token says of itself, before anybody has verified it. It proves nothing: it spares the API server what
//! cannot be good. Whatever the API server would accept for our audience passes.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use data_encoding::Encoding;
use serde::Deserialize;

use super::AUDIENCE;
use crate::serve::known::Refused;
use crate::serve::metrics::Refusal;

/// The pod that a token claims to be bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
}

/// Reads a token (RFC 7519, as Kubernetes projects them).
///
/// # Errors
/// When it is none, is for another audience, has ended or is bound to no pod.
pub(super) fn read(token: &str, now: SystemTime) -> Result<Claimed, Refused> {
    let malformed = || (Refusal::TokenMalformed, "not a ServiceAccount token".to_owned());
    if token.len() > MAX_TOKEN {
        return Err((Refusal::TokenMalformed, format!("longer than {MAX_TOKEN} bytes")));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    let signed =
        !signature.is_empty() && signature.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let header: Header = part(header).filter(|_| signed).ok_or_else(malformed)?;
    if !is_asymmetric(&header.alg) {
        return Err(malformed());
    }
    let claims: Claims = part(claims).ok_or_else(malformed)?;
    if claims.iss.is_empty() {
        return Err(malformed());
    }
    if !claims.aud.contains(AUDIENCE) {
        return Err((Refusal::TokenAudience, format!("the audience must be {AUDIENCE}")));
    }
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    if claims.exp + SKEW.as_secs_f64() < now {
        return Err((Refusal::TokenExpired, "it has ended".to_owned()));
    }
    match claims.kubernetes {
        Some(Kubernetes { namespace, pod: Some(pod), serviceaccount: Some(account) })
            if !namespace.is_empty() && !account.name.is_empty() =>
        {
            Ok(Claimed { namespace, pod: pod.name, uid: pod.uid })
        }
        _ => Err((Refusal::TokenUnbound, "a token that is bound to a pod must be shown".to_owned())),
    }
}

fn part<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    serde_json::from_slice(&BASE64URL.decode(part.as_bytes()).ok()?).ok()
}

/// The API server signs with RSA or elliptic curves, or has it done (RFC 7518 section 3.1, RFC 8037 section 3.1).
fn is_asymmetric(algorithm: &str) -> bool {
    ["RS", "PS", "ES", "EdDSA"].iter().any(|kind| algorithm.starts_with(kind))
}

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    aud: Audience,
    /// Seconds; a fraction is allowed (RFC 7519 section 2).
    exp: f64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

/// One string, or several (RFC 7519 section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(audience) => audience == wanted,
            Self::Several(audiences) => audiences.iter().any(|audience| audience == wanted),
        }
    }
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    pod: Option<Named>,
    serviceaccount: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    uid: String,
}

/// As lenient as the API server's.
#[expect(clippy::expect_used, reason = "a literal")]
static BASE64URL: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = data_encoding::BASE64URL_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().expect("it differs from the usual one in this alone")
});

/// Real ones are about 1 KiB.
const MAX_TOKEN: usize = 16 * 1024;

/// The API server's clock, and the minute that it allows itself.
const SKEW: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use data_encoding::BASE64URL_NOPAD;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_796_000_000;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        format!("{}.{}.{}", part(header), part(claims), BASE64URL_NOPAD.encode(&[0x5a; 256]))
    }

    fn header() -> Value {
        json!({"alg": "RS256", "kid": "8hJdDcvT7q0bEp1vYbJmDn0mG8vB0cR1m3Yt5tKxk9w"})
    }

    /// What Kubernetes 1.36 projects.
    fn claims() -> Value {
        json!({
            "aud": ["outrigger"],
            "exp": NOW + 3607,
            "iat": NOW,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": "b7a9c1f4-6f4e-4d3b-9a3e-0a1b2c3d4e5f",
            "kubernetes.io": {
                "namespace": "shop",
                "node": {"name": "node-1", "uid": "4b2f1f0c-1111-4c4c-8d8d-000000000003"},
                "pod": {"name": "web-1", "uid": "4b2f1f0c-1111-4c4c-8d8d-000000000001"},
                "serviceaccount": {"name": "web", "uid": "4b2f1f0c-1111-4c4c-8d8d-000000000002"},
            },
            "nbf": NOW,
            "sub": "system:serviceaccount:shop:web",
        })
    }

    fn with(path: &str, value: Value) -> Value {
        let mut claims = claims();
        *claims.pointer_mut(path).unwrap() = value;
        claims
    }

    fn without(object: &str, field: &str) -> Value {
        let mut claims = claims();
        claims.pointer_mut(object).unwrap().as_object_mut().unwrap().remove(field);
        claims
    }

    #[test]
    fn passes_whatever_an_api_server_may_accept() {
        let mut of_1_28 = without("/kubernetes.io", "node");
        of_1_28.as_object_mut().unwrap().remove("jti");
        for claims in [
            claims(),
            of_1_28,
            with("/aud", json!("outrigger")),
            with("/aud", json!(["https://kubernetes.default.svc", "outrigger"])),
            with("/exp", json!(1.796_000_1e9)),
            with("/exp", json!(NOW - 60)),
            with("/iss", json!("https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF")),
        ] {
            let claimed = read(&token(&header(), &claims), now()).unwrap();
            assert_eq!((&*claimed.namespace, &*claimed.pod), ("shop", "web-1"));
            assert_eq!(claimed.uid, "4b2f1f0c-1111-4c4c-8d8d-000000000001");
        }
        for algorithm in ["RS256", "ES256", "ES384", "ES512", "PS256", "EdDSA"] {
            let header = json!({"alg": algorithm, "typ": "JWT"});
            assert!(read(&token(&header, &claims()), now()).is_ok(), "{algorithm}");
        }
    }

    #[test]
    fn refuses_what_cannot_be_good() {
        let refused = |token: &str| read(token, now()).unwrap_err().0;
        for (claims, expected) in [
            (with("/aud", json!([])), Refusal::TokenAudience),
            (with("/aud", json!("outrigger2")), Refusal::TokenAudience),
            (without("", "aud"), Refusal::TokenAudience),
            (with("/exp", json!(NOW - 301)), Refusal::TokenExpired),
            (with("/exp", json!("never")), Refusal::TokenMalformed),
            (without("", "exp"), Refusal::TokenMalformed),
            (without("", "iss"), Refusal::TokenMalformed),
            (with("/iss", json!("")), Refusal::TokenMalformed),
            (without("", "kubernetes.io"), Refusal::TokenUnbound),
            (without("/kubernetes.io", "pod"), Refusal::TokenUnbound),
            (without("/kubernetes.io", "serviceaccount"), Refusal::TokenUnbound),
            (without("/kubernetes.io", "namespace"), Refusal::TokenMalformed),
            (json!([1]), Refusal::TokenMalformed),
        ] {
            assert_eq!(refused(&token(&header(), &claims)), expected, "{claims}");
        }
        for algorithm in ["none", "HS256", ""] {
            assert_eq!(refused(&token(&json!({"alg": algorithm}), &claims())), Refusal::TokenMalformed);
        }
        let good = token(&header(), &claims());
        let (unsigned, _) = good.rsplit_once('.').unwrap();
        for rubbish in [
            "",
            ".",
            "..",
            "...",
            "a.b.c",
            "rubbish",
            &good[1..],
            &format!("{good}.x"),
            unsigned,
            &format!("{unsigned}."),
            &format!("{unsigned}.ä"),
            &format!("{good}\0"),
            &"a".repeat(MAX_TOKEN + 1),
        ] {
            assert_eq!(refused(rubbish), Refusal::TokenMalformed, "{rubbish}");
        }
    }

    proptest! {
        #[test]
        fn anything_at_all_is_refused_in_good_order(token in "\\PC*") {
            prop_assert!(read(&token, now()).is_err());
        }

        #[test]
        fn any_json_in_the_form_of_a_token_is_read_or_refused(header in json(), claims in json()) {
            let _ = read(&token(&header, &claims), now());
        }

        #[test]
        fn a_good_token_with_other_bytes_in_it_is_read_or_refused(at in 0_usize..900, byte in any::<u8>()) {
            let mut bytes = token(&header(), &claims()).into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&String::from_utf8_lossy(&bytes), now());
        }

        #[test]
        fn a_token_for_us_passes_whatever_else_it_says(
            extra in json(),
            audiences in prop::collection::vec("[a-z:/.]{0,20}", 0..4),
            end in NOW..NOW * 2,
            name in "[a-z0-9]([a-z0-9.-]{0,60}[a-z0-9])?",
        ) {
            let mut claims = claims();
            let audiences: Vec<_> = audiences.into_iter().chain(["outrigger".to_owned()]).collect();
            claims["aud"] = json!(audiences);
            claims["exp"] = json!(end);
            claims["kubernetes.io"]["pod"]["name"] = json!(name);
            claims["kubernetes.io"]["warnafter"] = extra.clone();
            claims["extra"] = extra;
            prop_assert_eq!(read(&token(&header(), &claims), now()).unwrap().pod, name);
        }
    }

    /// Any JSON, with the names that mean something among the others.
    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            Just(json!("outrigger")),
        ];
        let name = prop_oneof![
            "\\PC{0,8}",
            prop::sample::select(vec!["alg", "aud", "exp", "iss", "kubernetes.io", "namespace", "pod", "name", "uid"])
                .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }
}
