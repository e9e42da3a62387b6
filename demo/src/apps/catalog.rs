//! The shop's catalog, in several versions: HTTP/1.1 to its clients, gRPC to pricing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use serde_json::json;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::http1::{self, Answer};
use super::pricing_api::{GetPriceRequest, pricing_client::PricingClient};
use super::{CatalogCounters, trace_headers};

/// `outrigger demo-app catalog`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long)]
    listen: SocketAddr,
    #[arg(long)]
    pricing: SocketAddr,
    /// What it says its version is.
    #[arg(long)]
    version: String,
    /// Answers every Nth `/stock` with 503; 0: none.
    #[arg(long, default_value_t = 0)]
    fail_every: u64,
}

struct Catalog {
    version: String,
    fail_every: u64,
    pricing: PricingClient<Channel>,
    stock: AtomicU64,
    failed: AtomicU64,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{}", args.pricing))?.connect_lazy();
    let catalog = Catalog {
        version: args.version,
        fail_every: args.fail_every,
        pricing: PricingClient::new(channel),
        stock: AtomicU64::new(0),
        failed: AtomicU64::new(0),
    };
    http1::serve(args.listen, Arc::new(catalog), answer).await
}

async fn answer(catalog: Arc<Catalog>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    if let Some(item) = path.strip_prefix("/items/") {
        return match catalog.item(item, request.headers()).await {
            Ok(body) => http1::json(StatusCode::OK, &body),
            Err(error) => http1::json(StatusCode::BAD_GATEWAY, &json!({"error": format!("{error:#}")})),
        };
    }
    match path {
        "/stock" => catalog.stock(),
        "/counters" => http1::json(StatusCode::OK, &catalog.counters()),
        _ => http1::json(StatusCode::NOT_FOUND, &json!({"error": format!("no {path}")})),
    }
}

impl Catalog {
    async fn item(&self, item: &str, headers: &HeaderMap) -> anyhow::Result<serde_json::Value> {
        let item: u32 = item.parse().with_context(|| format!("item {item:?} is not a number"))?;
        let mut request = tonic::Request::new(GetPriceRequest { item });
        *request.metadata_mut() = MetadataMap::from_headers(trace_headers(headers));
        let price = self.pricing.clone().get_price(request).await.context("ask pricing")?.into_inner();
        Ok(json!({"version": self.version, "item": item, "cents": price.cents}))
    }

    fn stock(&self) -> Answer {
        let number = self.stock.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fail_every > 0 && number.is_multiple_of(self.fail_every) {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return http1::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "the stock is being counted"}));
        }
        http1::json(StatusCode::OK, &json!({"version": self.version, "in_stock": 7}))
    }

    fn counters(&self) -> CatalogCounters {
        CatalogCounters { stock: self.stock.load(Ordering::Relaxed), failed: self.failed.load(Ordering::Relaxed) }
    }
}
