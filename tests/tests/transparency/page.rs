//! The page for users is made of the list of differences.

use std::fmt::Write as _;
use std::path::Path;

use super::differences::{EVERYWHERE, OF_ROWS, OVER_HTTP2};

const INTRO: &str = "# What the mesh changes

A program in the mesh sees what it would see without one, except for what this page lists.

A test suite checks this: it connects programs without a mesh, with a sidecar on both sides, and with a sidecar on one side, over both wire forms, in
permissive and strict mode, and compares what each program saw: bytes, statuses, header fields, order, and how and when connections ended. A test fails when
a difference is not on this page. The programs include curl, Node, Python, Java, grpc-go, grpcio, nginx, Apache, HAProxy, PostgreSQL, MariaDB, Redis, memcached, NATS, SSH, SMTP,
MQTT and WebSocket libraries. `cargo xtask test --only transparency` runs the suite. This page is generated from its list.

## Differences by design
";

#[test]
fn the_page_lists_the_differences() {
    let mut text = INTRO.to_owned();
    for difference in EVERYWHERE.iter().chain(OVER_HTTP2).chain(OF_ROWS) {
        write!(text, "\n### {}\n\n{}\n", difference.name, difference.what).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/transparency.md");
    if std::env::var_os("OUTRIGGER_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == text,
        "docs/reference/transparency.md is not what the list says: OUTRIGGER_BLESS=1 cargo test --test transparency the_page writes it"
    );
}
