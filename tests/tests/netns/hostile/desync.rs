//! Requests that two readers could take for different ones (request smuggling, HTTP desync), byte by byte through the mesh to an app that
//! reads by the letter: each arrives as one plain request, or not at all.

use std::io::Read as _;
use std::net::Shutdown;

use outrigger_sandbox::Namespace;
use outrigger_tests::{Client, Mesh, Response, enter, yaml};

use super::WEB;
use super::strict::Strict;
use outrigger_tests::attack::neighbour::beside_a_neighbour;

/// What a client writes, what the app gets of it (`METHOD target host body`), and what the client hears of what the app does not get.
type Case = (&'static [u8], &'static [&'static str], &'static [u16]);

const REFUSED: &[u16] = &[400];

/// Both lengths: chunks count, what follows them is not trusted, and the app hears of one length.
const BOTH_LENGTHS: &[Case] = &[
    // CL.TE
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a "],
        &[],
    ),
    // TE.CL
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n1c\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n\r\n0\r\n\r\n",
        &["POST / a GET /s HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n"],
        &[],
    ),
    // A GET with a body in chunks, and a length on top.
    (
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET / a abc"],
        &[],
    ),
    // A length that is no number is refused beside chunks, too.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[],
        REFUSED,
    ),
];

const TRANSFER_ENCODINGS: &[Case] = &[
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &["POST / a abc"], &[]),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nTRANSFER-ENCODING:\tCHUNKED \t\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        &["POST / a abc"],
        &[],
    ),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunkedx\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[],
        REFUSED,
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n0\r\n\r\n",
        &[],
        REFUSED,
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        &[],
        REFUSED,
    ),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\x00\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \xffchunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer\xadencoding: chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding\r\n: chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\nx: y\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    // HTTP/1.0 has no chunks.
    (b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc", &[], REFUSED),
    // Another field for all readers that go by the letter.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer_encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n",
        &["POST / a 0\\r\\n"],
        &[],
    ),
];

const CONTENT_LENGTHS: &[Case] = &[
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:  3\t \r\n\r\nabc", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 003\r\n\r\nabc", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc", &["POST / a abc"], &[]),
    (
        b"POST / HTTP/1.0\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /s HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a abc"],
        &[],
    ),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\ncontent-length: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3, 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3,4\r\n\r\nabcd", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3.0\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3e0\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3;\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \x0c3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\x00\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551619\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length : 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length\x00: 3\r\n\r\nabc", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\tx: y\r\n\r\nabc", &[], REFUSED),
    // More comes than was said: that is the next request, of the same client.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a ", "GET /b a "],
        &[],
    ),
    // Less comes than was said: the app gets no request that looks whole, and the client no answer.
    (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nabc", &[], &[]),
];

const CHUNKS: &[Case] = &[
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0;z\r\n\r\n", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n03\r\nabc\r\n000\r\n\r\n", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n", &["POST / a abc"], &[]),
    // Fields that frame or route do not arrive as trailers.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\ncontent-length: 9\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n",
        &["POST / a abc"],
        &[],
    ),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n", &["POST / a ", "GET /b a "], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\n0\n\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\rabc\r0\r\r", &[], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;\nxx\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x\ry\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3_0\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3 0\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n;x\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n00000000000000003\r\nabc\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx y: z\r\n\r\n", &[], REFUSED),
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    // It breaks off.
    (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", &[], &[]),
];

const HEADS: &[Case] = &[
    (b"\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n", &["GET / a "], &[]),
    // Lines may end in LF alone (RFC 9112 section 2.2); none arrives that does.
    (b"GET / HTTP/1.1\nhost: a\nx: y\n\n", &["GET / a "], &[]),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\rhost: a\r\r", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n b\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\n host: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\n: x\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx(: z\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\n\x00x: z\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx: \x7f\r\n\r\n", &[], REFUSED),
    (b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /  HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1 \r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1 x\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /\tHTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /\x00 HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b" GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"G\x00T / HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.2\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.10\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / http/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET /\r\nhost: a\r\n\r\n", &[], REFUSED),
];

const TARGETS: &[Case] = &[
    (b"GET http://b/x?y HTTP/1.1\r\nhost: a\r\n\r\n", &["GET http://b/x?y b "], &[]),
    (b"GET http://b HTTP/1.1\r\nhost: a\r\n\r\n", &["GET http://b/ b "], &[]),
    (b"GET http://b/x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", &[], REFUSED),
    (b"GET http://b/x HTTP/1.1\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nx: y\r\n\r\n", &[], REFUSED),
    (b"GET //b/x HTTP/1.1\r\nhost: a\r\n\r\n", &["GET //b/x a "], &[]),
    (b"GET b/x HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET b HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET b:80 HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET @b/x HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET http:///x HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"CONNECT / HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
];

/// Who asks for something else than HTTP, and goes on before it was agreed.
const EARLY: &[Case] = &[
    (
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET / a ", "GET /b a "],
        &[],
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a abc", "GET /b a "],
        &[],
    ),
    (
        b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["CONNECT a:80 a:80 ", "GET /b a "],
        &[],
    ),
    // The body comes without waiting for a word.
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a abc", "GET /b a "],
        &[],
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\nexpect: y 100-continue\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["POST / a abc", "GET /b a "],
        &[],
    ),
    (
        b"GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET / a ", "GET /b a "],
        &[],
    ),
];

