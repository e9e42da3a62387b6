//! What a workload shows for its first certificate: a certificate signing request whose every byte counts, and a join token of which no
//! other form is good.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use arbitrary::{Arbitrary, Unstructured};
use outrigger_control_plane::ca::{PublicKey, Tokens};
use outrigger_proto::WorkloadName;

#[derive(Arbitrary, Debug)]
enum Input {
    /// Anything.
    Csr(Vec<u8>),
    /// A good request of one of three kinds, changed.
    Changed {
        kind: u8,
        edits: Vec<Edit>,
    },
    /// A token, or anything.
    Token(String),
    ChangedToken(Vec<Edit>),
}

#[derive(Arbitrary, Debug)]
enum Edit {
    Set(u16, u8),
    Insert(u16, u8),
    Remove(u16),
}

/// Requests of openssl, for P-256, P-384 and Ed25519.
static GOOD: [&[u8]; 3] = [
    include_bytes!("../fixtures/p256.csr"),
    include_bytes!("../fixtures/p384.csr"),
    include_bytes!("../fixtures/ed25519.csr"),
];

/// Runs the target.
///
/// # Panics
/// When what was changed is taken.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    match input {
        Input::Csr(der) => {
            if PublicKey::from_csr(&der).is_ok() {
                assert!(GOOD.contains(&&*der), "a request that nobody has signed");
            }
        }
        Input::Changed { kind, edits } => {
            let good = GOOD[usize::from(kind) % GOOD.len()];
            let key = PublicKey::from_csr(good).expect("it is good");
            let changed = edit(good, &edits);
            let taken = PublicKey::from_csr(&changed);
            // A signature may have another form in DER; what is signed may not.
            assert!(taken.as_ref().is_ok_and(|taken| *taken == key) || taken.is_err(), "another key");
            let signed = signed(good);
            let same = changed.windows(signed.len()).any(|window| window == signed);
            assert!(taken.is_err() || same, "taken, though what is signed was changed");
        }
        Input::Token(text) => assert!(tokens().0.check(&text, NOW).is_err(), "a token that nobody minted"),
        Input::ChangedToken(edits) => {
            let (tokens, good) = tokens();
            let changed = edit(good.as_bytes(), &edits);
            let Ok(changed) = std::str::from_utf8(&changed) else { return };
            let claims = tokens.check(changed, NOW);
            assert_eq!(claims.is_ok(), changed == good, "another form of a token is good: {changed}");
            assert!(tokens.check(good, NOW + HOUR).is_err(), "a token that has expired");
        }
    }
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const HOUR: Duration = Duration::from_secs(3600);

/// What of a request its signature is for: the first sequence in it.
fn signed(der: &[u8]) -> &[u8] {
    let begin = header(der).0;
    let (content, length) = header(&der[begin..]);
    &der[begin..begin + content + length]
}

/// How long the tag and the length of a DER value are, and the length.
fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
        short => (2, usize::from(short)),
    }
}

fn edit(good: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for edit in edits.iter().take(8) {
        let (Edit::Set(at, _) | Edit::Insert(at, _) | Edit::Remove(at)) = edit;
        let at = usize::from(*at) % bytes.len().max(1);
        match edit {
            Edit::Set(_, byte) if at < bytes.len() => bytes[at] = *byte,
            Edit::Insert(_, byte) => bytes.insert(at, *byte),
            Edit::Remove(_) if at < bytes.len() => drop(bytes.remove(at)),
            Edit::Set(..) | Edit::Remove(_) => {}
        }
    }
    bytes
}

/// A minter, and a token of its.
fn tokens() -> &'static (Tokens, String) {
    static TOKENS: OnceLock<(Tokens, String)> = OnceLock::new();
    TOKENS.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("outrigger-fuzz-tokens-{}", std::process::id()));
        let tokens = Tokens::open(&folder).expect("a folder for the key");
        std::fs::remove_dir_all(&folder).expect("it can be removed");
        let workload = WorkloadName { namespace: "shop".into(), name: "cart-1".into() };
        let token = tokens.mint(&workload, HOUR / 2, NOW).expect("a token");
        (tokens, token)
    })
}
