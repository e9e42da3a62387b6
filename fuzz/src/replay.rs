//! A request body that several attempts may send, from clients that break off. No attempt takes a part of a body for the whole.

use std::cell::RefCell;
use std::rc::Rc;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use outrigger_sidecar::fuzzing::{Attempt, Replayed};
use outrigger_wire::http1::{self, Incoming};

use crate::runtime;
use crate::script::{End, Script, Split};

#[derive(Arbitrary, Debug)]
struct Input {
    pieces: Vec<Piece>,
    chunked: bool,
    trailers: bool,
    /// The client breaks off after this part of what it was to send, of 256.
    cut: Option<u8>,
    /// A chunk's size is none.
    malformed: bool,
    split: u16,
    /// What each attempt does.
    attempts: Vec<Plan>,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Small(Vec<u8>),
    Large(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Plan {
    /// Reads all.
    All,
    /// Reads so many frames and gives up.
    Some(u8),
    /// Reads nothing, and lives as long as the next.
    None,
}

/// What an attempt sent.
#[derive(Debug)]
struct Sent {
    data: Vec<u8>,
    /// It took the body for whole.
    whole: bool,
    failed: bool,
    /// There was still a chance to send all of it when it began.
    possible: bool,
}

/// Runs the target.
///
/// # Panics
/// When an attempt sends something else than the body.
pub fn run(data: &[u8]) {
    let Ok(input) = Input::arbitrary(&mut Unstructured::new(data)) else { return };
    let (body, mut bytes) = input.request();
    let complete = bytes.len();
    if let Some(cut) = input.cut {
        bytes.truncate(complete * usize::from(cut) / 256);
    }
    let whole = bytes.len() == complete && !(input.chunked && input.malformed);
    let (io, _) = Script::new(Split::Each(usize::from(input.split) + 1).cut(&bytes), End::Closed);
    let sent = Rc::new(RefCell::new(Vec::new()));
    let served = runtime::run(http1::serve(io, &http1::Options::default(), |request: Request<Incoming>| {
        let (sent, attempts) = (sent.clone(), input.attempts.clone());
        async move {
            send(request.into_body(), &attempts, &sent).await;
            Response::new(Empty::<Bytes>::new())
        }
    }));
    assert!(served.is_some(), "an attempt waits for ever");
    for (index, sent) in sent.take().iter().enumerate() {
        assert!(body.starts_with(&sent.data), "attempt {index} sends another body");
        if sent.whole {
            assert!(whole, "attempt {index} takes a part for the whole: {} of {}", sent.data.len(), body.len());
            assert_eq!(sent.data.len(), body.len(), "attempt {index} leaves out the end");
        }
        assert!(!(sent.failed && whole && sent.possible), "attempt {index} fails without need");
    }
}

impl Input {
    /// The body, and the request with it.
    fn request(&self) -> (Vec<u8>, Vec<u8>) {
        let pieces = self.pieces.iter().take(20).map(|piece| match piece {
            Piece::Small(data) => data.clone(),
            Piece::Large(length) => (0..*length).map(|at| at.to_be_bytes()[1]).collect(),
        });
        let pieces: Vec<Vec<u8>> = pieces.filter(|piece| !piece.is_empty()).collect();
        let body = pieces.concat();
        let mut bytes = b"PUT /document HTTP/1.1\r\nhost: a\r\n".to_vec();
        if !self.chunked {
            bytes.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
            bytes.extend_from_slice(&body);
            return (body, bytes);
        }
        bytes.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
        for piece in &pieces {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        if self.malformed {
            bytes.extend_from_slice(b"zz\r\n");
        }
        bytes.extend_from_slice(if self.trailers { b"0\r\nx-sum: 1\r\n\r\n" } else { b"0\r\n\r\n" });
        (body, bytes)
    }
}

async fn send(body: Incoming, attempts: &[Plan], sent: &RefCell<Vec<Sent>>) {
    let mut replay = Replayed::new(body);
    let mut held = None;
    for plan in attempts.iter().take(6) {
        let possible = replay.possible();
        let mut attempt = replay.attempt();
        drop(held.take());
        let most = match plan {
            Plan::All => usize::MAX,
            Plan::Some(frames) => usize::from(*frames),
            Plan::None => 0,
        };
        let one = read(&mut attempt, most, possible).await;
        sent.borrow_mut().push(one);
        if matches!(plan, Plan::None) {
            held = Some(attempt);
        }
    }
}

async fn read(attempt: &mut Attempt, most: usize, possible: bool) -> Sent {
    use http_body::Body as _;
    let announced = attempt.size_hint().exact();
    let mut sent = Sent { data: Vec::new(), whole: attempt.is_end_stream(), failed: false, possible };
    for _ in 0..most {
        match attempt.frame().await {
            None => sent.whole = true,
            Some(Err(_)) => sent.failed = true,
            Some(Ok(frame)) => {
                sent.data.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                sent.whole = attempt.is_end_stream();
                continue;
            }
        }
        break;
    }
    let length = sent.data.len() as u64;
    assert!(announced.is_none_or(|announced| length <= announced), "more than was announced");
    assert!(!sent.whole || announced.is_none_or(|announced| length == announced), "less than was announced");
    sent
}
