//! Both roles of ours with each other, through a tap that keeps account of the windows: many streams, whose ends read, write, wait, reset
//! and drop by a random schedule. What arrives is what was sent, nobody waits for ever, and no window is lost.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use outrigger_wire::http2::{self, Incoming, Settings};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use super::tap::{self, Accounts};
use crate::runtime;

#[derive(Arbitrary, Debug)]
struct Input {
    calls: Vec<Call>,
    stream_window: u16,
    connection_window: u16,
    streams: u8,
    /// How much the transport takes at once, and how its bytes are cut.
    room: u16,
    piece: u16,
}

/// A request and its response: what each end does, in this order.
#[derive(Arbitrary, Clone, Debug)]
struct Call {
    after: u8,
    client: Vec<Step>,
    server: Vec<Step>,
    /// The server answers only after it has read.
    late: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Send(u16),
    Read(u8),
    Wait(u8),
    /// The rest of the other's body is not wanted.
    DropRead,
    /// The own body fails.
    Fail,
}

type Sent = mpsc::Sender<Result<Frame<Bytes>, std::io::Error>>;

/// A body whose parts a script sends.
struct Messages(mpsc::Receiver<Result<Frame<Bytes>, std::io::Error>>);

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

/// How much was sent, once all is, by the call and by who sent it: the client, the server.
type Totals = Rc<RefCell<Vec<[Option<usize>; 2]>>>;

/// One direction of a call.
#[derive(Clone)]
struct Way {
    index: usize,
    /// 0: from the client.
    from: usize,
    totals: Totals,
}

impl Way {
    fn back(&self) -> Self {
        Self { from: 1 - self.from, ..self.clone() }
    }
}

/// Runs the target.
///
/// # Panics
/// When a byte is lost, a window does not add up, or somebody waits for ever.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let done = runtime::run(LocalSet::new().run_until(work(&input)));
    assert!(done.is_some(), "somebody waits for ever");
}

async fn work(input: &Input) {
    let settings = Settings {
        stream_window: u32::from(input.stream_window) + 1,
        connection_window: 65_535 + u32::from(input.connection_window),
        max_streams: u32::from(input.streams % 8) + 1,
        ..Settings::default()
    };
    let room = usize::from(input.room) + 512;
    let (client, near) = tokio::io::duplex(room);
    let (server, far) = tokio::io::duplex(room);
    let accounts = tap::accounts();
    let (near_read, near_write) = tokio::io::split(near);
    let (far_read, far_write) = tokio::io::split(far);
    let piece = usize::from(input.piece) + 64;
    tokio::task::spawn_local(tap::pass(near_read, far_write, 0, piece, accounts.clone()));
    tokio::task::spawn_local(tap::pass(far_read, near_write, 1, piece, accounts.clone()));

    let calls: Rc<[Call]> = input.calls.iter().take(12).cloned().collect();
    let totals: Totals = Rc::new(RefCell::new(vec![[None; 2]; calls.len()]));
    let served = tokio::task::spawn_local(serve(server, settings.clone(), calls.clone(), totals.clone()));
    let (sender, driver) = http2::connect::<_, Messages>(client, &settings);
    let driven = tokio::task::spawn_local(driver);
    let asked: Vec<_> = (0..calls.len())
        .map(|index| {
            let (sender, calls) = (sender.clone(), calls.clone());
            let way = Way { index, from: 0, totals: totals.clone() };
            tokio::task::spawn_local(async move { ask(&sender, &calls[index], way).await })
        })
        .collect();
    for call in asked {
        call.await.expect("a call does not panic");
    }
    // The scripts of the servers whose clients have left.
    tokio::time::sleep(Duration::from_secs(2)).await;
    no_window_is_lost(&accounts, &settings);
    drop(sender);
    driven.await.expect("the client does not panic").expect("the client ends well");
    served.await.expect("the server does not panic");
}

/// What was read, or dropped, was given back: at least half of a connection's window is always there when nothing is on its way.
fn no_window_is_lost(accounts: &Accounts, settings: &Settings) {
    for account in accounts.borrow().iter() {
        let least = i64::from(settings.connection_window / 2);
        assert!(account.connection >= least, "{} of the connection's window are left", account.connection);
    }
}

