//! The demo's shop: programs that know nothing of a mesh. Plain HTTP/1.1 and gRPC to addresses that they are given.
//!
//! ```text
//! load ─HTTP/1.1─▶ frontend ─HTTP/1.1─▶ catalog (v1, v1, v2) ─gRPC─▶ pricing
//! ```
//! What tracing needs of an app they do: each passes the trace headers of a request on to the requests that it makes
//! for it. They make no spans, no TLS, no retries.

mod catalog;
mod frontend;
mod http1;
mod load;
mod pricing;

use std::net::SocketAddr;

use hyper::HeaderMap;

/// Runs one app of the demo.
///
/// # Errors
/// When it cannot listen.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.app {
        App::Frontend { listen, catalog } => frontend::run(listen, catalog).await,
        App::Catalog(args) => catalog::run(args).await,
        App::Pricing { listen } => pricing::run(listen).await,
        App::Load(args) => load::run(args).await,
    }
}

/// `outrigger demo-app`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    app: App,
}

#[derive(Debug, clap::Subcommand)]
enum App {
    /// Answers `/items/N` and `/stock` with what the catalog says.
    Frontend {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        catalog: SocketAddr,
    },
    /// Knows items and the stock; asks pricing for prices.
    Catalog(catalog::Args),
    /// Knows prices.
    Pricing {
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Makes steady load on the frontend, and counts.
    Load(load::Args),
}

pub(crate) use load::Counters as LoadCounters;

/// Counts of one catalog instance, as its `/counters` tells them.
#[derive(Debug, Clone, Copy, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct CatalogCounters {
    /// `/stock` requests that came.
    pub(crate) stock: u64,
    /// Of these, how many it answered with 503.
    pub(crate) failed: u64,
}

/// The trace headers of `from`: all that these apps pass on.
fn trace_headers(from: &HeaderMap) -> HeaderMap {
    let known = TRACE_HEADERS.iter().flat_map(|name| from.get_all(*name).iter().map(|value| (*name, value)));
    let mut headers = HeaderMap::new();
    for (name, value) in known {
        headers.append(name, value.clone());
    }
    headers
}

/// W3C trace context and baggage.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

#[allow(warnings, clippy::all, clippy::pedantic, reason = "generated code")]
mod pricing_api {
    include!("generated/demo.pricing.v1.rs");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_on_the_trace_headers_and_nothing_else() {
        let mut from = HeaderMap::new();
        from.insert("traceparent", "00-a-b-01".parse().unwrap());
        from.append("baggage", "k=1".parse().unwrap());
        from.append("baggage", "l=2".parse().unwrap());
        from.insert("authorization", "secret".parse().unwrap());

        let headers = trace_headers(&from);

        assert_eq!(headers.len(), 3);
        assert_eq!(headers.get_all("baggage").iter().count(), 2);
        assert!(!headers.contains_key("authorization"));
    }
}
