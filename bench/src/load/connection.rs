//! One keep-alive connection: a prepared request out, one answer in.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::echo::http1::head_end;

/// A connection and the request it repeats.
#[derive(Debug)]
pub(crate) struct Connection {
    io: TcpStream,
    request: Rc<[u8]>,
    read: Vec<u8>,
}

/// The request that all connections send.
pub(crate) fn request(target: SocketAddr, path: &str, bytes: usize, marker: &str) -> Rc<[u8]> {
    let head = format!(
        "GET {path}/bytes/{bytes} HTTP/1.1\r\nhost: {target}\r\nuser-agent: outrigger-bench/1\r\naccept: */*\r\n\
         x-marker: {marker}\r\n\r\n"
    );
    head.into_bytes().into()
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: SocketAddr, request: Rc<[u8]>) -> Result<Self> {
        let io = TcpStream::connect(target).await.with_context(|| format!("connect {target}"))?;
        io.set_nodelay(true)?;
        Ok(Self { io, request, read: Vec::with_capacity(4096) })
    }

    /// Sends the request and reads the whole answer, which must be a 200.
    pub(crate) async fn ask(&mut self) -> Result<()> {
        self.io.write_all(&self.request).await.context("write")?;
        let (mut length, mut known) = (0, false);
        self.read.clear();
        loop {
            if self.io.read_buf(&mut self.read).await.context("read")? == 0 {
                bail!("closed before the answer was complete");
            }
            if !known && let Some(end) = head_end(&self.read) {
                length = end + body_length(&self.read[..end])?;
                self.read.reserve(length.saturating_sub(self.read.len()));
                known = true;
            }
            if known && self.read.len() >= length {
                ensure!(self.read.len() == length, "more came than the answer's length");
                return Ok(());
            }
        }
    }
}

fn body_length(head: &[u8]) -> Result<usize> {
    let text = std::str::from_utf8(head).context("head is not UTF-8")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 200 "), "answered {text}");
    for line in lines {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            return value.trim().parse().with_context(|| format!("bad length {value}"));
        }
    }
    bail!("answered without a content-length: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_answer_that_is_no_200_or_has_no_length() {
        assert_eq!(body_length(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n").unwrap(), 7);
        assert!(body_length(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\n\r\n").is_err());
        assert!(body_length(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
    }
}
