//! How calls of gRPC end that the server ends in odd ways: the client sees what it would see without the mesh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outrigger_sandbox::Namespace;
use outrigger_tests::attack::http2::frame;
use outrigger_tests::peers::calls;
use outrigger_tests::wait::until_true;
use outrigger_tests::{App, Mesh, Process, yaml};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{enter_with, every_address, output};

const PORT: u16 = 9100;

/// What the server does with a call.
#[derive(Clone, Copy, Debug)]
enum Act {
    /// Resets the stream, with this code.
    Reset(u32),
    /// The same, behind the head of a response.
    ResetBehindHead(u32),
    /// Ends the connection behind the head of a response.
    Close,
    /// Nothing.
    Silence,
}

const ACTS: &[Act] = &[
    Act::Reset(0x0),
    Act::Reset(0x1),
    Act::Reset(0x2),
    Act::Reset(0x8),
    Act::Reset(0xb),
    Act::Reset(0xc),
    Act::Reset(0xd),
    Act::ResetBehindHead(0x2),
    Act::ResetBehindHead(0x8),
    Act::ResetBehindHead(0xb),
    Act::Close,
];

#[derive(Default)]
struct Counts {
    calls: AtomicU32,
    pings: AtomicU32,
}

/// A server of HTTP/2 that does this with each call.
fn server(at: &Namespace, port: u16, act: Act) -> (App, Arc<Counts>) {
    let counts = Arc::<Counts>::default();
    let counted = counts.clone();
    let app = App::tcp(at, port, move |stream| {
        let counts = counted.clone();
        Box::pin(async move {
            // It ends when the client does.
            let _ = serve(stream, act, &counts).await;
        })
    });
    (app, counts)
}

async fn serve(mut stream: TcpStream, act: Act, counts: &Counts) -> std::io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?;
    let mut out = Vec::new();
    frame(&mut out, SETTINGS, 0, 0, &[]);
    loop {
        stream.write_all(&out).await?;
        out.clear();
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, i, j, k, l] = head;
        stream.read_exact(&mut vec![0; u32::from_be_bytes([0, a, b, c]) as usize]).await?;
        let id = u32::from_be_bytes([i, j, k, l]);
        match kind {
            SETTINGS if flags & ACK == 0 => frame(&mut out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => {
                counts.pings.fetch_add(1, Ordering::Relaxed);
            }
            DATA | HEADERS if flags & END_STREAM != 0 => {
                counts.calls.fetch_add(1, Ordering::Relaxed);
                if matches!(act, Act::ResetBehindHead(_) | Act::Close) {
                    // `:status: 200` and `content-type: application/grpc`.
                    frame(&mut out, HEADERS, END_HEADERS, id, &[&[0x88, 0x5f, 16], &b"application/grpc"[..]].concat());
                }
                match act {
                    Act::Reset(code) | Act::ResetBehindHead(code) => {
                        frame(&mut out, RST_STREAM, 0, id, &code.to_be_bytes());
                    }
                    Act::Close => return stream.write_all(&out).await,
                    Act::Silence => {}
                }
            }
            _ => {}
        }
    }
}

/// The status of one call, in the words of grpc-go.
fn status(at: &Namespace, to: SocketAddr) -> String {
    let output = output(at, &calls::client(to, 1, "call").unwrap());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn a_call_that_ends_oddly_has_the_status_that_it_has_without_the_mesh() {
    let Some(sandbox) = enter_with([calls::server(every_address(PORT), &[])]) else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("calls", "10.96.0.40", 80, PORT));
    let (meshed, client) = (mesh.pod("calls-1", "calls"), mesh.pod("client-1", "client"));
    let (bare, outside) = (mesh.bare("bare"), mesh.bare("outside"));

    for (act, port) in ACTS.iter().zip(PORT..) {
        let _servers = [server(&meshed, port, *act), server(&bare, port, *act)];
        let (meshed, bare) = ((meshed.ip(), port).into(), (bare.v4(), port).into());
        let expected = status(&outside, bare);
        assert_ne!(expected, "ok", "{act:?}");

        for (from, to, what) in [
            (&*client, meshed, "both meshed"),
            (&outside, meshed, "only the server meshed"),
            (&*client, bare, "only the client meshed"),
        ] {
            assert_eq!(status(from, to), expected, "{act:?}, {what}");
        }
    }
}

#[test]
fn a_call_that_the_server_refuses_is_repeated_once_by_the_mesh() {
    let Some(sandbox) = enter_with([calls::server(every_address(PORT), &[])]) else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("calls", "10.96.0.40", 80, PORT));
    let (meshed, client) = (mesh.pod("calls-1", "calls"), mesh.pod("client-1", "client"));
    let outside = mesh.bare("outside");
    let (_app, counts) = server(&meshed, PORT, Act::Reset(7));
    let calls = |from: &Namespace, to: SocketAddr| {
        let before = counts.calls.load(Ordering::Relaxed);
        assert_eq!(status(from, to), "Unavailable");
        counts.calls.load(Ordering::Relaxed) - before
    };

    let alone = calls(&outside, (meshed.ip(), PORT).into());
    assert!(alone <= 2, "{alone} calls of a client that repeats a refused one itself, once");
    for to in [(meshed.ip(), PORT).into(), "10.96.0.40:80".parse().unwrap()] {
        let both = calls(&client, to);
        assert!(both <= 2 * alone, "{both} calls");
    }
}

#[test]
fn an_app_is_not_asked_whether_it_is_there() {
    let Some(sandbox) = enter_with([calls::server(every_address(PORT), &[])]) else { return };
    let mut mesh = Mesh::start(sandbox, &yaml::service("calls", "10.96.0.40", 80, PORT));
    let (meshed, client) = (mesh.pod("calls-1", "calls"), mesh.pod("client-1", "client"));
    let bare = mesh.bare("bare");
    let (_meshed, counts) = server(&meshed, PORT, Act::Silence);
    let (_bare, bare_counts) = server(&bare, PORT, Act::Silence);

    let addresses = [("one", (meshed.ip(), PORT).into()), ("two", (bare.v4(), PORT).into())];
    let _calls = addresses
        .map(|(name, to)| Process::start(name, &client, mesh.folder(), &mut calls::client(to, 1, "hold").unwrap()));
    until_true("the calls arrive", || {
        [&counts, &bare_counts].iter().all(|counts| counts.calls.load(Ordering::Relaxed) > 0)
    });
    // A peer of the mesh is asked after ten seconds of silence, at the second look.
    std::thread::sleep(Duration::from_secs(25));

    let pings = [&counts, &bare_counts].map(|counts| counts.pings.load(Ordering::Relaxed));
    assert_eq!(pings, [0, 0]);
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
