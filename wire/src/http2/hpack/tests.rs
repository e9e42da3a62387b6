//! The examples of RFC 7541 appendix C, and what is broken.

use super::{Decoder, Encoder, Field, Sink, huffman, integer};

#[derive(Default)]
struct Seen(Vec<String>);

impl Sink for Seen {
    fn admits(&mut self, _: usize, _: usize) -> bool {
        true
    }

    fn take(&mut self, field: Field) {
        self.0.push(match field {
            Field::Method(method) => format!(":method: {method}"),
            Field::Scheme(scheme) => format!(":scheme: {scheme}"),
            Field::Authority(authority) => format!(":authority: {authority}"),
            Field::Path(path) => format!(":path: {path}"),
            Field::Status(status) => format!(":status: {}", status.as_str()),
            Field::Header(name, value, _) => format!("{name}: {}", value.to_str().unwrap()),
            Field::Malformed(_) => "malformed".to_owned(),
        });
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

fn decode(decoder: &mut Decoder, block: &str) -> Vec<String> {
    let mut seen = Seen::default();
    decoder.decode(&hex(block), &mut seen).expect("block is well formed");
    seen.0
}

#[test]
fn decodes_single_fields_of_appendix_c2() {
    let decoded = |block| decode(&mut Decoder::new(), block);
    let custom = "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572";
    assert_eq!(decoded(custom), ["custom-key: custom-header"]);
    assert_eq!(decoded("040c 2f73 616d 706c 652f 7061 7468"), [":path: /sample/path"]);
    assert_eq!(decoded("1008 7061 7373 776f 7264 0673 6563 7265 74"), ["password: secret"]);
    assert_eq!(decoded("82"), [":method: GET"]);
}

#[test]
fn decodes_requests_of_appendix_c3_and_c4() {
    let plain = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let huffman = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut decoder = Decoder::new();
        let first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        assert_eq!(decode(&mut decoder, blocks[0]), first);
        assert_eq!(decode(&mut decoder, blocks[1]), [&first[..], &["cache-control: no-cache"]].concat());
        let third = [
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ];
        assert_eq!(decode(&mut decoder, blocks[2]), third);
    }
}

#[test]
fn decodes_responses_of_appendix_c6_with_evictions() {
    let mut decoder = Decoder::new();
    // The example has a table of 256 octets.
    let first = decode(
        &mut decoder,
        "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    let rest = ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"];
    assert_eq!(first, [&[":status: 302"], &rest[..]].concat());
    assert_eq!(decode(&mut decoder, "4883 640e ffc1 c0bf"), [&[":status: 307"], &rest[..]].concat());
    let third = decode(
        &mut decoder,
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    );
    let expected = [
        ":status: 200",
        "cache-control: private",
        "date: Mon, 21 Oct 2013 20:13:22 GMT",
        "location: https://www.example.com",
        "content-encoding: gzip",
        "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
    ];
    assert_eq!(third, expected);
}

#[test]
fn integers_of_appendix_c1_pass_both_ways() {
    for (value, prefix, coded) in [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42]), (0, 1, &[0])] {
        let mut out = Vec::new();
        integer::encode(&mut out, 0, prefix, value);
        assert_eq!(out, coded);
        assert_eq!(integer::decode(coded, &mut 0, prefix), Some(value));
    }
    assert_eq!(integer::decode(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &mut 0, 7), None);
}

#[test]
fn huffman_codes_that_are_wrong_are_refused() {
    let cases: [(&[u8], Option<&[u8]>); 7] = [
        (&[0x1f], Some(b"a")),
        (&[], Some(b"")),
        // Padding that is not all ones, that has a whole octet, and the end in the midst.
        (&[0x18], None),
        (&[0x1f, 0xff], None),
        (&[0xff, 0xff, 0xff, 0xff], None),
        (&[0xff], None),
        (&[0xfe], None),
    ];
    for (coded, expected) in cases {
        let mut out = Vec::new();
        let decoded = huffman::decode(coded, &mut out).map(|()| out.as_slice());
        assert_eq!(decoded, expected, "{coded:?}");
    }
}

#[test]
fn broken_blocks_are_refused() {
    // Index 0, an index behind the table, a cut integer, a cut string, a size beyond the limit, a size behind a field.
    for block in ["80", "ff20", "7f", "4005 61", "3fe2 1f", "82 20"] {
        assert!(Decoder::new().decode(&hex(block), &mut Seen::default()).is_none(), "{block}");
    }
}

#[test]
fn what_repeats_becomes_short_and_what_differs_does_not_enter() {
    let mut encoder = Encoder::new();
    let mut lengths = Vec::new();
    for call in 0..100 {
        let request = http::Request::post("http://orders.shop:8080/orders.v1.Orders/Get")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("x-request-id", format!("{call:08}"))
            .header("x-differs", format!("{call:08}"));
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut block = Vec::new();
        encoder.request(&parts, &mut block);
        lengths.push(block.len());
    }
    // Six fields of one octet, and two of an index and eight digits.
    assert!(lengths[3..].iter().all(|length| *length <= 6 + 2 * 11), "{lengths:?}");
}

#[test]
fn what_is_sensitive_never_enters() {
    let mut value = http::HeaderValue::from_static("secret");
    value.set_sensitive(true);
    let mut headers = http::HeaderMap::new();
    headers.insert("x-token", value);
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for _ in 0..3 {
        let mut block = Vec::new();
        encoder.trailers(&headers, &mut block);
        assert_eq!(block[0], 0x10);
        let mut seen = Seen::default();
        decoder.decode(&block, &mut seen).unwrap();
        assert_eq!(seen.0, ["x-token: secret"]);
    }
}

#[test]
fn the_least_size_between_two_blocks_is_told_too() {
    let mut encoder = Encoder::new();
    for sizes in [[0, 4096], [100, 5000]] {
        sizes.iter().for_each(|size| encoder.resize(*size));
        let mut block = Vec::new();
        encoder.trailers(&http::HeaderMap::new(), &mut block);
        let mut told = Vec::new();
        sizes.iter().for_each(|size| integer::encode(&mut told, 0x20, 5, (*size).min(4096)));
        assert_eq!(block, told);
    }
}
