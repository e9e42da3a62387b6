//! Connections of bytes: who speaks first, and how each side ends.

use crate::differences::{ADDRESSES, ANSWERS};
use crate::peer::Peer;
use crate::ways::{Row, Scene, Server, compare};

/// Ends a chain of steps.
const fn done(_: &mut Peer) {}

fn row(name: &str, client: fn(&mut Peer)) -> Row {
    Row::script(name, client)
}

fn scene(name: &'static str, server: fn(&mut Peer), rows: Vec<Row>) -> Scene {
    Scene { name, server: Server::Script(server), http: false, rows }
}

#[test]
fn who_speaks_first() {
    compare(vec![
        scene(
            "greets and answers",
            greets,
            vec![
                row("the greeting, a word, the end", |peer| {
                    done(peer.hear(b"220 ready\r\n").send("QUIT\r\n").hear_end())
                }),
                row("ends its side at once", |peer| done(peer.finish().hear_end())),
                row("ends its side after a while", |peer| done(peer.wait(100).finish().hear_end())),
                row("ends its side after the greeting", |peer| done(peer.hear(b"220 ready\r\n").finish().hear_end())),
                row("a word before the greeting", |peer| done(peer.send("EHLO early\r\n").hear_end())),
                row("resets after the greeting", |peer| done(peer.hear(b"220 ready\r\n").reset())),
                row("leaves after the greeting", |peer| done(peer.hear(b"220 ready\r\n"))),
            ],
        ),
        scene(
            "answers a word",
            answers_a_word,
            vec![
                row("a word with a newline", |peer| done(peer.send("stat\n").hear_end())),
                row("a word without a newline that waits", |peer| done(peer.send("mntr").hear_end())),
                row("a word that begins as HTTP does", |peer| done(peer.send("GET!").hear_end())),
                row("a word that is a method", |peer| done(peer.send("POST").hear_end())),
                row("a word that begins as HTTP/2 does", |peer| done(peer.send("PRI ").hear_end())),
                row("a word and the end", |peer| done(peer.send("ruok").finish().hear_end())),
                row("a word in single bytes", |peer| done(peer.trickle("ruok").hear_end())),
                row("a word after a second of silence", |peer| done(peer.wait(1000).send("ruok").hear_end())),
                row("bytes of zero", |peer| done(peer.send(b"\0\0\0\0").hear_end())),
            ],
        ),
        scene(
            "answers the beginning of a record",
            answers_a_word,
            vec![
                row("the first bytes of a TLS record", |peer| done(peer.send(b"\x16\x03\x01\x00").hear_end())),
                row("what no TLS record begins with", |peer| done(peer.send(b"\x16\x03\x05\x00").hear_end())),
            ],
        ),
        scene(
            "notes addresses",
            |peer| done(peer.note_addresses().hear("hello").send("ok").hear_end()),
            vec![row("a word", |peer| done(peer.send("hello").hear("ok"))).shows(&[&ADDRESSES])],
        ),
        scene(
            "answers one byte",
            |peer| done(peer.hear("1").send("ok").hear_end()),
            vec![
                row("a letter of HTTP", |peer| done(peer.send("G").hear("ok"))),
                row("a letter of HTTP/2", |peer| done(peer.send("P").hear("ok"))),
                row("a byte of TLS", |peer| done(peer.send(b"\x16").hear("ok"))),
                row("a zero", |peer| done(peer.send(b"\0").hear("ok"))),
            ],
        ),
    ]);
}

#[test]
fn how_it_ends() {
    compare(vec![
        scene(
            "answers after the end",
            |peer| done(peer.hear_end().send("all of it came").finish()),
            vec![
                row("few bytes and the end", |peer| done(peer.send("data").finish().hear_end())),
                row("no bytes and the end", |peer| done(peer.finish().hear_end())),
                row("many bytes and the end", |peer| done(peer.send(vec![7; 3_000_000]).finish().hear_end())),
                row("what begins as HTTP, and the end", |peer| done(peer.send("GET key\r\n").finish().hear_end())),
            ],
        ),
        scene(
            "ends its side first",
            |peer| done(peer.send("bye").finish().hear_end()),
            vec![
                row("goes on after the server's end", |peer| {
                    done(peer.hear_end().wait(50).send("still here").finish())
                }),
                row("goes on for long after the server's end", |peer| {
                    done(peer.hear_end().wait(1200).send("still here").finish())
                }),
            ],
        ),
        scene(
            "resets at once",
            |peer| done(peer.reset()),
            vec![row("waits", |peer| done(peer.hear_end())), row("has sent", |peer| done(peer.send("x").hear_end()))],
        ),
        scene(
            "resets after a word",
            |peer| done(peer.hear("word").send("half").wait(100).reset()),
            vec![row("reads", |peer| done(peer.send("word").hear("half").hear_end()))],
        ),
        scene(
            "hears how the client ends",
            |peer| done(peer.send("hi").hear_end()),
            vec![
                row("resets", |peer| done(peer.hear("hi").wait(50).reset())),
                row("resets after bytes", |peer| done(peer.hear("hi").send("some").wait(100).reset())),
                row("closes", |peer| done(peer.hear("hi"))),
                row("closes its side and waits", |peer| done(peer.hear("hi").finish().hear_end())),
            ],
        ),
        scene(
            "accepts and says nothing",
            |peer| done(peer.hear_end()),
            vec![
                row("says nothing for a while", |peer| done(peer.hear_nothing(1500))),
                row("says a word and is not answered", |peer| done(peer.send("hello").hear_nothing(800))),
            ],
        ),
        Scene {
            name: "nobody listens",
            server: Server::Nobody,
            http: false,
            rows: vec![
                row("waits", |peer| done(peer.hear_end())),
                row("speaks", |peer| done(peer.send("hello\r\n").hear_end())),
                row("asks by HTTP", |peer| done(peer.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").hear_end()))
                    .shows(&[&ANSWERS]),
            ],
        },
    ]);
}

fn greets(peer: &mut Peer) {
    peer.send("220 ready\r\n").hear_until("\r\n").send("221 bye\r\n").finish().hear_end();
}

fn answers_a_word(peer: &mut Peer) {
    peer.hear(b"word").send("answer").finish().hear_end();
}
