//! Slow clients: many connections at once that take their time, and what becomes of them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

/// What a client is slow in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The head of its request, which never ends.
    Head,
    /// The body of its request.
    Body,
    /// Its next request, after one that was answered.
    Idle,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Head, Self::Body, Self::Idle];

    fn start(self) -> &'static [u8] {
        match self {
            Self::Head => b"GET / HTTP/1.1\r\nhost: a\r\nx: ",
            Self::Body => b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n",
            Self::Idle => b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        }
    }
}

/// Connections of slow clients, as many of each kind.
#[derive(Debug)]
pub struct Slow(Vec<(Kind, TcpStream)>);

impl Slow {
    /// Opens so many connections and writes the beginning of each. One that is refused is missing.
    #[must_use]
    pub fn open(address: &str, count: usize) -> Self {
        let one = |kind: Kind| {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.write_all(kind.start()).ok()?;
            stream.set_nonblocking(true).ok()?;
            Some((kind, stream))
        };
        Self(Kind::ALL.into_iter().cycle().take(count).filter_map(one).collect())
    }

    /// Writes one more byte of each message that is under way, and lets go of connections that the other side has closed.
    pub fn drip(&mut self) {
        self.0.retain_mut(|(kind, stream)| {
            let writes = *kind == Kind::Idle || is_open(&stream.write(b"a"));
            writes && is_open(&stream.read(&mut [0; 4096]))
        });
    }

    /// How many connections of a kind are left.
    #[must_use]
    pub fn left(&self, kind: Kind) -> usize {
        self.0.iter().filter(|(of, _)| *of == kind).count()
    }
}

fn is_open(result: &std::io::Result<usize>) -> bool {
    match result {
        Ok(length) => *length > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
