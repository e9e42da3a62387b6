//! From a route that is created, or deleted, to the moment when every sidecar that subscribes to it answers by it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use super::api::{Api, Namespace, PATIENCE};
use super::sidecars::Sidecars;
use super::{Figure, fake, median};

/// Changes one route again and again below 50 sidecars.
pub(super) async fn measure(api: &Api, namespace: &Namespace, rounds: usize) -> Result<Vec<Figure>> {
    let kinds = api.find("/apis/gateway.networking.k8s.io/v1").await?;
    ensure!(kinds.is_some(), "the cluster has no HTTPRoute: install the kinds of the Gateway API first");
    let service = json!({
        "metadata": {"name": SERVICE},
        "spec": {"selector": {"app": "nobody"}, "ports": [{"name": "http", "port": 80}]},
    });
    let service = api.create(&namespace.of("services"), &service).await?;
    let address = service["spec"]["clusterIP"].as_str().context("the Service has no address")?;
    for number in 0..SIDECARS {
        fake::pod(api, namespace, number).await?;
    }
    let sidecars = Sidecars::start(api, namespace, SIDECARS, &format!("{address}:80")).await?;
    for number in 0..SIDECARS {
        fake::runs(api, namespace, number).await?;
    }
    let mut clients = Vec::new();
    for outbound in sidecars.outbounds() {
        let mut client = Client::open(*outbound).await?;
        // The first request is what subscribes.
        client.until(REFUSED).await?;
        clients.push(client);
    }

    let (mut created, mut deleted) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begin = Instant::now();
        api.create(&namespace.custom("gateway.networking.k8s.io/v1", "httproutes"), &route()).await?;
        created.push(all(&mut clients, StatusCode::FOUND, begin).await.context("after a route was created")?);
        tokio::time::sleep(SETTLE).await;
        let begin = Instant::now();
        api.delete(&namespace.custom("gateway.networking.k8s.io/v1", "httproutes/change")).await?;
        deleted.push(all(&mut clients, REFUSED, begin).await.context("after a route was deleted")?);
        tokio::time::sleep(SETTLE).await;
    }
    let (created_median, deleted_median) = (median(&mut created), median(&mut deleted));
    let mut changes = [created, deleted].concat();
    let half = median(&mut changes);
    Ok(vec![
        Figure::told("a route created: all 50 sidecars answer by it (median)", created_median, "ms"),
        Figure::told("a route deleted: no sidecar answers by it (median)", deleted_median, "ms"),
        Figure::limited("a route changed: the last of 50 sidecars (median)", half, "ms", 100.0),
        Figure::limited("a route changed: the last of 50 sidecars (p99)", last_hundredth(&changes), "ms", 500.0),
    ])
}

/// Milliseconds from `begin` until every client has had this answer.
async fn all(clients: &mut [Client], status: StatusCode, begin: Instant) -> Result<f64> {
    // One after the other: each is asked until it answers so, and the last answer counts.
    for client in clients {
        client.until(status).await?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// A client app of one sidecar, on one connection that stays.
struct Client {
    sender: SendRequest<Empty<Bytes>>,
}

impl Client {
    async fn open(outbound: SocketAddr) -> Result<Self> {
        let io = TcpStream::connect(outbound).await.with_context(|| format!("connect {outbound}"))?;
        io.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(io)).await?;
        tokio::spawn(driver);
        Ok(Self { sender })
    }

    async fn until(&mut self, status: StatusCode) -> Result<()> {
        let begin = Instant::now();
        loop {
            let request = Request::get("/").header("host", SERVICE).body(Empty::new())?;
            self.sender.ready().await?;
            let response = self.sender.send_request(request).await?;
            let answered = response.status();
            response.into_body().collect().await?;
            if answered == status {
                return Ok(());
            }
            ensure!(begin.elapsed() < PATIENCE, "a sidecar still answers {answered}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A route that sidecars answer by themselves.
fn route() -> serde_json::Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "change"},
        "spec": {
            "parentRefs": [{"group": "", "kind": "Service", "name": SERVICE}],
            "rules": [{"filters": [{
                "type": "RequestRedirect",
                "requestRedirect": {"hostname": "changed.example", "statusCode": StatusCode::FOUND.as_u16()},
            }]}],
        },
    })
}

fn last_hundredth(sorted: &[f64]) -> f64 {
    let index = (sorted.len() * 99).div_ceil(100).saturating_sub(1);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

const SERVICE: &str = "change";
const SIDECARS: u32 = 50;
/// What a sidecar answers when the Service has no endpoint.
const REFUSED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
/// Between two questions to one sidecar: short against what is measured.
const PAUSE: Duration = Duration::from_millis(1);
/// Until the status is written and all is quiet.
const SETTLE: Duration = Duration::from_millis(700);
