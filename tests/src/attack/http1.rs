//! Desync over HTTP/1: tricks as tables, one line each, and the places where each is tried. A new trick is one more line.
//!
//! In what is written `{S}` and `{N}` stand for a request each, `{L}` for its length, `{L5}` for that and five more, `{X}` for the length in
//! hexadecimal, and `{id}` for the case's own name. `{N}` follows every trick: a reader who trusts what came before reads it as the next request.

mod tables;

use super::desync::{Case, Request};
use tables::{EARLY, FRAMINGS, HEADS, LINES};

/// What a strict reader makes of a trick.
#[derive(Clone, Copy, Debug)]
enum Reads {
    /// A plain request with this body: every proxy passes it on.
    Must(&'static [u8]),
    /// A request with this body that a proxy may refuse.
    May(&'static [u8]),
    /// A message whose end is clear and that no app may see; the next may come.
    Denied,
    /// No request at all, nor after it.
    Refused,
    /// A request whose body breaks off.
    Broken,
}

/// How a body is announced and written: a name, lines of the head, the body, what it is.
type Framing = (&'static str, &'static [u8], &'static [u8], Reads);

/// Lines of a request's head besides `Host`.
type Line = (&'static str, &'static [u8], Reads);

/// A whole head; the target that a strict reader sees in it.
type Head = (&'static str, &'static [u8], Sees);

/// What a strict reader makes of a head.
#[derive(Clone, Copy, Debug)]
enum Sees {
    /// A request with this target, which a proxy may refuse.
    Target(&'static str),
    /// A message that no app may see; the next may come.
    Denied,
    /// No request, nor after it.
    Nothing,
}

/// Where a trick stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    /// After a plain request on the same connection.
    Second,
    /// The app answers before it has the body.
    Early,
    /// The client writes the body once it has that answer.
    Late,
}

/// All cases over HTTP/1.
#[must_use]
pub fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    for (family, framings) in FRAMINGS {
        for framing in *framings {
            cases.framed(family, framing);
        }
    }
    for (family, lines) in LINES {
        for (name, line, reads) in *lines {
            for (method, place) in [("GET", Place::First), ("GET", Place::Second), ("OPTIONS", Place::First)] {
                cases.add(family, method, "HTTP/1.1", place, &(name, line, b"", *reads));
            }
        }
    }
    for (name, head, reads) in HEADS {
        for place in [Place::First, Place::Second] {
            cases.whole(name, head, *reads, place);
        }
    }
    for framing in EARLY {
        for method in ["GET", "POST"] {
            cases.add("asked for more than a request", method, "HTTP/1.1", Place::First, framing);
        }
    }
    cases.0
}

/// Counts final answers.
#[must_use]
pub fn answers(heard: &[u8]) -> usize {
    let is_final =
        |window: &&[u8]| window.starts_with(b"HTTP/1.") && window[8] == b' ' && (b'2'..=b'5').contains(&window[9]);
    heard.windows(12).filter(is_final).count()
}

struct Cases(Vec<Case>);

impl Cases {
    /// Tries a framing wherever it can make a difference.
    fn framed(&mut self, family: &str, framing: &Framing) {
        let (_, lines, _, reads) = framing;
        for (method, place) in [("POST", Place::First), ("POST", Place::Second), ("GET", Place::First)] {
            self.add(family, method, "HTTP/1.1", place, framing);
        }
        if !matches!(reads, Reads::Refused) {
            self.add(family, "POST", "HTTP/1.1", Place::Early, framing);
            self.add(family, "POST", "HTTP/1.1", Place::Late, framing);
        }
        // It has no chunks (RFC 9112 section 6.1).
        let field = b"\ntransfer-encoding:";
        let begins = [b"\n", *lines].concat();
        if begins.windows(field.len()).any(|window| window.eq_ignore_ascii_case(field)) {
            let (name, lines, body, _) = *framing;
            self.add(family, "POST", "HTTP/1.0", Place::First, &(name, lines, body, Reads::Refused));
        }
    }

    fn add(&mut self, family: &str, method: &str, version: &str, place: Place, framing: &Framing) {
        let (name, lines, body, reads) = *framing;
        let id = self.id();
        let last = if matches!(place, Place::Early | Place::Late) { "early" } else { "a" };
        let target = format!("/{id}/{last}");
        let head = format!("{method} {target} {version}\r\nhost: {id}.test\r\n");
        let head = [head.as_bytes(), &fill(lines, &id), b"\r\n"].concat();
        let rest = [&fill(body, &id)[..], &fill(b"{N}", &id)].concat();
        let request = |body: Option<String>, whole| Request {
            method: method.to_owned(),
            host: format!("{id}.test"),
            target: target.clone(),
            body,
            whole,
        };
        let (mut reading, mut least) = match reads {
            Reads::Must(body) => (vec![request(Some(text(&fill(body, &id))), true), next(&id)], 2),
            Reads::May(body) => (vec![request(Some(text(&fill(body, &id))), true), next(&id)], 0),
            Reads::Denied => (vec![next(&id)], 0),
            Reads::Refused => (Vec::new(), 0),
            Reads::Broken => (vec![request(None, false)], 0),
        };
        if matches!(place, Place::Early | Place::Late) {
            // An app that answered early may close the connection, and with it goes what follows; one that is asked to may wait for the body.
            least = if place == Place::Early { least.min(1) } else { 0 };
        }
        let mut bytes = Vec::new();
        if place == Place::Second {
            bytes.extend(format!("GET /{id}/first HTTP/1.1\r\nhost: {id}.test\r\n\r\n").into_bytes());
            reading.insert(0, get(&id, "first"));
            least += 1;
        }
        bytes.extend(head);
        let pause = (place == Place::Late).then_some(bytes.len());
        bytes.extend(rest);
        let name = format!("{family}: {name}, {method} {version} {place:?}");
        self.0.push(Case { id, name, bytes, pause, reading, least });
    }

    fn whole(&mut self, name: &str, head: &[u8], sees: Sees, place: Place) {
        let id = self.id();
        let mut bytes = Vec::new();
        let mut reading = Vec::new();
        if place == Place::Second {
            bytes.extend(format!("GET /{id}/first HTTP/1.1\r\nhost: {id}.test\r\n\r\n").into_bytes());
            reading.push(get(&id, "first"));
        }
        let least = reading.len();
        bytes.extend(fill(head, &id));
        bytes.extend(fill(b"{N}", &id));
        match sees {
            Sees::Target(target) => {
                let target = text(&fill(target.as_bytes(), &id));
                reading.extend([Request { target, ..get(&id, "") }, next(&id)]);
            }
            Sees::Denied => reading.push(next(&id)),
            Sees::Nothing => {}
        }
        self.0.push(Case { id, name: format!("head: {name}, {place:?}"), bytes, pause: None, reading, least });
    }

    fn id(&self) -> String {
        format!("c{:05}", self.0.len())
    }
}

fn get(id: &str, last: &str) -> Request {
    let (target, host) = (format!("/{id}/{last}"), format!("{id}.test"));
    Request { method: "GET".to_owned(), target, host, body: Some(String::new()), whole: true }
}

fn next(id: &str) -> Request {
    get(id, "next-one")
}

/// Puts in what the tables leave open.
pub(super) fn fill(template: &[u8], id: &str) -> Vec<u8> {
    let request = |path: &str| format!("GET /{id}/{path} HTTP/1.1\r\nhost: {id}.test\r\n\r\n");
    let (hidden, next) = (request("smuggled"), request("next-one"));
    let length = hidden.len();
    let mut out = template.to_vec();
    for (what, with) in [
        (&b"{S}"[..], hidden),
        (b"{N}", next),
        (b"{L}", length.to_string()),
        (b"{L5}", (length + 5).to_string()),
        (b"{X}", format!("{length:x}")),
        (b"{id}", id.to_owned()),
    ] {
        while let Some(at) = out.windows(what.len()).position(|window| window == what) {
            out.splice(at..at + what.len(), with.bytes());
        }
    }
    out
}

pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_at_least_three_hundred_and_each_has_a_name_of_its_own() {
        let cases = cases();
        let mut names: Vec<&str> = cases.iter().map(|case| &*case.name).collect();
        names.sort_unstable();
        names.dedup();

        assert!(cases.len() >= 300 && names.len() == cases.len(), "{} cases, {} names", cases.len(), names.len());
    }
}
