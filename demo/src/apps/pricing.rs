//! The shop's prices: a gRPC service.

use std::net::SocketAddr;

use anyhow::Context as _;
use tonic::{Request, Response, Status};

use super::pricing_api::pricing_server::{Pricing, PricingServer};
use super::pricing_api::{GetPriceRequest, GetPriceResponse};

pub(super) async fn run(listen: SocketAddr) -> anyhow::Result<()> {
    let server = tonic::transport::Server::builder().add_service(PricingServer::new(Prices));
    server.serve(listen).await.with_context(|| format!("serve gRPC on {listen}"))
}

struct Prices;

#[tonic::async_trait]
impl Pricing for Prices {
    async fn get_price(&self, request: Request<GetPriceRequest>) -> Result<Response<GetPriceResponse>, Status> {
        let item = request.into_inner().item;
        Ok(Response::new(GetPriceResponse { cents: 199 + item % 100 * 10 }))
    }
}
