//! What connections of HTTP/2 grant their peers. The mesh's own measures are for sidecars; an app, and whoever is no part of the mesh, is met as
//! it would be without one: nobody asks it whether it is there, and what it may do at once is more than any program does.

use std::time::Duration;

use outrigger_wire::http2::{Settings, bare};

/// For the own app, as a client and as a server, and for servers outside of the mesh.
pub(crate) const APP: Settings = Settings {
    max_streams: 256,
    most_streams: MAX_STREAMS,
    stream_window: 64 * 1024,
    grown_window: 256 * 1024,
    connection_window: CONNECTION_WINDOW,
    max_head: MAX_HEAD,
    max_heads: 2 * 1024 * 1024,
    max_resets: 500,
    pings: false,
    ping_interval: Duration::from_secs(10),
    ping_timeout: Duration::from_secs(20),
    unread: None,
    half: Duration::from_secs(60),
    refusal: bare,
};

/// For clients without an identity: what they have is bounded more closely.
pub(crate) const STRANGER: Settings =
    Settings { connection_window: 2 * 1024 * 1024, max_heads: 768 * 1024, unread: Some(UNREAD), ..APP };

/// For sidecars. Such a connection carries the calls of many clients: its window has room for all streams that one is given, so that none which
/// nobody reads holds up another.
pub(crate) const MESH: Settings = Settings {
    max_head: MAX_HEAD + ADDED,
    max_heads: 8 * 1024 * 1024,
    max_resets: 20_000,
    pings: true,
    unread: Some(UNREAD_BY_SIDECAR),
    ..APP
};

/// The same for one that carries HTTP/1 requests. Large bodies go over HTTP/1: the windows need not grow.
pub(crate) const WRAPPED: Settings = Settings { grown_window: 0, ..MESH };

/// For sidecars, as their client: they take any head that this one does, and what is added to it.
pub(crate) const TO_SIDECAR: Settings = Settings { max_head: MAX_HEAD, ..MESH };

/// The same for connections that carry HTTP/1 requests.
pub(crate) const TO_SIDECAR_WRAPPED: Settings = Settings { max_head: MAX_HEAD, ..WRAPPED };

/// Streams that a peer may have open at once, once it uses those that it has at first.
pub(crate) const MAX_STREAMS: u32 = 4096;

/// How long a client without an identity may take nothing of what waits for it, which is 256 KiB and some more at most.
const UNREAD: Duration = Duration::from_secs(15 * 60);

/// The same for a sidecar, which reads whatever its app does: streams have windows of their own.
const UNREAD_BY_SIDECAR: Duration = Duration::from_secs(60);

/// A head, counted as RFC 9113 section 6.5.2 says.
pub(crate) const MAX_HEAD: u32 = 256 * 1024;

/// What a sidecar may add to a head that it has accepted.
const ADDED: u32 = 16 * 1024;

/// Of a connection's bodies, on the way or unread: the first windows of a hundred streams, and what they grow by.
const CONNECTION_WINDOW: u32 = 9 * 1024 * 1024;

/// Requests that one connection to a sidecar, or to a server outside of the mesh, carries at once before another is opened.
pub(crate) const SHARED_STREAMS: u32 = 100;

/// Connections that are opened for one client connection to its app, as each has as many streams as the app allows; then requests wait for a
/// stream.
pub(crate) const APP_CONNECTIONS: usize = 16;

/// How long a server's SETTINGS are waited for before it is sent requests without them.
pub(crate) const SETTINGS_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use outrigger_wire::http1;

    use super::*;

    #[test]
    fn the_page_of_limits_has_these() {
        let page = include_str!("../../docs/reference/limits.md");
        let (mib, kib) = (1024 * 1024, 1024);
        for row in [
            format!(
                "streams of a connection that are open at once | {MAX_STREAMS}; the first {} at once",
                APP.max_streams
            ),
            format!("HTTP/1: size of a head | {} KiB |", http1::MAX_HEAD / 1024),
            format!("fields of a head, with each cookie crumb on its own | {} |", outrigger_wire::MAX_FIELDS),
            format!("SETTINGS_MAX_HEADER_LIST_SIZE is | {} KiB |", MAX_HEAD / kib),
            format!("when it takes no more streams | {APP_CONNECTIONS} |"),
            format!(
                "unread bodies of a connection | {} MiB, {} KiB of each to begin with; {} MiB for a client",
                CONNECTION_WINDOW / mib,
                APP.stream_window / kib,
                STRANGER.connection_window / mib
            ),
            format!(
                "nothing of what waits for it | never for the application; {} min for a client without an identity; {} s",
                UNREAD.as_secs() / 60,
                UNREAD_BY_SIDECAR.as_secs()
            ),
            format!("before their responses begin | {} in a second |", APP.max_resets),
        ] {
            assert!(page.contains(&row), "{row}");
        }
    }

    #[test]
    fn streams_that_nobody_reads_leave_room_for_all_others_of_a_shared_connection() {
        for settings in [APP, MESH, WRAPPED] {
            let grown = settings.connection_window / 4;
            assert!(SHARED_STREAMS * settings.stream_window + grown <= settings.connection_window);
        }
    }
}
