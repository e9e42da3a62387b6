use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

type Side = Tunnel<DuplexStream>;

/// Both sides of a tunnel over a connection that holds so many bytes.
fn tunnel(room: usize) -> (Side, Side, Arc<Leaving>, Drain) {
    let (caller, called) = duplex(room);
    let (leaving, drain) = (Arc::<Leaving>::default(), Drain::new());
    (Tunnel::caller(caller, leaving.clone()), Tunnel::called(called, drain.clone()), leaving, drain)
}

/// Opens an exchange that is answered with `status`.
async fn open(caller: &mut Side, called: &mut Side, status: u8) -> u8 {
    let (opened, ()) = tokio::join!(caller.open(), async {
        assert!(called.opened().await.unwrap());
        called.answer(status).await.unwrap();
    });
    opened.unwrap()
}

async fn send(from: &mut Side, bytes: &[u8]) {
    from.write_all(bytes).await.unwrap();
    from.shutdown().await.unwrap();
}

async fn receive(from: &mut Side) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.map(|_| bytes)
}

#[tokio::test]
async fn connections_of_bytes_follow_each_other_on_one_connection() {
    let (mut caller, mut called, ..) = tunnel(64);
    for said in [&b"question"[..], b"", &[7; 70_000]] {
        assert_eq!(open(&mut caller, &mut called, TAKEN).await, TAKEN);
        assert!(!caller.is_free() && !called.is_free());
        let (heard, ()) = tokio::join!(receive(&mut called), send(&mut caller, said));
        assert!(heard.unwrap() == said, "bytes differ");
        // One side has ended, and the other one still speaks.
        assert!(!caller.is_free() && !called.is_free());
        let (heard, ()) = tokio::join!(receive(&mut caller), send(&mut called, b"answer"));
        assert_eq!(heard.unwrap(), b"answer");
        assert!(caller.is_free() && called.is_free() && caller.is_open());
    }
}

#[tokio::test]
async fn what_the_app_did_not_take_leaves_the_connection_free() {
    let (mut caller, mut called, ..) = tunnel(64);
    assert_eq!(open(&mut caller, &mut called, 3).await, 3);
    assert!(caller.is_free() && called.is_free());
    assert_eq!(open(&mut caller, &mut called, TAKEN).await, TAKEN);
}

#[tokio::test]
async fn an_exchange_that_nobody_answered_leaves_nothing_free() {
    let (mut caller, mut called, ..) = tunnel(64);
    let asked = tokio::time::timeout(Duration::from_millis(10), caller.open()).await;
    assert!(asked.is_err());
    assert!(!caller.is_free(), "the answer to it would be taken for the next one's");
    assert!(called.opened().await.unwrap());
}

#[tokio::test]
async fn the_next_exchange_may_be_opened_before_the_end_of_the_last_one_was_read() {
    let (mut caller, mut called, ..) = tunnel(1024);
    open(&mut caller, &mut called, TAKEN).await;
    send(&mut called, b"bye").await;
    send(&mut caller, b"bye").await;
    assert_eq!(receive(&mut caller).await.unwrap(), b"bye");
    let (opened, ()) = tokio::join!(caller.open(), async {
        // The end of the last one and the start of the next come in one read.
        tokio::task::yield_now().await;
        assert_eq!(receive(&mut called).await.unwrap(), b"bye");
        assert!(called.is_free() && called.opened().await.unwrap());
        called.answer(TAKEN).await.unwrap();
    });
    assert_eq!(opened.unwrap(), TAKEN);
}

#[tokio::test]
async fn a_direction_that_carries_much_goes_on_without_frames() {
    let (mut caller, mut called, ..) = tunnel(64 << 10);
    open(&mut caller, &mut called, TAKEN).await;
    let much: Vec<u8> = (0..FRAMED + 300_000).map(|at| (at % 251) as u8).collect();
    let (heard, ()) = tokio::join!(receive(&mut called), send(&mut caller, &much));
    assert!(heard.unwrap() == much, "bytes differ");
    let (heard, ()) = tokio::join!(receive(&mut caller), send(&mut called, b"got it"));
    assert_eq!(heard.unwrap(), b"got it");
    assert!(!caller.is_free() && !called.is_free(), "its end is the connection's");
}

#[tokio::test]
async fn who_says_much_in_few_words_goes_on_without_frames() {
    let (mut caller, mut called, ..) = tunnel(64 << 10);
    open(&mut caller, &mut called, TAKEN).await;
    for _ in 0..2 * usize::from(FRAMES) {
        caller.write_all(b"word").await.unwrap();
        let mut heard = [0; 4];
        called.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"word");
    }
    assert_eq!(caller.output.state, Sending::Rest);
    let (heard, ()) = tokio::join!(receive(&mut called), send(&mut caller, b"end"));
    assert_eq!(heard.unwrap(), b"end");
}

#[tokio::test]
async fn nothing_may_follow_the_last_frame_but_the_end() {
    let (mut peer, called) = duplex(64);
    let mut called = Tunnel::called(called, Drain::new());
    peer.write_all(&header(OPEN, 0)).await.unwrap();
    assert!(called.opened().await.unwrap());
    called.answer(TAKEN).await.unwrap();
    peer.write_all(&header(REST, 0)).await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(receive(&mut called).await.unwrap(), b"");
}

