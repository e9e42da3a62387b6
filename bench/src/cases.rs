//! What is measured: the shapes of load.

/// One shape of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) connections: usize,
    pub(crate) bytes: usize,
    /// Requests per second; `None`: as fast as the answers come.
    pub(crate) rate: Option<u32>,
    /// Ours must cost at most this share of Envoy's CPU time.
    pub(crate) limit: Option<f64>,
}

/// HTTP/1 over kept-alive connections.
pub(crate) const CASES: &[Case] = &[
    Case { name: "http1-small-16", connections: 16, bytes: 64, rate: None, limit: Some(0.45) },
    Case { name: "http1-small-1", connections: 1, bytes: 64, rate: None, limit: None },
    Case { name: "http1-small-64", connections: 64, bytes: 64, rate: None, limit: None },
    Case { name: "http1-64k-16", connections: 16, bytes: 65536, rate: None, limit: None },
    Case { name: "http1-2000-per-second", connections: 16, bytes: 64, rate: Some(2000), limit: None },
];

/// Idle connections held through the sidecars: machines cap a process at 20,000 descriptors, and a proxy needs two for each.
pub(crate) const IDLE_CONNECTIONS: usize = 8000;
/// Memory that one of them may cost both our sidecars together, in KiB.
pub(crate) const IDLE_LIMIT_KIB: f64 = 20.0;
