use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::super::RECORD;
use super::*;

/// What encryption adds to a record's payload: the content type and the tag.
const ADDED: usize = 17;

#[tokio::test]
async fn slices_of_one_write_share_records() {
    let (a, b) = duplex(1_000_000);
    let (a, seen) = watched(a);
    let (mut client, mut server) = our_pair(a, b).await;
    let data = pattern(200_000);
    let mut received = Vec::new();
    seen.records();

    for (sizes, records) in [
        (&[100, 1000][..], &[1100][..]),
        (&[1; 300], &[300]),
        (&[0, 5, 0], &[5]),
        (&[200, 4 * RECORD], &[RECORD, RECORD, RECORD, RECORD, 200]),
        (&[RECORD, RECORD], &[RECORD, RECORD]),
        (&[RECORD + 10, 20], &[RECORD, 30]),
        (&[10, RECORD + 10, 20], &[RECORD, 40]),
        (&[8 * RECORD + 4096], &[[RECORD; 8].as_slice(), &[4096]].concat()),
    ] {
        let writes = seen.writes.load(Ordering::Relaxed);
        let mut rest = &data[..];
        let mut slices = Vec::new();
        for size in sizes {
            let (slice, after) = rest.split_at(*size);
            slices.push(IoSlice::new(slice));
            rest = after;
        }
        let total: usize = sizes.iter().sum();

        assert_eq!(client.write_vectored(&slices).await.expect("write"), total, "{sizes:?}");

        let payloads: Vec<_> = seen.records().into_iter().map(|length| length - ADDED).collect();
        assert_eq!(payloads, records, "{sizes:?}");
        assert_eq!(seen.writes.load(Ordering::Relaxed), writes + 1, "{sizes:?}");
        received.resize(total, 0);
        server.read_exact(&mut received).await.expect("read");
        assert!(received == data[..total], "{sizes:?}");
    }
}

#[tokio::test]
async fn one_read_takes_several_records() {
    let (a, b) = duplex(1_000_000);
    let (b, seen) = watched(b);
    let (mut client, mut server) = our_pair(a, b).await;
    let data = pattern(16 * RECORD);
    client.write_all(&data).await.expect("write");
    let reads = seen.reads.load(Ordering::Relaxed);

    let mut buf = vec![0; 16 * RECORD];
    for part in 0..2 {
        let range = part * 8 * RECORD..(part + 1) * 8 * RECORD;
        assert_eq!(server.read(&mut buf[range]).await.expect("read"), 8 * RECORD);
        assert_eq!(server.plain.capacity() + server.incoming.capacity(), 0);
    }

    assert!(buf == data);
    assert_eq!(seen.reads.load(Ordering::Relaxed), reads + 2);
}

#[tokio::test]
async fn a_small_buffer_is_served_from_what_is_kept() {
    let (a, b) = duplex(1_000_000);
    let (b, seen) = watched(b);
    let (mut client, mut server) = our_pair(a, b).await;
    let data = pattern(RECORD);
    client.write_all(&data).await.expect("write");
    let reads = seen.reads.load(Ordering::Relaxed);

    let mut received = Vec::new();
    while received.len() < data.len() {
        let mut buf = [0; 1000];
        let count = server.read(&mut buf).await.expect("read");
        received.extend_from_slice(&buf[..count]);
        assert!(server.plain.as_slice().len() + received.len() == data.len());
    }

    assert!(received == data);
    assert_eq!(seen.reads.load(Ordering::Relaxed), reads + 1);
    assert_eq!(server.plain.capacity(), 0);
}

#[tokio::test]
async fn an_idle_stream_holds_no_buffer_and_is_small() {
    let (a, b) = duplex(3000);
    let (mut client, mut server) = our_pair(a, b).await;
    let data = pattern(300_000);
    for _ in 0..2 {
        let mut received = vec![0; data.len()];
        let (sent, read) = tokio::join!(
            async {
                client.write_all(&data).await?;
                client.flush().await
            },
            server.read_exact(&mut received)
        );
        sent.expect("write");
        read.expect("read");
        assert!(received == data);
        (client, server) = (server, client);
    }

    for stream in [&client, &server] {
        assert_eq!(stream.plain.capacity() + stream.incoming.capacity() + stream.outgoing.capacity(), 0);
    }
    assert!(size_of::<TlsStream<()>>() <= 112, "{}", size_of::<TlsStream<()>>());
}
