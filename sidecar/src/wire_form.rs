//! How requests travel between sidecars.

/// How HTTP/1 requests travel between two sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Wire {
    /// As it costs least: over HTTP/2 while there are many small ones at once for an endpoint, else over HTTP/1.
    #[default]
    ByLoad,
    /// Over pooled HTTP/1 connections.
    Http1,
    /// As streams of one HTTP/2 connection.
    Http2,
}
