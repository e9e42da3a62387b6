//! HTTP that comes late: bytes are passed on as they come, and yet no request reaches an application that reads HTTP without having been
//! read here. Otherwise a client would choose whether the mesh sees its requests, and could write headers that only the mesh may write.
//!
//! What counts is what *any* reader of HTTP could take for a request line, not what a strict one would: all of them want three words, of which
//! the last begins with `HTTP/`, before they read the first header. Nothing of what follows that line is passed on as bytes.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::detect::prefixed::{LIMIT, Prefixed};
use crate::detect::{Verdict, is_settings, sniff};
use crate::stream::Reset;

/// No reader takes a longer request line: Go's servers, which take the longest, allow 1 MiB for the whole head.
const LONGEST_LINE: usize = 1024 * 1024 + 64 * 1024;

/// What the third word of a request line begins with, in any case.
const VERSION: &[u8] = b"http/";

/// Reads a client's first line, in pieces, and says whether it could be a request line.
#[derive(Clone, Debug, Default)]
pub(crate) struct FirstLine {
    read: usize,
    words: u8,
    in_word: bool,
    /// How much of [`VERSION`] the third word has shown.
    version: usize,
    known: Option<bool>,
}

impl FirstLine {
    /// Reads on. `None`: the line has not ended, and could still become a request line.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<bool> {
        let mut bytes = bytes.iter();
        while self.known.is_none()
            && let Some(byte) = bytes.next()
        {
            self.known = self.next(*byte);
        }
        self.known
    }

    fn next(&mut self, byte: u8) -> Option<bool> {
        self.read += 1;
        if self.read > LONGEST_LINE {
            return Some(false);
        }
        if byte == b'\n' {
            // Empty lines may precede it.
            return (self.words > 0).then_some(self.words == 3 && self.version == VERSION.len());
        }
        if is_space(byte) {
            self.in_word = false;
            return None;
        }
        if !self.in_word {
            self.in_word = true;
            self.words += 1;
        }
        match self.words {
            1 | 2 => None,
            3 if self.version == VERSION.len() => None,
            3 if byte.to_ascii_lowercase() == VERSION[self.version] => {
                self.version += 1;
                None
            }
            _ => Some(false),
        }
    }
}

/// Whether some reader takes it for what separates words: Python's `split` takes all of these.
fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | 0x0b | 0x0c | b'\r' | 0x1c..=0x1f | b' ' | 0x85 | 0xa0)
}

/// What a client whose bytes are passed on speaks after all.
#[derive(Debug)]
pub(crate) enum Late {
    Http1,
    Http2,
    /// No HTTP. With a line that has not ended and is longer than what is kept here: who copies on shows it the client's bytes before the
    /// application gets them.
    Bytes(Option<FirstLine>),
}

/// How many bytes have been passed on.
#[derive(Default)]
pub(crate) struct Passed {
    /// To the application.
    pub(crate) there: usize,
    /// To the client.
    pub(crate) back: usize,
}

/// Passes bytes on, both ways, until it is known whether the client speaks HTTP. When it does, all that it has said is still to be read from
/// `io`, and the application, which has got less than a request line, is to see a reset when its connection is dropped.
///
/// A server that speaks first does not speak HTTP, whatever its client says then. The exception is HTTP/2, whose SETTINGS may come before the
/// client's preface. What fails here fails again where bytes are copied.
pub(crate) async fn watch<T, P>(io: &mut Prefixed<T>, app: &mut Prefixed<P>, passed: &mut Passed) -> Late
where
    T: AsyncRead + AsyncWrite + Unpin,
    P: AsyncRead + AsyncWrite + Reset + Unpin,
{
    let mut line = FirstLine::default();
    let mut examined = 0;
    let mut is_http2 = false;
    loop {
        match (line.read(&io.seen()[examined..]), sniff(io.seen())) {
            (Some(false), _) => break,
            // The first line of HTTP/2's preface is no request by itself.
            (None, _) | (Some(true), Verdict::More) => examined = io.seen().len(),
            (Some(true), verdict) => {
                app.reset_when_dropped();
                return if verdict == Verdict::Http2 { Late::Http2 } else { Late::Http1 };
            }
        }
        // An application must not get a whole line, which some take for a request when nothing follows.
        if passed.there < examined && line.words < 3 {
            if written(app, &io.seen()[passed.there..examined]).await.is_err() {
                break;
            }
            passed.there = examined;
        }
        is_http2 |= is_settings(app.seen());
        if is_http2 {
            if written(io, app.seen()).await.is_err() {
                break;
            }
            passed.back += app.seen().len();
            app.pass_over(app.seen().len());
        }
        if !app.seen().is_empty() || examined >= LIMIT {
            break;
        }
        tokio::select! {
            biased;
            read = app.fill() => if read.unwrap_or(0) == 0 { break },
            read = io.fill() => if read.unwrap_or(0) == 0 { break },
        }
    }
    io.pass_over(passed.there);
    Late::Bytes(Some(line).filter(|line| line.known.is_none() && examined >= LIMIT))
}

