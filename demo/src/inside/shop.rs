//! The shop's members: the same as in `examples/demo/workloads.yaml`, and how each app is started.

/// A workload of the demo.
#[derive(Debug)]
pub(super) struct Member {
    /// Its name in the YAML.
    pub(super) workload: &'static str,
    /// The last byte of its address.
    pub(super) host: u8,
    /// Its app's port; the load's is not for peers, it tells its counters there.
    pub(super) port: u16,
    /// The app and what it is told beyond addresses.
    pub(super) app: &'static [&'static str],
    /// Whom it calls.
    pub(super) upstream: Option<Upstream>,
}

/// A service that an app calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upstream {
    /// The flag that takes its address.
    pub(super) flag: &'static str,
    /// The last byte of its address.
    pub(super) service: u8,
    /// Its port.
    pub(super) port: u16,
}

/// Requests a second, together few enough for one slow core.
pub(super) const ITEMS_PER_SECOND: &str = "200";
const STOCK_PER_SECOND: &str = "50";

/// The names that the proofs ask for.
pub(super) const NAMESPACE: &str = "shop";
pub(super) const LOAD: &str = "load";
pub(super) const FRONTEND: &str = "frontend";
pub(super) const FAILING: &str = "catalog-v1-b";

const CATALOG: Upstream = Upstream { flag: "--catalog", service: 20, port: 80 };
const PRICING: Upstream = Upstream { flag: "--pricing", service: 30, port: 9090 };

pub(super) const MEMBERS: [Member; 6] = [
    Member {
        workload: LOAD,
        host: 10,
        port: 8090,
        app: &["load", "--items", ITEMS_PER_SECOND, "--stock", STOCK_PER_SECOND],
        upstream: Some(Upstream { flag: "--target", service: 10, port: 80 }),
    },
    Member { workload: FRONTEND, host: 11, port: 8080, app: &["frontend"], upstream: Some(CATALOG) },
    Member {
        workload: "catalog-v1",
        host: 12,
        port: 8080,
        app: &["catalog", "--version", "v1"],
        upstream: Some(PRICING),
    },
    Member {
        workload: FAILING,
        host: 13,
        port: 8080,
        app: &["catalog", "--version", "v1", "--fail-every", "4"],
        upstream: Some(PRICING),
    },
    Member {
        workload: "catalog-v2",
        host: 14,
        port: 8080,
        app: &["catalog", "--version", "v2"],
        upstream: Some(PRICING),
    },
    Member { workload: "pricing", host: 15, port: 9090, app: &["pricing"], upstream: None },
];
