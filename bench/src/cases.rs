//! What is measured: the shapes of load, and what each may cost beside Envoy.

use crate::load::Shape;

/// One shape of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) shape: Shape,
    pub(crate) connections: usize,
    /// Bytes of each response's body.
    pub(crate) bytes: usize,
    /// Requests per second; `None`: as fast as the answers come.
    pub(crate) rate: Option<u32>,
    /// What the service has beside what is asked for.
    pub(crate) world: World,
    /// Ours must cost at most this share of Envoy's CPU time.
    pub(crate) limit: Option<f64>,
    /// Our median latency must be at most this share of Envoy's.
    pub(crate) latency_limit: Option<f64>,
}

/// The service that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum World {
    /// One endpoint, no routes.
    Plain,
    /// A thousand endpoints.
    Endpoints,
    /// A thousand route rules, of which the last matches.
    Rules,
}

const fn case(name: &'static str, what: &'static str, shape: Shape, connections: usize) -> Case {
    let (bytes, rate, world) = (64, None, World::Plain);
    Case { name, what, shape, connections, bytes, rate, world, limit: None, latency_limit: None }
}

impl Case {
    const fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    const fn rate(mut self, rate: u32) -> Self {
        self.rate = Some(rate);
        self
    }

    const fn world(mut self, world: World) -> Self {
        self.world = world;
        self
    }

    const fn latency_at_most(mut self, limit: f64) -> Self {
        self.latency_limit = Some(limit);
        self
    }
}

/// All cases, in the order of the tables.
pub(crate) const CASES: &[Case] = &[
    case("http1-1", "HTTP/1, 64 bytes, 1 connection", Shape::Http1, 1).at_most(0.33),
    case("http1-8", "HTTP/1, 64 bytes, 8 connections", Shape::Http1, 8),
    case("http1-16", "HTTP/1, 64 bytes, 16 connections", Shape::Http1, 16).at_most(0.28),
    case("http1-32", "HTTP/1, 64 bytes, 32 connections", Shape::Http1, 32),
    case("http1-64", "HTTP/1, 64 bytes, 64 connections", Shape::Http1, 64).at_most(0.25),
    case("http1-64k", "HTTP/1, 64 KiB, 16 connections", Shape::Http1, 16).bytes(65536).at_most(0.55),
    case("grpc-unary", "gRPC unary, 1 connection, 32 calls at once", Shape::Grpc, 1).at_most(0.27),
    case("grpc-stream", "gRPC messages on 32 open streams of 1 connection", Shape::GrpcStream, 1),
    case("opaque", "64 bytes there and back, not HTTP, 16 connections", Shape::Bytes, 16).at_most(0.75),
    case("opaque-upload", "bytes to the server, per MiB, 1 connection", Shape::Upload, 1).at_most(0.85),
    case("opaque-download", "bytes to the client, per MiB, 1 connection", Shape::Download, 1).at_most(0.85),
    case("opaque-fresh", "a connection for 64 bytes, not HTTP, 4 at once", Shape::BytesFresh, 4).at_most(0.22),
    case("http1-fresh", "HTTP/1, a connection per request, 4 at once", Shape::Http1Fresh, 4).at_most(0.40),
    case("http1-200-per-second", "HTTP/1 at 200 requests/s", Shape::Http1, 16).rate(200),
    case("http1-2000-per-second", "HTTP/1 at 2,000 requests/s", Shape::Http1, 16)
        .rate(2000)
        .at_most(0.42)
        .latency_at_most(0.52),
    case("endpoints-1000", "HTTP/1, 16 connections, a service of 1,000 endpoints", Shape::Http1, 16)
        .world(World::Endpoints),
    case("rules-1000", "HTTP/1, 16 connections, the last of 1,000 route rules", Shape::Http1, 16).world(World::Rules),
];

/// Idle connections held through the sidecars: machines cap a process at 20,000 descriptors, and a proxy needs two for each.
pub(crate) const IDLE_CONNECTIONS: usize = 8000;
/// What ours may take of the CPU time of bare hyper over rustls, in cases that have a limit.
pub(crate) const FLOOR_LIMIT: f64 = 1.25;
/// Memory that one of them may cost both our sidecars together, in KiB.
pub(crate) const IDLE_LIMIT_KIB: f64 = 10.0;
/// Connections at which memory is looked at on the way.
pub(crate) const SOME_CONNECTIONS: usize = 1000;
/// What a sidecar may take when idle, MiB.
pub(crate) const RESIDENT_LIMIT_MIB: f64 = 9.0;
/// What a sidecar may take with [`SOME_CONNECTIONS`] client connections, MiB.
pub(crate) const SOME_LIMIT_MIB: f64 = 22.0;
