//! A line of a table.

use super::world::APPS;

/// One case.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    /// As it is written.
    pub(super) line: &'static str,
    /// The client's namespace.
    pub(super) from: &'static str,
    pub(super) v6: bool,
    /// How the client speaks, each way a request of its own.
    pub(super) clients: &'static [&'static str],
    pub(super) method: &'static str,
    pub(super) host: &'static str,
    pub(super) port: u16,
    /// What the request says of its host.
    pub(super) authority: &'static str,
    /// Path and query.
    pub(super) target: &'static str,
    pub(super) headers: Vec<(&'static str, &'static str)>,
    pub(super) body: &'static str,
    pub(super) outcome: Outcome,
    /// `None`: the mesh answers.
    pub(super) backend: Option<&'static str>,
    pub(super) facts: Vec<Fact>,
}

/// How it ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Status(u16),
    Grpc(u8),
    /// A TCP connection on which the server speaks.
    Open,
    /// A TCP connection that ends without a word, or is refused.
    Closed,
    /// Shares in percent, by backend, or by status where the mesh answers.
    Mixed(Vec<(&'static str, u32)>),
}

/// Something that must be so: its key and value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) key: &'static str,
    pub(super) value: &'static str,
}

/// Reads a table; empty lines and those that start with `#` are for readers.
///
/// # Panics
/// On a line that is no case.
pub(super) fn parse(table: &'static str) -> Vec<Case> {
    let lines = table.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| case(line).unwrap_or_else(|| panic!("not a case: {line}"))).collect()
}

impl Case {
    /// The value of a fact of the answer itself.
    pub(super) fn fact(&self, key: &str) -> Option<&'static str> {
        self.facts.iter().find(|fact| fact.key == key).map(|fact| fact.value)
    }

    /// Facts of what backends have got, by backend: `count:v1=2` and `v1:path=/`.
    pub(super) fn told(&self) -> impl Iterator<Item = (&'static str, Fact)> {
        self.facts.iter().filter_map(|Fact { key, value }| {
            let (first, rest) = key.split_once(':')?;
            match first {
                "count" => Some((rest, Fact { key: "count", value })),
                "seen" | "answer" => None,
                backend => Some((backend, Fact { key: rest, value })),
            }
        })
    }
}

fn case(line: &'static str) -> Option<Case> {
    let (asked, expected) = line.split_once(" => ")?;
    let mut words = asked.split_whitespace();
    let (mut from, mut v6, mut clients) = ("shop", false, BOTH);
    let method = loop {
        match words.next()? {
            "@other" => from = "other",
            "v6" => v6 = true,
            "h1" => clients = &["h1"],
            "h2" => clients = &["h2"],
            word => match OWN_METHOD.iter().find(|(own, _)| own[0] == word) {
                Some((own, method)) => {
                    clients = own;
                    break *method;
                }
                None => break word,
            },
        }
    };
    let url = words.next()?;
    let (mut authority, target) = url.split_at(url.find('/').unwrap_or(url.len()));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let (mut headers, mut body) = (Vec::new(), "");
    for word in words {
        match word.split_once([':', '='])? {
            ("body", text) => body = text,
            ("host", named) => authority = named,
            header => headers.push(header),
        }
    }
    let (outcome, backend, facts) = expectation(expected)?;
    Some(Case {
        line,
        from,
        v6,
        clients,
        method,
        host,
        port: port.parse().ok()?,
        authority,
        target: if target.is_empty() { "/" } else { target },
        headers,
        body,
        outcome,
        backend,
        facts,
    })
}

fn expectation(text: &'static str) -> Option<(Outcome, Option<&'static str>, Vec<Fact>)> {
    let mut words = text.split_whitespace();
    let outcome = match words.next()? {
        "open" => Outcome::Open,
        "closed" => Outcome::Closed,
        "mixed" => {
            let share = |word: &'static str| {
                let (who, percent) = word.split_once(':')?;
                Some((who, percent.parse().ok()?))
            };
            return Some((Outcome::Mixed(words.map(share).collect::<Option<_>>()?), None, Vec::new()));
        }
        word => match word.parse() {
            Ok(status) => Outcome::Status(status),
            Err(_) => Outcome::Grpc(u8::try_from(GRPC.iter().position(|name| *name == word)?).ok()?),
        },
    };
    let backend = words.next()?;
    let fact = |word: &'static str| {
        let (key, value) = word.split_once('=')?;
        is_known(key).then_some(Fact { key, value })
    };
    Some((outcome, (backend != "-").then_some(backend), words.map(fact).collect::<Option<_>>()?))
}

fn is_known(key: &str) -> bool {
    match key.split_once(':') {
        None => ["path", "host", "location", "code", "method", "body"].contains(&key),
        Some(("count", app)) => APPS.contains(&app),
        Some(("seen" | "answer", _)) => true,
        Some((app, fact)) => APPS.contains(&app) && is_known(fact),
    }
}

const BOTH: &[&str] = &["h1", "h2"];

/// Clients that have one method only.
const OWN_METHOD: [(&[&str], &str); 3] = [(&["grpc"], "POST"), (&["tls"], "GET"), (&["tcp"], "GET")];

/// By number.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_line_with_everything() {
        let line = "@other v6 h1 POST web:8080/a?b=c:d x-a:b:c host:h.example body=k:v => 503 v1 path=/x count:v2=1 v2:seen:x-a=-";
        let case = case(line).unwrap();

        assert_eq!((case.from, case.v6, case.clients, case.method), ("other", true, &["h1"][..], "POST"));
        assert_eq!((case.host, case.port, case.authority, case.target), ("web", 8080, "h.example", "/a?b=c:d"));
        assert_eq!((case.headers.as_slice(), case.body), (&[("x-a", "b:c")][..], "k:v"));
        assert_eq!((&case.outcome, case.backend), (&Outcome::Status(503), Some("v1")));
        assert_eq!(case.fact("path"), Some("/x"));
        let told: Vec<_> = case.told().collect();
        let fact = |key, value| Fact { key, value };
        assert_eq!(told, [("v2", fact("count", "1")), ("v2", fact("seen:x-a", "-"))]);
    }

    #[test]
    fn reads_other_protocols_and_shares() {
        let grpc = case("grpc web:7070/a.B/C => UNIMPLEMENTED -").unwrap();
        assert_eq!(
            (grpc.clients, grpc.method, grpc.outcome, grpc.backend),
            (&["grpc"][..], "POST", Outcome::Grpc(12), None)
        );
        assert_eq!(case("tcp web:9091 => open v1").unwrap().outcome, Outcome::Open);
        let shares = Outcome::Mixed(vec![("v1", 70), ("500", 30)]);
        assert_eq!(case("GET web/ => mixed v1:70 500:30").unwrap().outcome, shares);
    }

    #[test]
    fn refuses_what_would_check_nothing() {
        for line in [
            "GET web/",
            "GET web/ => 200",
            "GET web/ => FINE v1",
            "GET web/ => 200 v1 paht=/x",
            "GET web/ => 200 v1 v7:path=/",
        ] {
            assert_eq!(case(line), None, "{line}");
        }
    }
}
