use rustls::{AlertDescription, CertificateError, Error, NamedGroup, ProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;

#[tokio::test]
async fn agrees_on_the_newest_protocol_and_shows_the_peer() {
    let (client, server) = our_pair_over_duplex().await;

    for (alpn, peer) in [(client.alpn(), client.peer_certificates()), (server.alpn(), server.peer_certificates())] {
        assert_eq!(alpn, Some(&b"outrigger"[..]));
        assert_eq!(peer.map(<[_]>::len), Some(1));
    }
    let common = client.conn.common();
    assert_eq!(common.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(common.negotiated_key_exchange_group().map(|group| group.name()), Some(NamedGroup::X25519MLKEM768));
}

async fn our_pair_over_duplex() -> (TlsStream<impl Io>, TlsStream<impl Io>) {
    let (a, b) = duplex(1000);
    our_pair(a, b).await
}

#[tokio::test]
async fn shakes_hands_when_messages_are_cut_into_small_records() {
    for who in PAIRS {
        let (mut client_config, mut server_config) = (client_config(), server_config());
        client_config.max_fragment_size = Some(64);
        server_config.max_fragment_size = Some(64);
        let (a, b) = duplex(7);

        exchange(connect(who.0, client_config, a), accept(who.1, server_config, b)).await;
    }
}

#[tokio::test]
async fn reads_past_many_session_tickets() {
    for who in PAIRS {
        let mut server_config = server_config();
        server_config.send_tls13_tickets = 50;
        server_config.max_fragment_size = Some(100);
        let (a, b) = duplex(200_000);

        exchange(connect(who.0, client_config(), a), accept(who.1, server_config, b)).await;
    }
}

#[tokio::test]
async fn resumes_a_session() {
    let (client_config, server_config) = (Arc::new(client_config()), Arc::new(server_config()));
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (a, b) = duplex(100_000);
        let (client, server) = exchange(
            super::super::connect(client_config.clone(), name(), a),
            super::super::accept(server_config.clone(), b),
        )
        .await;
        assert!(client.peer_certificates().is_some() && server.peer_certificates().is_some());
        kinds.extend(client.conn.common().handshake_kind());
    }

    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
}

/// Shakes hands and talks, each side in a future of its own: a server of tokio-rustls waits until its tickets have been read.
async fn exchange<C: Io, S: Io>(
    client: impl Future<Output = io::Result<C>>,
    server: impl Future<Output = io::Result<S>>,
) -> (C, S) {
    let client = async {
        let mut client = client.await?;
        for _ in 0..3 {
            let mut buf = [0; 4];
            client.read_exact(&mut buf).await?;
            assert_eq!(&buf, b"ping");
            client.write_all(b"pong").await?;
            client.flush().await?;
        }
        io::Result::Ok(client)
    };
    let server = async {
        let mut server = server.await?;
        for _ in 0..3 {
            let mut buf = [0; 4];
            server.write_all(b"ping").await?;
            server.flush().await?;
            server.read_exact(&mut buf).await?;
            assert_eq!(&buf, b"pong");
        }
        io::Result::Ok(server)
    };
    tokio::try_join!(client, server).expect("an exchange")
}

#[tokio::test]
async fn client_denies_a_server_of_a_stranger_and_tells_it() {
    for who in PAIRS {
        let (chain, key) = certificate(&MESH);
        let (a, b) = duplex(100_000);

        let (client, server) = tokio::join!(
            connect(who.0, client_config_with(&STRANGER, chain, key), a),
            accept(who.1, server_config(), b)
        );

        let (client, server) = (client.err().expect("denied"), server.err().expect("told"));
        assert!(
            matches!(tls_error_of(&client), Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "{client}"
        );
        assert!(matches!(tls_error_of(&server), Error::AlertReceived(AlertDescription::UnknownCA)), "{server}");
    }
}

#[tokio::test]
async fn server_denies_a_client_of_a_stranger_and_tells_it() {
    for who in PAIRS {
        let (chain, key) = certificate(&STRANGER);
        let (a, b) = duplex(100_000);

        let (client, server) =
            tokio::join!(connect(who.0, client_config_with(&MESH, chain, key), a), accept(who.1, server_config(), b));

        let server = server.err().expect("denied");
        assert!(
            matches!(tls_error_of(&server), Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            "{server}"
        );
        // In TLS 1.3 a client is done before the server has seen its certificate.
        let mut client = client.expect("done early");
        for _ in 0..2 {
            let error = client.read(&mut [0; 10]).await.expect_err("told");
            if who.0 == Who::Us || error.kind() == io::ErrorKind::InvalidData {
                assert!(matches!(tls_error_of(&error), Error::AlertReceived(AlertDescription::UnknownCA)), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn refuses_garbage_in_place_of_a_handshake() {
    for garbage in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &[22; 70_000], &[0; 100], &[23, 3, 3, 255, 255, 1]] {
        let (mut peer, b) = duplex(100_000);
        peer.write_all(garbage).await.expect("room");
        let accepted = super::super::accept(Arc::new(server_config()), b).await;
        tls_error_of(&accepted.expect_err("garbage"));

        let (mut peer, b) = duplex(100_000);
        peer.write_all(garbage).await.expect("room");
        let connected = super::super::connect(Arc::new(client_config()), name(), b).await;
        tls_error_of(&connected.expect_err("garbage"));
    }
}

#[tokio::test]
async fn bounds_what_an_unfinished_handshake_message_may_hold() {
    // A ClientHello of 60 000 bytes that comes a byte a record: five bytes of header for each would be kept.
    let (mut peer, b) = duplex(1_000_000);
    peer.write_all(&[22, 3, 1, 0, 4, 1, 0, 234, 96]).await.expect("room");
    for _ in 0..50_000 {
        peer.write_all(&[22, 3, 1, 0, 1, 0]).await.expect("room");
    }

    let error = super::super::accept(Arc::new(server_config()), b).await.expect_err("too long");

    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn an_end_within_the_handshake_is_unexpected() {
    let (peer, b) = duplex(100_000);
    drop(peer);
    let error = super::super::accept(Arc::new(server_config()), b).await.expect_err("no peer");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);

    let (mut peer, b) = duplex(100_000);
    peer.shutdown().await.expect("shut");
    let error = super::super::connect(Arc::new(client_config()), name(), b).await.expect_err("no answer");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
