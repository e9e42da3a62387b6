//! The apps that desync cases are sent to, and what they say of what they saw.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use outrigger_sandbox::Namespace;

use super::desync::Request;
use super::strict::Strict;
use crate::peers::{PeerError, origin};
use crate::{Client, Process, wait};

/// A make of HTTP/1 server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Make {
    /// Ours: by the letter, and with no mercy.
    Strict,
    /// Go's net/http.
    Go,
    /// Node's http.
    Node,
    /// gunicorn.
    Gunicorn,
}

impl Make {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Go, Self::Node, Self::Gunicorn];

    /// How tables name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "by the letter",
            Self::Go => "net/http",
            Self::Node => "Node",
            Self::Gunicorn => "gunicorn",
        }
    }

    /// The program, ready to be started; it is built or found first.
    ///
    /// # Errors
    /// When it is missing.
    pub fn command(self, port: u16) -> Option<Result<Command, PeerError>> {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        match self {
            Self::Strict => None,
            Self::Go => Some(origin::go(listen)),
            Self::Node => Some(origin::node(listen)),
            Self::Gunicorn => Some(origin::gunicorn(listen)),
        }
    }
}

/// A running app.
#[derive(Debug)]
pub struct Origin {
    /// What it is.
    pub make: Make,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Here(Strict),
    Program { process: Process, read: usize },
}

impl Origin {
    /// Starts one on `port` of all addresses of `at`, and waits until it answers there.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(make: Make, at: &Namespace, folder: &Path, port: u16) -> Self {
        let Some(command) = make.command(port) else {
            return Self { make, place: Place::Here(Strict::start(at, port)) };
        };
        let mut command = command.expect("it was there before");
        let mut process = Process::start(&format!("origin-{port}"), at, folder, &mut command);
        wait::until_true(&format!("{command:?} answers"), || {
            assert!(process.alive(), "{command:?} ended: {}", process.output());
            let asked = || Client::connect(&format!("127.0.0.1:{port}"))?.get("/neighbour/first");
            at.run(asked).expect("a thread starts").is_ok()
        });
        Self { make, place: Place::Program { process, read: 0 } }
    }

    /// What it has seen since the last time. What its reader found broken is a request whose method is `BROKEN`.
    ///
    /// # Panics
    /// When it said something that cannot be understood.
    pub fn seen(&mut self) -> Vec<Request> {
        match &mut self.place {
            Place::Here(strict) => strict.seen().iter().map(|said| of_strict(said)).collect(),
            Place::Program { process, read } => {
                let output = process.output();
                // A line may be half written.
                let end = output.rfind('\n').map_or(0, |end| end + 1);
                let lines = output[*read..end].lines().filter(|line| line.starts_with('{'));
                let parsed = lines.map(|line| serde_json::from_str(line).expect("a line of JSON"));
                let seen = parsed.filter(|request: &Request| !request.target.starts_with("/neighbour/")).collect();
                *read = end;
                seen
            }
        }
    }

    /// What it has seen since the last time, once it sees no more.
    ///
    /// # Panics
    /// As [`Origin::seen`].
    pub fn settled(&mut self) -> Vec<Request> {
        let mut seen = Vec::new();
        loop {
            std::thread::sleep(SETTLED);
            let more = self.seen();
            if more.is_empty() {
                return seen;
            }
            seen.extend(more);
        }
    }
}

/// An app that has seen nothing for so long has seen all that its proxy had for it.
const SETTLED: std::time::Duration = std::time::Duration::from_millis(500);

/// `METHOD target host body`; bytes of the body that are no text are escaped.
fn of_strict(said: &str) -> Request {
    let mut words = said.splitn(4, ' ').map(str::to_owned);
    let mut word = || words.next().unwrap_or_default();
    let (method, target, host, body) = (word(), word(), word(), word());
    let body = unescape(&body);
    if method == "BROKEN:" {
        let target = format!("{target} {host} {body}");
        return Request { method: "BROKEN".to_owned(), target, host: String::new(), body: None, whole: false };
    }
    let host = if host == "-" { String::new() } else { host };
    Request { method, target, host, body: Some(body), whole: true }
}

fn unescape(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\\"", "\"")
}
