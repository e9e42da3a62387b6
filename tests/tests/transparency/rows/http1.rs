//! HTTP/1 as bytes on both sides.

use crate::differences::{CLOSING, CRUMBS, DOTS, H2C, NAMES, REASON, VERSION};
use crate::peer::Peer;
use crate::ways::{Row, Scene, Server, compare};

/// Ends a chain of steps.
const fn done(_: &mut Peer) {}

fn row(name: &str, client: fn(&mut Peer)) -> Row {
    Row::script(name, client)
}

fn scene(name: &'static str, server: fn(&mut Peer), rows: Vec<Row>) -> Scene {
    Scene { name, server: Server::Script(server), http: true, rows }
}

/// Answers each request of a connection with the same bytes.
fn answers(peer: &mut Peer, answer: impl AsRef<[u8]>) {
    while peer.hear_request() {
        peer.send(&answer);
    }
}

/// Sends one request and hears one answer.
fn asks(peer: &mut Peer, request: impl AsRef<[u8]>) {
    peer.send(request).hear_message();
}

/// How long a request may take to the app, whatever else the machine does, in milliseconds: a reset overtakes what has not left.
const ARRIVED: u64 = 600;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: web\r\n\r\n").into_bytes()
}

#[test]
fn requests() {
    compare(vec![
        scene("answers", |peer| answers(peer, OK), vec![
            row("GET", |peer| asks(peer, get("/"))),
            row("query", |peer| asks(peer, get("/a/b?c=d&e=%20f+g"))),
            row("OPTIONS *", |peer| asks(peer, "OPTIONS * HTTP/1.1\r\nHost: web\r\n\r\n")),
            row("a method that nobody knows", |peer| asks(peer, "FROBNICATE /x HTTP/1.1\r\nHost: web\r\n\r\n")),
            row("PROPFIND", |peer| asks(peer, "PROPFIND /dav HTTP/1.1\r\nHost: web\r\nDepth: 1\r\nContent-Length: 0\r\n\r\n")),
            row("DELETE with a body", |peer| asks(peer, "DELETE /x HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc")),
            row("GET with a body", |peer| asks(peer, "GET /x HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\n\r\nabc")),
            row("POST of nothing", |peer| asks(peer, "POST /x HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n")),
            row("POST without a length", |peer| asks(peer, "POST /x HTTP/1.1\r\nHost: web\r\n\r\n")),
            row("chunks", |peer| asks(peer, "POST /x HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")),
            row("chunks and trailers", |peer| asks(peer, "POST /x HTTP/1.1\r\nHost: web\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n")),
            row("a large body", |peer| {
                peer.send("PUT /x HTTP/1.1\r\nHost: web\r\nContent-Length: 2000000\r\n\r\n").send(vec![b'x'; 2_000_000]).hear_message();
            }),
            row("a head byte by byte", |peer| done(peer.trickle(get("/slow")).hear_message())),
            row("two requests in one packet", |peer| done(peer.send([get("/1"), get("/2")].concat()).hear_message().hear_message())),
            row("a second request after a while", |peer| {
                peer.send(get("/1")).hear_message().wait(300).send(get("/2")).hear_message();
            }),
            row("HTTP/1.0", |peer| done(peer.send("GET / HTTP/1.0\r\nHost: web\r\n\r\n").hear_until("ok"))).shows(&[&VERSION]),
            row("HTTP/1.0 without Host", |peer| done(peer.send("GET / HTTP/1.0\r\n\r\n").hear_until("ok"))).shows(&[&VERSION]),
            row("an empty line before the request", |peer| asks(peer, [b"\r\n".to_vec(), get("/")].concat())),
            row("names as they are written", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nX-CamelCase: 1\r\nx-lower: 2\r\nX-UPPER: 3\r\n\r\n")),
            row("a field twice", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nX-A: 1\r\nX-B: 2\r\nX-A: 3\r\n\r\n")),
            row("a field without a value", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nX-Empty:\r\nX-Space: \r\n\r\n")),
            row("bytes above ASCII in a field", |peer| asks(peer, b"GET / HTTP/1.1\r\nHost: web\r\nX-Name: J\xc3\xb6rg \xff\r\n\r\n")),
            row("many cookies", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nCookie: a=1\r\nCookie: b=2; c=3\r\n\r\n")).shows(&[&CRUMBS]),
            row("a Cookie of 6 KiB", |peer| asks(peer, format!("GET / HTTP/1.1\r\nHost: web\r\nCookie: a={}\r\n\r\n", "x".repeat(6000)))),
            row("a head of 60 KiB", |peer| asks(peer, format!("GET / HTTP/1.1\r\nHost: web\r\nX-A: {}\r\n\r\n", "x".repeat(60_000)))),
            row("150 fields", |peer| {
                let fields: String = (0..150).map(|at| format!("X-{at}: {at}\r\n")).collect();
                asks(peer, format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n"));
            }),
            row("1,500 fields without a value", |peer| {
                let fields: String = (0..1500).map(|at| format!("X-{at}:\r\n")).collect();
                asks(peer, format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n"));
            }),
            row("a head of 200 KiB", |peer| {
                let fields: String = (0..20).map(|at| format!("X-{at}: {}\r\n", "x".repeat(10_000))).collect();
                asks(peer, format!("GET / HTTP/1.1\r\nHost: web\r\n{fields}\r\n"));
            }),
            row("a target of 16 KiB", |peer| asks(peer, get(&format!("/{}", "a".repeat(16_000))))),
            row("authorization", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nAuthorization: Basic dTpw\r\n\r\n")),
            row("proxy authorization", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nProxy-Authorization: Basic dTpw\r\n\r\n")),
            row("conditions and ranges", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\", W/\"y\"\r\nIf-Modified-Since: Mon, 30 Nov 2026 06:00:00 GMT\r\n\r\n")),
            row("Forwarded and X-Forwarded-For", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\nVia: 1.1 edge\r\n\r\n")),
            row("a trace context", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\ntracestate: a=b\r\nbaggage: k=v\r\n\r\n")),
            row("B3 contexts", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nb3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1\r\n\r\n")),
            row("TE: trailers", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web\r\nTE: trailers\r\nConnection: TE\r\n\r\n")),
            row("Host with a port", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: web:8080\r\n\r\n")),
            row("Host of another", |peer| asks(peer, "GET / HTTP/1.1\r\nHost: EXAMPLE.com\r\n\r\n")),
            row("an empty Host", |peer| asks(peer, "GET / HTTP/1.1\r\nHost:\r\n\r\n")),
            row("an absolute target", |peer| asks(peer, "GET http://example.com/x?y HTTP/1.1\r\nHost: example.com\r\n\r\n")),
            row("braces and quotes in a target", |peer| asks(peer, get("/a{b}<c>\"d`e"))),
            row("latin-1 in a target", |peer| asks(peer, b"GET /caf\xe9 HTTP/1.1\r\nHost: web\r\n\r\n")),
            row("pipe and caret in a target", |peer| asks(peer, get("/a|b^c\\d?x=[1]"))),
            row("%2F in a target", |peer| asks(peer, get("/group%2Fproject"))),
            row("%5C in a target", |peer| asks(peer, get("/a%5Cb"))),
            row("a percent sign alone", |peer| asks(peer, get("/100%"))),
            row("..; in a target", |peer| asks(peer, get("/a/..;/b"))),
            row("dots in a target", |peer| asks(peer, get("/a/../b/./c"))),
            row("encoded dots in a target", |peer| asks(peer, get("/a/%2e%2E/b?c=/../d"))),
            row("dots that lead to another rule", |peer| asks(peer, get("/a/../kept/b"))).shows(&[&DOTS]),
            row("two slashes in a target", |peer| asks(peer, get("//a//b"))),
            row("Expect that nobody heeds", |peer| {
                peer.send("PUT /x HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").wait(50).send("abc").hear_message();
            }),
            row("an upgrade that is not taken", |peer| asks(peer, "GET /x HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")),
            row("an upgrade to HTTP/2 that is not taken", |peer| asks(peer, "GET /x HTTP/1.1\r\nHost: web\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")).shows(&[&H2C]),
            row("asks for the end", |peer| done(peer.send("GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").hear_until("ok"))),
        ]),
    ]);
}

macro_rules! answer {
    ($name:literal, $answer:expr) => {
        answer!($name, $answer, &[])
    };
    ($name:literal, $answer:expr, $shows:expr) => {
        scene($name, |peer| answers(peer, $answer), vec![row("GET", |peer| asks(peer, get("/"))).shows($shows)])
    };
}

#[test]
fn answers_of_the_app() {
    compare(vec![
        scene(
            "HEAD",
            |peer| answers(peer, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\nETag: \"a\"\r\n\r\n"),
            vec![row("HEAD", |peer| done(peer.send("HEAD / HTTP/1.1\r\nHost: web\r\n\r\n").hear_until("\r\n\r\n")))],
        ),
        answer!("no content", "HTTP/1.1 204 No Content\r\n\r\n"),
        answer!("not modified", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\n"),
        answer!("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
        answer!(
            "trailers",
            "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\nX-Sum: 3\r\n\r\n"
        ),
        answer!("a status that nobody knows", "HTTP/1.1 599 Whatever It Is\r\nContent-Length: 0\r\n\r\n", &[&REASON]),
        answer!("a reason of its own", "HTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n", &[&REASON]),
        answer!("no reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", &[&REASON]),
        answer!(
            "names as they are written",
            "HTTP/1.1 200 OK\r\nX-CamelCase: 1\r\nETag: \"a\"\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"
        ),
        answer!(
            "cookies",
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2; HttpOnly\r\nContent-Length: 0\r\n\r\n"
        ),
        answer!(
            "server and date",
            "HTTP/1.1 200 OK\r\nServer: mine/1\r\nDate: Mon, 30 Nov 2026 06:00:00 GMT\r\nVia: 1.1 x\r\nContent-Length: 0\r\n\r\n"
        ),
        answer!(
            "proxy authentication",
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n"
        ),
        answer!(
            "early hints",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            &[&NAMES]
        ),
        answer!("bytes above ASCII", b"HTTP/1.1 200 OK\r\nX-Name: J\xc3\xb6rg\r\nContent-Length: 1\r\n\r\n\xff"),
        answer!("a large head", format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(50_000))),
        answer!("400 fields", {
            let fields: String = (0..400).map(|at| format!("X-{at}: {at}\r\n")).collect();
            format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 0\r\n\r\n")
        }),
        answer!("a large body", format!("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n{}", "z".repeat(3_000_000))),
        answer!("unavailable", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3\r\nContent-Length: 4\r\n\r\nbusy"),
        answer!("too large", "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n", &[&REASON]),
        scene(
            "early hints to two",
            |peer| {
                while peer.hear_request() {
                    peer.send("HTTP/1.1 102 Processing\r\n\r\n").wait(300).send(OK);
                }
            },
            vec![row("GET", |peer| done(peer.send(get("/")).hear_message().hear_message()))],
        ),
    ]);
}

#[test]
fn how_answers_end() {
    compare(vec![
        scene(
            "without a length",
            |peer| done(peer.hear_message().send("HTTP/1.1 200 OK\r\n\r\nall of it").wait(50)),
            vec![
                row("GET", |peer| done(peer.send(get("/")).hear_end())).shows(&[&CLOSING]),
                row("HTTP/1.0", |peer| done(peer.send("GET / HTTP/1.0\r\n\r\n").hear_end())).shows(&[&VERSION]),
            ],
        ),
        scene(
            "of HTTP/1.0",
            |peer| done(peer.hear_message().send("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")),
            vec![row("GET", |peer| asks(peer, get("/"))).shows(&[&VERSION])],
        ),
        scene(
            "ends in the body",
            |peer| done(peer.hear_message().send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").wait(50)),
            vec![row("GET", |peer| done(peer.send(get("/")).hear_end()))],
        ),
        scene(
            "ends in a chunk",
            |peer| {
                done(
                    peer.hear_message().send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf").wait(50),
                )
            },
            vec![row("GET", |peer| done(peer.send(get("/")).hear_end()))],
        ),
        scene(
            "resets in the body",
            |peer| {
                done(peer.hear_message().send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").wait(100).reset())
            },
            vec![row("GET", |peer| done(peer.send(get("/")).hear_end()))],
        ),
        scene(
            "resets in a chunk",
            |peer| {
                done(
                    peer.hear_message()
                        .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf")
                        .wait(100)
                        .reset(),
                )
            },
            vec![
                row("GET", |peer| done(peer.send(get("/")).hear_end())),
                row("POST", |peer| {
                    peer.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nab").hear_end();
                }),
            ],
        ),
        scene(
            "says it will end",
            |peer| {
                done(peer.hear_message().send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"))
            },
            vec![row("GET", |peer| done(peer.send(get("/")).hear_message().hear_end())).shows(&[&CLOSING])],
        ),
        scene(
            "streams slowly",
            |peer| {
                peer.hear_message()
                    .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
                peer.send("7\r\ndata: 1\r\n").wait(600).send("7\r\ndata: 2\r\n").hear_end();
            },
            vec![row("hears the first event before the second", |peer| {
                peer.send(get("/")).hear_until("data: 1").note("first").hear_until("data: 2");
            })],
        ),
    ]);
}

#[test]
fn who_leaves_when() {
    compare(vec![
        scene(
            "works for long",
            |peer| done(peer.hear_message().hear_end()),
            vec![
                row("leaves while it waits", |peer| done(peer.send(get("/")).wait(200))),
                row("resets while it waits", |peer| done(peer.send(get("/")).wait(ARRIVED).reset())),
            ],
        ),
        scene(
            "streams without an end",
            |peer| {
                peer.hear_message()
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                    .hear_end();
            },
            vec![
                row("leaves in the answer", |peer| done(peer.send(get("/")).hear_until("abc"))),
                row("resets in the answer", |peer| done(peer.send(get("/")).hear_until("abc").reset())),
            ],
        ),
        scene(
            "answers when the client has ended its side",
            |peer| done(peer.hear_message().wait(300).send(OK).hear_end()),
            vec![row("ends its side after the request", |peer| done(peer.send(get("/")).finish().hear_message()))],
        ),
        scene(
            "hears half a body",
            |peer| done(peer.hear_message()),
            vec![
                row("leaves in its body", |peer| {
                    done(peer.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhalf").wait(200))
                }),
                row("resets in its body", |peer| {
                    done(
                        peer.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\nhalf")
                            .wait(ARRIVED)
                            .reset(),
                    )
                }),
                row("resets in a chunk", |peer| {
                    done(
                        peer.send("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf")
                            .wait(ARRIVED)
                            .reset(),
                    )
                }),
                row("leaves in a chunk", |peer| {
                    done(
                        peer.send("POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf")
                            .wait(200),
                    )
                }),
            ],
        ),
    ]);
}

#[test]
fn expectations_and_upgrades() {
    compare(vec![
        scene(
            "decides about an upload",
            |peer| {
                done(
                    peer.hear_until("\r\n\r\n")
                        .wait(100)
                        .send("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
                )
            },
            vec![row("waits for 100 and is refused", |peer| {
                peer.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 3000000\r\nExpect: 100-continue\r\n\r\n")
                    .hear_message();
            })],
        ),
        scene(
            "continues an upload",
            |peer| {
                peer.hear_until("\r\n\r\n").wait(100).send("HTTP/1.1 100 Continue\r\n\r\n").hear("abc").send(OK);
            },
            vec![row("waits for 100", |peer| {
                peer.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
                peer.hear_message().send("abc").hear_message();
            })],
        ),
        scene(
            "answers before the body",
            |peer| {
                peer.hear_until("\r\n\r\n")
                    .send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
                    .wait(300);
            },
            vec![
                row("hears it while it sends", |peer| {
                    peer.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: 100\r\n\r\nsome").hear_message();
                })
                .shows(&[&REASON]),
            ],
        ),
        scene(
            "upgrades",
            |peer| {
                peer.hear_message()
                    .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello")
                    .hear("ping")
                    .send("pong")
                    .hear_end();
            },
            vec![
                row("talks and ends", |peer| {
                    peer.send("GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
                    peer.hear_message().hear("hello").send("ping").hear("pong").finish().hear_end();
                }),
                row("talks and resets", |peer| {
                    peer.send("GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
                    peer.hear_message().hear("hello").send("ping").hear("pong").reset();
                }),
            ],
        ),
        scene(
            "tunnels",
            |peer| {
                peer.hear_message()
                    .send("HTTP/1.1 200 Connection Established\r\n\r\n")
                    .hear("ping")
                    .send("pong")
                    .hear_end();
            },
            vec![row("CONNECT", |peer| {
                peer.send("CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\n\r\n");
                peer.hear_until("\r\n\r\n").send("ping").hear("pong").finish().hear_end();
            })],
        ),
    ]);
}
