use std::cell::RefCell;
use std::future::{Future, poll_fn};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
use tokio::net::{TcpListener, TcpStream};

use super::super::write::MOST_PLAIN;
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn delivers_every_byte_in_order(
        who in prop::sample::select(&PAIRS[..]),
        pipe in prop::sample::select(&[1_usize, 7, 1000, 20_000, 200_000][..]),
        writes in prop::collection::vec(sizes(), 1..5),
        answers in prop::collection::vec(sizes(), 1..5),
        reads in prop::collection::vec(1_usize..100_000, 1..8),
    ) {
        // A poll a byte takes its time.
        let most = if pipe < 10 { 1 } else { 4 };
        let (writes, answers) = (&writes[..most.min(writes.len())], &answers[..most.min(answers.len())]);
        block_on(async {
            let (a, b) = duplex(pipe);
            both_ways(connect(who.0, client_config(), a), accept(who.1, server_config(), b), writes, answers, &reads).await;
        });
    }

    #[test]
    fn delivers_every_byte_in_order_over_tcp(
        who in prop::sample::select(&PAIRS[..]),
        writes in prop::collection::vec(prop::collection::vec(0_usize..300_000, 1..4), 1..5),
        answers in prop::collection::vec(prop::collection::vec(0_usize..300_000, 1..4), 1..5),
        reads in prop::collection::vec(1_usize..200_000, 1..8),
    ) {
        block_on(async {
            let (a, b) = tcp_pair().await;
            both_ways(connect(who.0, client_config(), a), accept(who.1, server_config(), b), &writes, &answers, &reads).await;
        });
    }
}

/// The slices of one vectored write.
fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![0_usize..100, 0_usize..3000, 16_000_usize..17_000, 0_usize..40_000], 1..5)
}

thread_local! {
    static RUNTIME: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    );
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with_borrow(|runtime| runtime.block_on(future))
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (a, b) = tokio::join!(TcpStream::connect(listener.local_addr().expect("its address")), listener.accept());
    (a.expect("connect"), b.expect("accept").0)
}

/// Both send and receive at once, each half in its own future.
async fn both_ways(
    client: impl Future<Output = io::Result<Box<dyn Io>>>,
    server: impl Future<Output = io::Result<Box<dyn Io>>>,
    writes: &[Vec<usize>],
    answers: &[Vec<usize>],
    reads: &[usize],
) {
    let client = async {
        let (mut reader, mut writer) = split(client.await.expect("handshake"));
        tokio::join!(send(&mut writer, writes), receive(&mut reader, answers, reads));
    };
    let server = async {
        let (mut reader, mut writer) = split(server.await.expect("handshake"));
        tokio::join!(send(&mut writer, answers), receive(&mut reader, writes, reads));
    };
    tokio::join!(client, server);
}

fn total(writes: &[Vec<usize>]) -> usize {
    writes.iter().flatten().sum()
}

async fn send(io: &mut (impl AsyncWrite + Unpin), writes: &[Vec<usize>]) {
    let data = pattern(total(writes));
    let mut rest = &data[..];
    for sizes in writes {
        let (mut part, after) = rest.split_at(sizes.iter().sum());
        rest = after;
        while !part.is_empty() {
            let mut slices = Vec::new();
            let mut uncut = part;
            for size in sizes {
                let (slice, after) = uncut.split_at((*size).min(uncut.len()));
                slices.push(IoSlice::new(slice));
                uncut = after;
            }
            let count = io.write_vectored(&slices).await.expect("write");
            assert!(count > 0, "a write that takes nothing");
            part = &part[count..];
        }
    }
    io.shutdown().await.expect("shutdown");
}

async fn receive(io: &mut (impl AsyncRead + Unpin), writes: &[Vec<usize>], reads: &[usize]) {
    let mut received = Vec::new();
    for size in reads.iter().cycle() {
        let mut buf = vec![0; *size];
        let count = io.read(&mut buf).await.expect("read");
        if count == 0 {
            break;
        }
        received.extend_from_slice(&buf[..count]);
    }
    assert!(received == pattern(total(writes)));
}

#[tokio::test]
async fn accepts_no_more_than_one_write_from_a_reader_that_sleeps() {
    let (a, b) = duplex(1000);
    let (mut client, mut server) = our_pair(a, b).await;
    let data = pattern(1_000_000);
    let mut accepted = 0;
    poll_fn(|cx| {
        while let Poll::Ready(count) = Pin::new(&mut client).poll_write(cx, &data[accepted..]) {
            accepted += count.expect("write");
        }
        Poll::Ready(())
    })
    .await;

    assert!(accepted <= MOST_PLAIN, "{accepted}");
    assert!(client.outgoing.capacity() <= MOST_PLAIN + 200, "{}", client.outgoing.capacity());
    let mut received = vec![0; accepted];
    let (flushed, read) = tokio::join!(client.flush(), server.read_exact(&mut received));
    flushed.expect("flush");
    read.expect("read");
    assert!(received == data[..accepted]);
    assert_eq!(client.outgoing.capacity(), 0);
}

#[tokio::test]
async fn follows_the_key_updates_of_the_peer() {
    let (a, b) = duplex(1000);
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::new(client_config())).connect(name(), a),
        super::super::accept(Arc::new(server_config()), b)
    );
    let (mut client, mut server) = (client.expect("handshake"), server.expect("handshake"));
    let mut buf = [0; 4];
    for round in 0..20 {
        client.get_mut().1.refresh_traffic_keys().expect("an update");
        client.write_all(b"ping").await.expect("write");
        client.flush().await.expect("flush");
        server.read_exact(&mut buf).await.expect("read");
        assert_eq!(&buf, b"ping");
        // Sometimes the peer updates again before our answer to its update.
        if round % 3 != 0 {
            server.write_all(b"pong").await.expect("write");
            client.read_exact(&mut buf).await.expect("read");
            assert_eq!(&buf, b"pong");
        }
    }
    server.shutdown().await.expect("shut");
    assert_eq!(client.read(&mut buf).await.expect("a clean end"), 0);
}

#[tokio::test]
async fn a_stream_may_carry_another() {
    let (a, b) = duplex(5000);
    let (outer_client, outer_server) = our_pair(a, b).await;
    let client = connect(Who::Us, client_config(), outer_client);
    let server = accept(Who::Us, server_config(), outer_server);
    both_ways(client, server, &[vec![100_000, 10], vec![1]], &[vec![50_000]], &[30_000, 10]).await;
}
