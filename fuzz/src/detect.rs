//! What a connection carries, by its first bytes: the same however they are split, HTTP wherever a naive reader finds a request, and a
//! peer's ClientHello nowhere but where its protocol is offered. No byte is lost by looking.

use outrigger_sidecar::fuzzing::{self, Sniffed};

use crate::http1::reference;
use crate::runtime;
use crate::script::{End, Script, Split};

/// Runs the target; the first byte says how the rest is split.
///
/// # Panics
/// When bytes mean something else in other pieces, or something that they do not say.
pub fn run(data: &[u8]) {
    let Some((seed, bytes)) = data.split_first() else { return };
    sniff(bytes);
    let whole = hello(bytes, Split::Whole);
    for split in [Split::Each(1), Split::Random(u64::from(*seed))] {
        assert_eq!(hello(bytes, split), whole, "a ClientHello in other pieces: {split:?}");
    }
    let offered = bytes.windows(10).any(|window| window == b"outrigger/");
    assert!(offered || !whole, "a peer's ClientHello without the mesh's protocol");
}

fn sniff(bytes: &[u8]) {
    let all = fuzzing::sniff(bytes);
    for end in 0..bytes.len() {
        let before = fuzzing::sniff(&bytes[..end]);
        assert!(before == Sniffed::More || before == all, "{before:?} after {end} bytes, {all:?} after all");
    }
    let line = bytes.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    if all == Sniffed::Http1 {
        let version = line.windows(8).any(|window| window == b" HTTP/1.");
        assert!(version, "no version of HTTP/1 in the first line");
    }
    let Some(request) = reference::requests(bytes).into_iter().next() else { return };
    let method = &request.line[0];
    let usual = method.len() <= 24 && method.iter().all(u8::is_ascii_alphabetic);
    let graphic = |word: &[u8]| word.iter().all(u8::is_ascii_graphic);
    // One empty line may come before; more are no client's.
    let begins = bytes.strip_prefix(b"\r\n").unwrap_or(bytes).starts_with(method);
    if begins && usual && request.line[1].starts_with(b"/") && graphic(&request.line[1]) {
        assert_eq!(all, Sniffed::Http1, "a request that is not taken for HTTP");
    }
}

/// Whether it is a peer's; what was read stays to be read again.
fn hello(bytes: &[u8], split: Split) -> bool {
    let (io, written) = Script::new(split.cut(bytes), End::Closed);
    let (is_mesh, seen) = runtime::run(fuzzing::mesh_hello(io)).expect("it ends with the stream");
    assert!(bytes.starts_with(&seen), "what was looked at is not what came");
    assert!(written.bytes().is_empty(), "an answer to what was only looked at");
    is_mesh
}