/// Fields that ask a proxy to forget others.
const CONNECTIONS: &[Case] = &[
    (b"POST / HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 3\r\n\r\nabc", &["POST / a abc"], &[]),
    (b"POST / HTTP/1.1\r\nhost: a\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", &["POST / a abc"], &[]),
    (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: host, close\r\n\r\n", &["GET / a "], &[]),
    (b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n", &["GET / a "], &[]),
    (b"GET / HTTP/1.0\r\nhost: a\r\n\r\nGET /s HTTP/1.0\r\nhost: a\r\n\r\n", &["GET / a "], &[]),
    (b"HEAD / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nhost: a\r\n\r\n", &["HEAD / a abc", "GET /b a "], &[]),
];

/// What follows a refused request is not looked at.
const PIPELINED: &[Case] = &[
    (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 36\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (b"GET / HTTP/1.1\r\nhost: a\r\nx y: z\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n", &[], REFUSED),
    (
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n",
        &["GET / a "],
        REFUSED,
    ),
    (
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nx\r\nGET /s HTTP/1.1\r\nhost: a\r\n\r\n",
        &[],
        REFUSED,
    ),
];

const TABLES: &[(&str, &[Case])] = &[
    ("both lengths", BOTH_LENGTHS),
    ("Transfer-Encoding", TRANSFER_ENCODINGS),
    ("Content-Length", CONTENT_LENGTHS),
    ("chunks", CHUNKS),
    ("heads", HEADS),
    ("targets", TARGETS),
    ("early bytes", EARLY),
    ("Connection", CONNECTIONS),
    ("pipelined", PIPELINED),
];

#[test]
fn no_request_arrives_as_another_over_http1() {
    no_request_arrives_as_another("http1");
}

#[test]
fn no_request_arrives_as_another_over_http2() {
    no_request_arrives_as_another("http2");
}

fn no_request_arrives_as_another(wire: &str) {
    let Some(sandbox) = enter() else { return };
    let yaml = yaml::service_with("web", WEB, 80, 8080, "      appProtocol: http\n");
    let mut mesh = Mesh::start(sandbox, &yaml);
    let web = mesh.pod("web-1", "web");
    let app = Strict::start(&web, 8080);
    let client = mesh.pod_with("client-1", "client", "", &["--wire", wire]);
    let outside = mesh.bare("outside");

    let pod = format!("{}:8080", web.ip());
    let service = format!("{WEB}:80");
    let meshed: &Namespace = &client;
    for (from, address) in [(meshed, &service), (&outside, &pod)] {
        let wrong = beside_a_neighbour(from, address, || wrong(&app, from, address));
        assert!(wrong.is_empty(), "from {}:\n{}", from.name(), wrong.join("\n"));
    }
}

/// Tries all cases; returns what is wrong, one line a case.
fn wrong(app: &Strict, from: &Namespace, address: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    app.seen();
    for (table, cases) in TABLES {
        for (bytes, sees, refused) in *cases {
            let heard = from.run(|| converse(address, bytes, sees)).unwrap();
            let seen = app.seen();
            let mut expected: Vec<String> = sees.iter().map(|said| format!("{} {said}", status_of(said))).collect();
            expected.extend(refused.iter().map(|status| format!("{status} ")));
            if seen != *sees || heard != expected {
                wrong.push(format!(
                    "{table}: {}\n  the app saw {seen:?}\n  the client heard {heard:?}",
                    bytes.escape_ascii()
                ));
            }
        }
    }
    wrong
}

fn status_of(said: &str) -> u16 {
    if said.starts_with("CONNECT ") { 405 } else { 200 }
}

/// Writes `bytes`; returns status and body of each answer. The sending side ends when all that the app sees is answered.
fn converse(address: &str, bytes: &[u8], sees: &[&str]) -> Vec<String> {
    let mut client = Client::connect(address).unwrap();
    let mut heard = Vec::new();
    // The other side may close before it has read everything.
    let _ = client.write(bytes);
    let mut read = |client: &mut Client, said: &str| {
        let answer = client.read(said.starts_with("HEAD "));
        let body = |answer: &Response| match answer.status {
            200 if said.starts_with("HEAD ") => said.to_owned(),
            200 | 405 => answer.text(),
            _ => String::new(),
        };
        answer.map(|answer| heard.push(format!("{} {}", answer.status, body(&answer)))).is_ok()
    };
    for said in sees {
        read(&mut client, said);
    }
    let _ = client.raw().get_ref().shutdown(Shutdown::Write);
    while read(&mut client, "") {}
    let mut rest = Vec::new();
    let _ = client.raw().read_to_end(&mut rest);
    if !rest.is_empty() {
        heard.push(rest.escape_ascii().to_string());
    }
    heard
}