async fn serve(io: tokio::io::DuplexStream, settings: Settings, calls: Rc<[Call]>, totals: Totals) {
    let service = |request: Request<Incoming>| {
        let index: usize = request.uri().path()[1..].parse().expect("a path of ours");
        let call = calls[index].clone();
        let way = Way { index, from: 1, totals: totals.clone() };
        async move {
            let (sent, body) = mpsc::channel(1);
            let late = call.late;
            tokio::task::spawn_local(async move { act(&call.server, request.into_body(), sent, way).await });
            if late {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Response::new(Messages(body))
        }
    };
    http2::serve(io, &settings, service, std::future::pending()).await.expect("the server ends well");
}

async fn ask(sender: &http2::Sender<Messages>, call: &Call, way: Way) {
    tokio::time::sleep(Duration::from_millis(u64::from(call.after % 32))).await;
    let request = Request::post(format!("http://a/{}", way.index)).body(()).expect("a request");
    let (parts, ()) = request.into_parts();
    let (sent, body) = mpsc::channel(1);
    let writer = tokio::task::spawn_local(write(call.client.clone(), sent, way.clone()));
    // One that was reset has no response.
    if let Ok(response) = sender.send(&parts, Messages(body)).await {
        read(&call.client, response.into_body(), &way.back()).await;
    }
    writer.await.expect("a writer does not panic");
}

/// Both directions of a server's end.
async fn act(steps: &[Step], body: Incoming, sent: Sent, way: Way) {
    let writer = tokio::task::spawn_local(write(steps.to_vec(), sent, way.clone()));
    read(steps, body, &way.back()).await;
    writer.await.expect("a writer does not panic");
}

/// Sends what the steps say; the body ends with them.
async fn write(steps: Vec<Step>, sent: Sent, way: Way) {
    let mut at = 0;
    for step in steps.iter().take(12) {
        match step {
            Step::Send(length) => {
                let data: Bytes = (at..at + usize::from(*length)).map(|at| octet(way.index, at)).collect();
                at += data.len();
                // Nobody takes it any more.
                if sent.send(Ok(Frame::data(data))).await.is_err() {
                    return;
                }
            }
            Step::Wait(time) => tokio::time::sleep(Duration::from_millis(u64::from(*time % 32))).await,
            Step::Fail => {
                // Nobody may be there to see it.
                let _ = sent.send(Err(std::io::ErrorKind::BrokenPipe.into())).await;
                return;
            }
            Step::Read(_) | Step::DropRead => {}
        }
    }
    way.totals.borrow_mut()[way.index][way.from] = Some(at);
}

/// Reads as the steps say, then to the end.
async fn read(steps: &[Step], body: Incoming, way: &Way) {
    let mut body = body;
    let mut at = 0;
    for step in steps.iter().take(12) {
        match step {
            Step::Read(frames) => {
                for _ in 0..frames % 8 {
                    if !next(&mut body, &mut at, way).await {
                        return;
                    }
                }
            }
            Step::Wait(time) => tokio::time::sleep(Duration::from_millis(u64::from(*time % 32))).await,
            Step::DropRead => return,
            Step::Send(_) | Step::Fail => {}
        }
    }
    while next(&mut body, &mut at, way).await {}
}

/// Reads a part; `false` when there are no more.
async fn next(body: &mut Incoming, at: &mut usize, way: &Way) -> bool {
    match body.frame().await {
        None => {
            let total = way.totals.borrow()[way.index][way.from];
            assert_eq!(total, Some(*at), "call {} ends early", way.index);
            false
        }
        Some(Err(_)) => false,
        Some(Ok(frame)) => {
            for byte in frame.data_ref().into_iter().flatten() {
                assert_eq!(*byte, octet(way.index, *at), "byte {at} of call {}", way.index);
                *at += 1;
            }
            true
        }
    }
}

fn octet(index: usize, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ index).to_le_bytes()[0]
}