async fn written<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;

    #[test]
    fn a_line_that_any_reader_takes_for_a_request_is_one_however_it_is_cut() {
        let long = format!("GET x{} HTTP/1.1\r\n", "a".repeat(40_000));
        let endless = vec![b'a'; LONGEST_LINE + 1];
        let cases: &[(&[u8], Option<bool>)] = &[
            (b"GET / HTTP/1.1\r\n", Some(true)),
            (b"GET / HTTP/1.1\n", Some(true)),
            (b"\n\r\n \r\nGET / HTTP/1.1\r\n", Some(true)),
            (b"GET\t/\x0bHTTP/1.1\x1c\r\n", Some(true)),
            (b"get  /  http/1.1\r\n", Some(true)),
            (b"G3T / HTTP/1.1\r\n", Some(true)),
            (b"\x16\x03 foo HTTP/9\r\n", Some(true)),
            (b"PRI * HTTP/2.0\r\n", Some(true)),
            (b"A x:y HTTP/1.1\r\n", Some(true)),
            (long.as_bytes(), Some(true)),
            (b"", None),
            (b"\r\n", None),
            (b"GE", None),
            (b"GET / HTTP/1.1\r", None),
            (b"GET /\r\n", Some(false)),
            (b"GET / HTTX", Some(false)),
            (b"GET / HTTP\r\n", Some(false)),
            (b"<13>Nov web: \"GET / HTTP/1.1\" 200\n", Some(false)),
            (b"set a 0 0 1\r\n", Some(false)),
            (b"*1\r\n$4\r\nPING\r\n", Some(false)),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", None),
            (&endless, Some(false)),
        ];
        for (bytes, request) in cases {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(50)]);
            assert_eq!(FirstLine::default().read(bytes), *request, "{shown:?}");
            let mut line = FirstLine::default();
            let byte_by_byte = bytes.iter().fold(None, |_, byte| line.read(&[*byte]));
            assert_eq!(byte_by_byte, *request, "{shown:?}");
        }
    }

    /// A client and an application, and what is between them; `None`: it still watches.
    async fn watched(says: &'static [&'static [u8]], app_says: &'static [u8]) -> (Option<Late>, Vec<u8>, Vec<u8>) {
        let (mut client, a) = duplex(100_000);
        let (mut app, b) = duplex(100_000);
        let (mut io, mut to_app) = (Prefixed::new(a), Prefixed::new(b));
        app.write_all(app_says).await.unwrap();
        let say = async {
            for piece in says {
                sleep(Duration::from_millis(20)).await;
                client.write_all(piece).await.unwrap();
            }
            sleep(Duration::from_secs(1)).await;
        };
        let mut passed = Passed::default();
        let watching = async { timeout(Duration::from_secs(60), watch(&mut io, &mut to_app, &mut passed)).await };
        let ((), late) = tokio::join!(say, watching);
        let late = late.ok();
        let rest = io.seen().to_vec();
        drop(to_app);
        drop(io);
        let (got, heard) = (everything(app).await, everything(client).await);
        assert_eq!((got.len(), heard.len()), (passed.there, passed.back));
        (late, got, rest)
    }

    async fn everything(mut stream: DuplexStream) -> Vec<u8> {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_pieces_is_read_as_one_and_the_app_gets_no_whole_line() {
        let (late, got, rest) = watched(&[b"GE", b"T / ", b"HTTP/1.1", b"\r\na: b\r\n"], b"").await;
        assert!(matches!(late, Some(Late::Http1)));
        assert_eq!(got, b"GET / ");
        assert_eq!(rest, b"GET / HTTP/1.1\r\na: b\r\n", "all of it is still to be read");

        let preface: &[&[u8]] = &[b"PRI", b" * HTTP/2.0\r\n", b"\r\nSM\r\n\r\nxyz"];
        let (late, got, rest) = watched(preface, b"").await;
        assert!(matches!(late, Some(Late::Http2)));
        assert_eq!((&got[..], &rest[..]), (&b"PRI"[..], &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxyz"[..]));
    }

    #[tokio::test(start_paused = true)]
    async fn settings_that_come_first_end_no_watch() {
        let settings = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0x40, 0];
        let (late, ..) = watched(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"], settings).await;
        assert!(matches!(late, Some(Late::Http2)));
    }

    #[tokio::test(start_paused = true)]
    async fn other_bytes_pass_as_they_come_each_once() {
        let words: [(&[&[u8]], &[u8]); 5] = [
            (&[b"ru", b"ok"], b""),
            (&[b"set a 0", b" 0 1\r\n"], b""),
            (&[b"say it HT", b"ML\r\n"], b""),
            (&[b"EHLO x HTTP/1.1\r\n"], b"220 mail\r\n"),
            (&[], b"220 mail\r\n"),
        ];
        for (says, app_says) in words {
            let (late, got, rest) = watched(says, app_says).await;
            // Who waits for more has got all that was said.
            let waits = late.is_none();
            assert!(waits || matches!(late, Some(Late::Bytes(None))), "{late:?}");
            let said = says.concat();
            let seen = [got.clone(), rest].concat();
            assert!(if waits { got == said } else { said.starts_with(&seen) }, "{:?}", said.escape_ascii().to_string());
        }
    }
}
