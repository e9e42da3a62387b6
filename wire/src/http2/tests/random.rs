//! Whatever comes, however it is cut.

use proptest::prelude::*;

use super::super::frame::{self, END_HEADERS, END_STREAM, HEADERS};
use super::super::head::{Fields, Parsed};
use super::super::hpack::{Decoder, Encoder};
use super::super::state::{Role, Shared, Taken, Work};
use super::super::{Settings, stream::Key};
use super::raw::{GET, POST};

/// Gives `input` to a connection in pieces that end at `cuts`, as the task of a connection does; tells what came of it.
fn receive(role: Role, input: &[u8], cuts: &[usize]) -> String {
    let shared = Shared::new(role, &Settings::default());
    let mut work = Work::default();
    let mut seen = String::new();
    let mut rest: Vec<u8> = Vec::new();
    let mut from = 0;
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    cuts.push(input.len());
    cuts.sort_unstable();
    let mut keys: Vec<Key> = Vec::new();
    for cut in cuts {
        rest.extend_from_slice(&input[from..cut]);
        from = cut;
        let mut state = shared.lock();
        match state.receive(&rest) {
            Ok(done) => drop(rest.drain(..done)),
            Err(fatal) => {
                seen += &format!("fatal {fatal:?}");
                state.add_work(&mut work);
                keys.extend(work.arrived.drain(..).map(|arrived| arrived.key));
                state.offend(fatal);
                break;
            }
        }
        state.add_work(&mut work);
        keys.extend(work.arrived.drain(..).map(|arrived| arrived.key));
    }
    let mut state = shared.lock();
    for key in keys {
        let mut data = Vec::new();
        let end = loop {
            match state.take(key, std::task::Waker::noop()) {
                Taken::Data { piece, last } => {
                    data.extend_from_slice(&piece);
                    if last {
                        break "end".to_owned();
                    }
                }
                Taken::End => break "end".to_owned(),
                other => break format!("{other:?}"),
            }
        };
        // One that was reset may not even have been served.
        if !end.starts_with("Failed") {
            seen += &format!("stream {}: {data:?} {end}; ", key.id);
        }
    }
    seen
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        Just(GET.to_vec()),
        Just(POST.to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        Just(vec![0; 4]),
        Just(vec![0, 0, 0, 9]),
        Just(vec![0; 8]),
    ];
    (0..11_u8, any::<u8>(), 0..8_u32, payload).prop_map(|(kind, flags, id, payload)| {
        let mut out = Vec::new();
        frame::head(&mut out, payload.len(), kind, flags, id);
        out.extend_from_slice(&payload);
        out
    })
}

/// What a client says that behaves.
fn conversation() -> Vec<u8> {
    let mut out = frame::PREFACE.to_vec();
    frame::settings(&mut out, &[]);
    for id in [1, 3, 5] {
        frame::head(&mut out, POST.len(), HEADERS, END_HEADERS, id);
        out.extend_from_slice(POST);
    }
    for id in [3, 1, 5] {
        frame::head(&mut out, 300, frame::DATA, 0, id);
        out.extend((0..300_u32).map(|at| at.to_be_bytes()[3]));
        frame::head(&mut out, 12, frame::DATA, frame::PADDED, id);
        out.extend_from_slice(b"\x04dataxxx....."[..12].as_ref());
    }
    frame::head(&mut out, 4, HEADERS, END_STREAM, 1);
    out.extend_from_slice(&[0, 1, b'a', 1]);
    frame::head(&mut out, 1, frame::CONTINUATION, END_HEADERS, 1);
    out.push(b'b');
    frame::head(&mut out, 3, frame::DATA, END_STREAM, 5);
    out.extend_from_slice(b"end");
    frame::reset(&mut out, 3, super::super::Reason::CANCEL);
    out
}

proptest! {
    #[test]
    fn random_octets_never_panic(input in proptest::collection::vec(any::<u8>(), 0..300), cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
        receive(Role::Client, &input, &cuts);
        receive(Role::Server, &[frame::PREFACE, &input].concat(), &cuts);
    }

    #[test]
    fn random_frames_never_panic_and_the_cuts_do_not_matter(frames in proptest::collection::vec(any_frame(), 0..30), cuts in proptest::collection::vec(any::<usize>(), 0..9)) {
        let mut input = frame::PREFACE.to_vec();
        frame::settings(&mut input, &[]);
        input.extend(frames.concat());
        receive(Role::Client, &input[frame::PREFACE.len()..], &cuts);
        let whole = receive(Role::Server, &input, &[]);
        prop_assert_eq!(receive(Role::Server, &input, &cuts), whole);
    }

    #[test]
    fn a_conversation_may_be_cut_anywhere(cuts in proptest::collection::vec(any::<usize>(), 0..20)) {
        let whole = receive(Role::Server, &conversation(), &[]);
        prop_assert!(whole.contains("stream 5: ") && whole.contains("Trailers") && !whole.contains("stream 3"));
        prop_assert_eq!(receive(Role::Server, &conversation(), &cuts), whole);
    }

    #[test]
    fn heads_survive_the_way_through_the_tables(
        heads in proptest::collection::vec((0..6_usize, proptest::collection::vec((0..12_usize, "[ -~]{0,40}"), 0..12)), 1..30),
        sizes in proptest::collection::vec(0..5000_usize, 0..30),
    ) {
        const NAMES: [&str; 12] = ["content-type", "te", "x-a", "x-bb", "x-ccc", "user-agent", "content-length", "traceparent", "date", "x-dddd", "authorization", "set-cookie"];
        const PATHS: [&str; 6] = ["/", "/a/b", "/a/c?d", "/index.html", "/x.Y/Z", "/%20"];
        let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
        let mut sizes = sizes.into_iter();
        for (path, fields) in heads {
            let mut request = http::Request::get(format!("http://a.example{}", PATHS[path]));
            for (name, value) in fields {
                let value = match NAMES[name] { "te" => "trailers", "content-length" => "17", _ => value.trim() };
                if NAMES[name] != "content-length" || request.headers_ref().is_some_and(|headers| !headers.contains_key("content-length")) {
                    request = request.header(NAMES[name], value);
                }
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            if let Some(size) = sizes.next() {
                encoder.resize(size);
                encoder.resize(size.saturating_sub(100));
            }
            let mut block = Vec::new();
            encoder.request(&parts, &mut block);
            let mut fields = Fields::new(100_000, 8);
            prop_assert!(decoder.decode(&block, &mut fields).is_some());
            let Parsed::Head(request) = fields.request() else { return Err(TestCaseError::fail("malformed")) };
            prop_assert_eq!(&request.into_parts().0.headers, &parts.headers);
        }
    }
}
