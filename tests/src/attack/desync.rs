//! Requests that two readers could take for different ones: what a case is, how it is sent, and what an app saw of it.
//!
//! The judge is the app's own record. A case says which requests a strict reading of its bytes contains ([`Case::reading`]); behind a proxy an
//! app may see them, or some of them, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A request, as a strict reader understands it or as an app saw it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The target; of an absolute one, the path.
    pub target: String,
    /// The value of `Host`, or the authority of an absolute target.
    pub host: String,
    /// The body, as Latin-1; `None` where the app answered before it had it, and left it alone.
    pub body: Option<String>,
    /// Whether the body came to its end.
    pub whole: bool,
}

/// What a client writes, and what that means.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique; each target or host of the case carries it.
    pub id: String,
    /// Which trick, and where.
    pub name: String,
    /// What the client writes.
    pub bytes: Vec<u8>,
    /// Where it waits for an answer before it goes on.
    pub pause: Option<usize>,
    /// The requests that a strict reading contains, in order.
    pub reading: Vec<Request>,
    /// So many of them are plain HTTP that every proxy must pass on.
    pub least: usize,
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The app saw all that a strict reading contains.
    Forwarded,
    /// The app saw less, such as nothing: what was in doubt was refused.
    Rejected,
    /// The app saw something else: a malformed message was mended and passed on.
    Mended(String),
    /// The app saw a request that a strict reader takes for a part of another, or that follows what nobody may read on from.
    Smuggled(String),
}

impl Case {
    /// Compares what an app saw with the strict reading.
    #[must_use]
    pub fn judge(&self, seen: &[Request]) -> Verdict {
        // A proxy may use several connections to the app: their order is nobody's.
        let mut left: Vec<&Request> = self.reading.iter().collect();
        let strictly = seen.iter().all(|seen| {
            let Some(at) = left.iter().position(|read| seen.is(read)) else { return false };
            // A proxy may try once more what an app has not had the whole of.
            if seen.whole {
                left.remove(at);
            }
            true
        });
        if strictly {
            let all = left.is_empty();
            return if all { Verdict::Forwarded } else { Verdict::Rejected };
        }
        let told = format!("the app saw {seen:?}, a strict reader {:?}", self.reading);
        let hidden = |request: &Request| HIDDEN.iter().any(|path| request.target.ends_with(path));
        let is_read = |request: &Request| self.reading.iter().any(|read| read.target == request.target);
        if seen.iter().any(|seen| hidden(seen) && !is_read(seen)) {
            Verdict::Smuggled(told)
        } else {
            Verdict::Mended(told)
        }
    }
}

impl Request {
    /// Whether an app that saw `self` saw what is meant, or the beginning of it that it knows for no more than that.
    fn is(&self, meant: &Self) -> bool {
        let body = match (&self.body, &meant.body) {
            (Some(seen), Some(meant)) if self.whole => seen == meant,
            // An app that answered early had no look at the body.
            _ => !self.whole || self.body.is_none(),
        };
        (&self.method, &self.target, &self.host) == (&meant.method, &meant.target, &meant.host) && body
    }

    /// Takes the absolute form apart (RFC 9112 section 3.2.2).
    #[must_use]
    pub fn normal(mut self) -> Self {
        if let Some(rest) = self.target.strip_prefix("http://") {
            let path = rest.find('/').unwrap_or(rest.len());
            self.host = rest[..path].to_owned();
            self.target = if path == rest.len() { "/".to_owned() } else { rest[path..].to_owned() };
        }
        self
    }
}

/// A connection of a hostile client.
pub trait Connection: Read + Write {
    /// Says that no more comes.
    fn finish(&mut self);
    /// Reading gives up after so long.
    ///
    /// # Errors
    /// When the socket is gone.
    fn patience(&mut self, limit: Duration) -> io::Result<()>;
}

impl Connection for std::net::TcpStream {
    fn finish(&mut self) {
        // Fails where the other side has closed.
        let _ = self.shutdown(std::net::Shutdown::Write);
    }

    fn patience(&mut self, limit: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(limit))
    }
}

/// Opens a connection.
pub type Dial<'a> = dyn Fn() -> io::Result<Box<dyn Connection>> + Sync + 'a;

/// Counts the final answers among what came so far.
pub type Answers = fn(&[u8]) -> usize;

/// Sends all cases, many at a time; returns the names of those whose connection outlived the client's end.
///
/// # Panics
/// When the target does not accept connections.
pub fn send(cases: &[Case], answers: Answers, dial: &Dial<'_>) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let hung = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut connection = dial().expect("the target accepts connections");
                    if !converse(&mut *connection, case, answers) {
                        hung.lock().expect("no thread panicked").push(case.name.clone());
                    }
                }
            });
        }
    });
    hung.into_inner().expect("no thread panicked")
}

/// Writes a case, waits for its answers, ends, and waits for the end; says whether that came.
fn converse(connection: &mut dyn Connection, case: &Case, answers: Answers) -> bool {
    let until = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    let (first, rest) = case.bytes.split_at(case.pause.unwrap_or(case.bytes.len()));
    for (bytes, wanted) in [(first, if rest.is_empty() { case.least.max(1) } else { 1 }), (rest, case.least.max(1))] {
        // The other side may close before it has read everything.
        let _ = connection.write_all(bytes);
        let _ = connection.flush();
        // What must be answered is waited for; what need not be may be the beginning of something.
        let limit = if case.least > 0 { PATIENCE } else { QUIET };
        while answers(&heard) < wanted && matches!(read(connection, &mut heard, limit), Heard::Bytes) {}
    }
    connection.finish();
    while Instant::now() < until {
        match read(connection, &mut heard, PATIENCE) {
            Heard::Bytes => {}
            Heard::End => return true,
            Heard::Nothing => return false,
        }
    }
    false
}

enum Heard {
    Bytes,
    Nothing,
    End,
}

fn read(connection: &mut dyn Connection, heard: &mut Vec<u8>, limit: Duration) -> Heard {
    let mut buffer = [0; 4096];
    if connection.patience(limit).is_err() {
        return Heard::End;
    }
    match connection.read(&mut buffer) {
        Ok(0) => Heard::End,
        Ok(n) => {
            heard.extend_from_slice(&buffer[..n]);
            Heard::Bytes
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Heard::Nothing,
        Err(_) => Heard::End,
    }
}

/// What an app saw, by case; what belongs to none stands under the empty id.
#[must_use]
pub fn by_case(seen: Vec<Request>) -> BTreeMap<String, Vec<Request>> {
    let mut by_case = BTreeMap::<_, Vec<_>>::new();
    for request in seen {
        let request = request.normal();
        let body = request.body.as_deref().unwrap_or_default();
        let id = [&*request.target, &*request.host, &*request.method, body].into_iter().find_map(id_in);
        by_case.entry(id.unwrap_or_default()).or_default().push(request);
    }
    by_case
}

/// The first id in a text: `c` and five digits.
fn id_in(text: &str) -> Option<String> {
    let found = |start: &(usize, &str)| {
        text.get(start.0 + 1..start.0 + 6).is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
    };
    text.match_indices('c').find(found).map(|(start, _)| text[start..start + 6].to_owned())
}

/// Requests that stand inside of others, or after them.
pub const HIDDEN: [&str; 2] = ["/smuggled", "/next-one"];

/// So many connections are open.
const AT_ONCE: usize = 24;
/// Only a broken path takes as long.
const PATIENCE: Duration = Duration::from_secs(15);
/// Whoever waits so long waits for more.
const QUIET: Duration = Duration::from_millis(400);
