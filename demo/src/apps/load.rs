//! Steady load: so many requests a second, whether or not the earlier ones were answered, up to a limit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{HeaderMap, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;

use super::http1::{self, Answer, Client};

/// `outrigger demo-app load`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The frontend.
    #[arg(long)]
    target: SocketAddr,
    /// Requests a second to `/items/N`.
    #[arg(long)]
    items: u32,
    /// Requests a second to `/stock`.
    #[arg(long)]
    stock: u32,
    /// Where it tells its counters.
    #[arg(long)]
    listen: SocketAddr,
}

/// What the load saw, as `/counters` tells it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counters {
    pub(crate) items: Tally,
    pub(crate) stock: Tally,
    /// The latest of the failures, in words.
    pub(crate) last_error: Option<String>,
}

/// Requests to one path.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) ok: u64,
    pub(crate) errors: u64,
    /// Not sent: this machine is too slow for the asked rate.
    pub(crate) skipped: u64,
    /// Answers by the version that they name.
    pub(crate) versions: BTreeMap<String, u64>,
}

pub(super) async fn run(args: Args) -> anyhow::Result<()> {
    let load = Arc::new(Load {
        client: Client::new(args.target),
        counters: Mutex::default(),
        in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
    });
    let steady = [(args.items, Path::Item), (args.stock, Path::Stock)].map(|(rate, path)| {
        let load = load.clone();
        tokio::spawn(async move { load.steady(rate, path).await })
    });
    let served = http1::serve(args.listen, load, answer).await;
    steady.iter().for_each(tokio::task::JoinHandle::abort);
    served
}

async fn answer(load: Arc<Load>, request: Request<Incoming>) -> Answer {
    match request.uri().path() {
        "/counters" => http1::json(StatusCode::OK, &load.counters()),
        path => http1::json(StatusCode::NOT_FOUND, &json!({"error": format!("no {path}")})),
    }
}

struct Load {
    client: Client,
    counters: Mutex<Counters>,
    in_flight: Arc<Semaphore>,
}

#[derive(Clone, Copy)]
enum Path {
    Item,
    Stock,
}

impl Load {
    async fn steady(self: Arc<Self>, rate: u32, path: Path) {
        if rate == 0 {
            return;
        }
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        // After a stall the load goes on at its rate: a burst would measure the burst.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for number in 0_u32.. {
            ticks.tick().await;
            let permit = self.in_flight.clone().try_acquire_owned().ok();
            self.tally(path, |tally| *if permit.is_some() { &mut tally.sent } else { &mut tally.skipped } += 1);
            let Some(permit) = permit else { continue };
            let load = self.clone();
            tokio::spawn(async move {
                let result = load.request(number, path).await;
                load.count(path, result);
                drop(permit);
            });
        }
    }

    /// Returns the version that answered.
    async fn request(&self, number: u32, path: Path) -> Result<String, String> {
        let path = match path {
            Path::Item => format!("/items/{}", number % 1000),
            Path::Stock => "/stock".to_owned(),
        };
        let answer = tokio::time::timeout(PATIENCE, self.client.get(&path, HeaderMap::new())).await;
        let answer = answer.map_err(|_| format!("GET {path}: no answer in {} s", PATIENCE.as_secs()))?;
        let (status, body) = answer.map_err(|error| format!("GET {path}: {error:#}"))?;
        if status != StatusCode::OK {
            return Err(format!("GET {path}: {status}: {}", String::from_utf8_lossy(&body)));
        }
        let body: serde_json::Value = serde_json::from_slice(&body).map_err(|error| format!("GET {path}: {error}"))?;
        let version = body["catalog"]["version"].as_str();
        version.map(str::to_owned).ok_or_else(|| format!("GET {path}: no version in {body}"))
    }

    fn count(&self, path: Path, result: Result<String, String>) {
        match result {
            Ok(version) => self.tally(path, |tally| {
                tally.ok += 1;
                *tally.versions.entry(version).or_default() += 1;
            }),
            Err(error) => {
                self.tally(path, |tally| tally.errors += 1);
                self.counters.lock().unwrap_or_else(PoisonError::into_inner).last_error = Some(error);
            }
        }
    }

    fn tally(&self, path: Path, change: impl FnOnce(&mut Tally)) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        change(match path {
            Path::Item => &mut counters.items,
            Path::Stock => &mut counters.stock,
        });
    }

    fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A machine that cannot keep up gets less load, not a queue: waiting in one is not what the demo measures.
const MAX_IN_FLIGHT: usize = 32;
const PATIENCE: Duration = Duration::from_secs(15);
