//! A peer that writes frames by hand.

use std::future::{Future, pending};

use http::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::super::frame::{self, Head};
use super::super::{Error, Incoming, Reason, Sender, Settings, connect, serve};
use super::AnyBody;

/// `GET http://a/`.
pub(super) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'a'];
/// The same with POST.
pub(super) const POST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'a'];
pub(super) const END_BOTH: u8 = frame::END_STREAM | frame::END_HEADERS;

pub(super) struct Raw {
    pub(super) io: DuplexStream,
    pub(super) end: JoinHandle<Result<(), Error>>,
}

impl Raw {
    /// A client of `service` that has sent its preface.
    pub(super) async fn client<S, F>(settings: &Settings, service: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let mut raw = Self::silent_client(settings, service);
        raw.bytes(frame::PREFACE).await;
        raw.frame(frame::SETTINGS, 0, 0, &[]).await;
        raw
    }

    pub(super) fn silent_client<S, F>(settings: &Settings, service: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let (near, far) = tokio::io::duplex(32 << 20);
        let settings = settings.clone();
        let end = tokio::spawn(async move { serve(far, &settings, service, pending()).await });
        Self { io: near, end }
    }

    /// A server whose client is ours; it has sent its SETTINGS.
    pub(super) async fn server(settings: &Settings) -> (Sender<AnyBody>, Self) {
        let (near, far) = tokio::io::duplex(32 << 20);
        let (sender, driver) = connect(far, settings);
        let mut raw = Self { io: near, end: tokio::spawn(driver) };
        raw.frame(frame::SETTINGS, 0, 0, &[]).await;
        let mut preface = [0; 24];
        raw.io.read_exact(&mut preface).await.unwrap();
        (sender, raw)
    }

    pub(super) async fn bytes(&mut self, bytes: &[u8]) {
        // The other side may have closed already: what it said is read later.
        let _ = self.io.write_all(bytes).await;
    }

    pub(super) async fn frame(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8]) {
        let mut out = Vec::new();
        frame::head(&mut out, payload.len(), kind, flags, id);
        out.extend_from_slice(payload);
        self.bytes(&out).await;
    }

    pub(super) async fn window_update(&mut self, id: u32, more: u32) {
        self.frame(frame::WINDOW_UPDATE, 0, id, &more.to_be_bytes()).await;
    }

    /// The next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<(Head, Vec<u8>)> {
        let mut head = [0; frame::HEAD];
        self.io.read_exact(&mut head).await.ok()?;
        let head = Head::parse(&head)?;
        let mut payload = vec![0; head.length];
        self.io.read_exact(&mut payload).await.ok()?;
        Some((head, payload))
    }

    /// The next frame of this kind.
    pub(super) async fn until(&mut self, kind: u8) -> (Head, Vec<u8>) {
        loop {
            let (head, payload) = self.next().await.expect("the connection goes on");
            if head.kind == kind {
                return (head, payload);
            }
        }
    }

    /// How the stream was reset.
    pub(super) async fn reset(&mut self, id: u32) -> Reason {
        loop {
            let (head, payload) = self.until(frame::RST_STREAM).await;
            if head.id == id {
                return Reason(frame::word(&payload).unwrap());
            }
        }
    }

    /// Why the other side ended the connection, which it did.
    pub(super) async fn go_away(mut self) -> Reason {
        let (_, payload) = self.until(frame::GO_AWAY).await;
        while self.next().await.is_some() {}
        let end = self.end.await.unwrap();
        assert!(end.unwrap_err().is_protocol());
        Reason(frame::word(&payload[4..]).unwrap())
    }
}