#[tokio::test]
async fn a_connection_that_is_no_tunnel_is_passed_through_as_it_is() {
    let (mut peer, io) = duplex(64);
    let mut bare = Tunnel::bare(io, Drain::new());
    let both = [IoSlice::new(b"as "), IoSlice::new(b"it is")];
    assert_eq!(bare.write_vectored(&both).await.unwrap(), 8, "in one piece");
    peer.write_all(b"there").await.unwrap();
    peer.shutdown().await.unwrap();
    assert_eq!(receive(&mut bare).await.unwrap(), b"there");
    bare.shutdown().await.unwrap();
    let mut heard = Vec::new();
    peer.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"as it is");
    assert!(!bare.is_free());
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_no_end_of_the_bytes() {
    let (mut caller, mut called, ..) = tunnel(1024);
    open(&mut caller, &mut called, TAKEN).await;
    caller.write_all(b"half").await.unwrap();
    drop(caller);
    let mut half = [0; 4];
    called.read_exact(&mut half).await.unwrap();
    assert_eq!(called.read(&mut half).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert!(!called.is_free());
}

#[tokio::test]
async fn between_exchanges_a_connection_may_end() {
    let (caller, mut called, ..) = tunnel(64);
    drop(caller);
    assert!(!called.opened().await.unwrap());
    let (mut caller, called, ..) = tunnel(64);
    drop(called);
    assert!(!caller.is_open());
    assert!(caller.open().await.is_err());
}

#[tokio::test]
async fn the_caller_hears_of_the_workloads_end_with_the_next_bytes_and_between_exchanges() {
    let (mut caller, mut called, leaving, drain) = tunnel(1024);
    open(&mut caller, &mut called, TAKEN).await;
    called.write_all(b"one").await.unwrap();
    caller.read_exact(&mut [0; 3]).await.unwrap();
    assert!(!leaving.is_told());
    drain.start();
    called.write_all(b"two").await.unwrap();
    let mut two = [0; 3];
    caller.read_exact(&mut two).await.unwrap();
    assert!(&two == b"two" && leaving.is_told());
    send(&mut called, b"").await;
    send(&mut caller, b"").await;
    receive(&mut called).await.unwrap();
    receive(&mut caller).await.unwrap();
    assert!(!caller.is_free(), "others are to be asked");

    let (mut caller, mut called, leaving, drain) = tunnel(64);
    drain.start();
    called.tell_leaving().await.unwrap();
    assert!(caller.is_open() && leaving.is_told());

    let (mut caller, mut called, leaving, drain) = tunnel(64);
    drain.start();
    assert_eq!(open(&mut caller, &mut called, TAKEN).await, TAKEN, "it serves what comes");
    assert!(leaving.is_told());
}

#[tokio::test]
async fn a_caller_that_keeps_to_no_order_is_refused() {
    for hostile in [header(DATA, 3), header(END, 0), header(REST, 0), header(STATUS, 0), header(LEAVING, 0), [255; 4]] {
        let (mut peer, called) = duplex(64);
        peer.write_all(&hostile).await.unwrap();
        let error = Tunnel::called(called, Drain::new()).opened().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{hostile:?}");
    }
}

#[tokio::test]
async fn what_a_caller_may_not_send_within_an_exchange_breaks_it_off() {
    for hostile in [header(OPEN, 0), header(STATUS, 0), header(LEAVING, 0), header(9, 1)] {
        let (mut peer, called) = duplex(64);
        let mut called = Tunnel::called(called, Drain::new());
        peer.write_all(&header(OPEN, 0)).await.unwrap();
        assert!(called.opened().await.unwrap());
        called.answer(TAKEN).await.unwrap();
        peer.write_all(&hostile).await.unwrap();
        let error = called.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{hostile:?}");
    }
    let (mut peer, called) = duplex(64);
    let mut called = Tunnel::called(called, Drain::new());
    peer.write_all(&header(OPEN, 0)).await.unwrap();
    assert!(called.opened().await.unwrap());
    called.answer(TAKEN).await.unwrap();
    peer.write_all(&[header(END, 0), header(OPEN, 0), header(OPEN, 0), header(OPEN, 0)].concat()).await.unwrap();
    assert!(called.read(&mut [0; 32]).await.is_err(), "more behind the end than belongs there");
}

proptest! {
    #[test]
    fn frames_are_the_same_however_they_are_cut(
        said in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12),
        cuts in prop::collection::vec(1..50_usize, 1..40),
    ) {
        let mut wire = Vec::new();
        for bytes in &said {
            wire.extend(header(DATA, bytes.len() as u32));
            wire.extend(bytes);
        }
        wire.extend(header(END, 0));
        wire.extend(header(OPEN, 0));
        let mut input = Input::default();
        input.begin();
        let (mut heard, mut rest) = (Vec::new(), &mut wire[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() || input.has_ended() {
                break;
            }
            let (piece, more) = rest.split_at_mut((*cut).min(rest.len()));
            let decoded = input.decode(piece).unwrap();
            heard.extend_from_slice(&piece[..decoded.bytes]);
            rest = more;
        }
        prop_assert_eq!(heard, said.concat());
        prop_assert!(input.has_ended());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(0..8_u8, 0..200)) {
        let mut input = Input::default();
        input.begin();
        let mut bytes = bytes;
        let length = bytes.len();
        if let Ok(decoded) = input.decode(&mut bytes) {
            prop_assert!(decoded.bytes <= length);
        }
    }
}
