//! The shop's front: an HTTP/1.1 service that asks another one.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde_json::json;

use super::http1::{self, Answer, Client};
use super::trace_headers;

pub(super) async fn run(listen: SocketAddr, catalog: SocketAddr) -> anyhow::Result<()> {
    http1::serve(listen, Arc::new(Client::new(catalog)), answer).await
}

async fn answer(catalog: Arc<Client>, request: Request<Incoming>) -> Answer {
    let path = match request.uri().path() {
        "/" => "/items/1",
        path if path == "/stock" || path.starts_with("/items/") => path,
        path => {
            return http1::json(StatusCode::NOT_FOUND, &json!({"error": format!("no {path}; try /items/1 or /stock")}));
        }
    };
    match catalog.get(path, trace_headers(request.headers())).await {
        Ok((StatusCode::OK, body)) => {
            let catalog: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            http1::json(StatusCode::OK, &json!({"frontend": "v1", "catalog": catalog}))
        }
        Ok((status, body)) => {
            let said = String::from_utf8_lossy(&body);
            http1::json(StatusCode::BAD_GATEWAY, &json!({"error": format!("the catalog answered {status}: {said}")}))
        }
        Err(error) => http1::json(StatusCode::BAD_GATEWAY, &json!({"error": format!("the catalog: {error:#}")})),
    }
}
