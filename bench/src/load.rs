//! The client app: connections of one shape, either each sending as soon as it has its answer, or all together at a fixed rate. At a fixed rate, latency counts from the moment a request was due, so that a slow proxy cannot hide its queue.

mod arrivals;
mod client;
mod connection;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, LocalSet};

use crate::histogram::Histogram;
use crate::process::Pid;
use arrivals::Arrivals;
use client::Client;
use connection::Connection;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// HTTP/1 on kept connections.
    Http1,
    /// HTTP/1, a connection per request.
    Http1Fresh,
    /// Unary calls, 32 at once on each connection.
    Grpc,
    /// Messages there and back on 32 open streams of each connection.
    GrpcStream,
    /// A few bytes there and back, of no protocol that a proxy knows, on kept connections.
    Bytes,
    /// The same, a connection each.
    BytesFresh,
    /// Bytes to the server; a request is one MiB.
    Upload,
    /// Bytes to the client; a request is one MiB.
    Download,
}

impl Shape {
    pub(crate) fn name(self) -> String {
        clap::ValueEnum::to_possible_value(&self).map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// `outrigger-bench load`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The address that the app dials.
    #[arg(long)]
    target: SocketAddr,
    /// What a request is.
    #[arg(long, value_enum, default_value_t = Shape::Http1)]
    shape: Shape,
    /// Connections.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Bytes of each response's body.
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Requests per second; without it each connection sends as soon as it has its answer.
    #[arg(long)]
    rate: Option<u32>,
    /// Seconds before the measurement.
    #[arg(long, default_value_t = 1.0)]
    warmup: f64,
    /// Seconds of measurement.
    #[arg(long, default_value_t = 4.0)]
    window: f64,
    /// Measures this many requests, and no window.
    #[arg(long, conflicts_with = "rate")]
    requests: Option<u64>,
    /// What the path begins with.
    #[arg(long, default_value = "")]
    path: String,
    /// Text in every request, to look for on the wire.
    #[arg(long, default_value = "none")]
    marker: String,
    /// Processes whose CPU time is read at both ends of the measurement.
    #[arg(long, value_delimiter = ',')]
    pids: Vec<u32>,
}

/// What one run measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) p999_micros: f64,
    /// CPU microseconds per request, one for each of the processes asked for.
    pub(crate) cpu_micros: Vec<f64>,
}

/// What the connections share; they all run on one thread.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    measuring: bool,
    /// Requests to start still, where they are counted.
    left: Option<u64>,
    latencies: Histogram,
    errors: u64,
    first_error: Option<String>,
}

impl Shared {
    /// Takes one of the requests that are left.
    fn may_ask(&mut self) -> bool {
        match &mut self.left {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// Runs the load and prints the outcome as JSON.
pub(crate) async fn run(args: &Args) -> Result<()> {
    let outcome = LocalSet::new().run_until(measure(args)).await?;
    crate::print_json(&outcome)
}

async fn measure(args: &Args) -> Result<Outcome> {
    let request = connection::request(args.target, &args.path, args.bytes, &args.marker);
    let counted = args.requests.is_some();
    let shared = Shared { measuring: counted, left: args.requests, ..Shared::default() };
    let shared = Rc::new(RefCell::new(shared));
    let mut tasks = JoinSet::new();
    let arrivals = args.rate.map(Arrivals::start).transpose()?;
    for client in client::open(args.shape, args.target, args.connections, &request).await? {
        tasks.spawn_local(keep_asking(client, arrivals.clone(), shared.clone()));
    }

    tokio::time::sleep(Duration::from_secs_f64(args.warmup)).await;
    let pids: Vec<Pid> = args.pids.iter().copied().map(Pid).collect();
    let cpu = || pids.iter().map(|pid| pid.cpu()).collect::<Result<Vec<_>>>();
    let (begin, cpu_before) = (Instant::now(), cpu()?);
    shared.borrow_mut().measuring = true;
    if counted {
        while tasks.join_next().await.is_some() {}
    } else {
        tokio::time::sleep(Duration::from_secs_f64(args.window)).await;
    }
    shared.borrow_mut().measuring = false;
    let (cpu_after, seconds) = (cpu()?, begin.elapsed().as_secs_f64());
    tasks.abort_all();

    let shared = shared.borrow();
    let requests = shared.latencies.total();
    anyhow::ensure!(requests > 0, "no request was answered; first error: {:?}", shared.first_error);
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
    let per_request =
        |(before, after): (&Duration, &Duration)| (*after - *before).as_secs_f64() * 1e6 / requests as f64;
    Ok(Outcome {
        requests,
        errors: shared.errors,
        first_error: shared.first_error.clone(),
        seconds,
        p50_micros: shared.latencies.micros_at(0.5),
        p99_micros: shared.latencies.micros_at(0.99),
        p999_micros: shared.latencies.micros_at(0.999),
        cpu_micros: cpu_before.iter().zip(&cpu_after).map(per_request).collect(),
    })
}

/// One connection's life: ends with the process, or with its first error, which is counted.
async fn keep_asking(mut client: Client, arrivals: Option<Arrivals>, shared: Rc<RefCell<Shared>>) {
    while shared.borrow_mut().may_ask() {
        let due = match &arrivals {
            Some(arrivals) => arrivals.next().await,
            None => Instant::now(),
        };
        let answered = client.ask().await;
        let mut shared = shared.borrow_mut();
        match answered {
            Ok(()) if shared.measuring => shared.latencies.record(due.elapsed()),
            Ok(()) => {}
            Err(error) => {
                shared.errors += 1;
                shared.first_error.get_or_insert_with(|| format!("{error:#}"));
                return;
            }
        }
    }
}

/// `outrigger-bench hold`: opens connections, uses each once, and keeps them idle until stdin ends.
#[derive(Debug, clap::Args)]
pub(crate) struct HoldArgs {
    /// The address that the app dials.
    #[arg(long)]
    target: SocketAddr,
    /// How many.
    #[arg(long)]
    connections: usize,
}

/// Opens the connections, says `open` on stdout, and waits.
pub(crate) async fn hold(args: &HoldArgs) -> Result<()> {
    let request = connection::request(args.target, "", 64, "none");
    let mut open = Vec::with_capacity(args.connections);
    for number in 0..args.connections {
        let ask = async {
            let mut connection = Connection::open(args.target, request.clone()).await?;
            connection.ask().await?;
            anyhow::Ok(connection)
        };
        open.push(ask.await.with_context(|| format!("connection {number}"))?);
    }
    crate::print_json(&"open")?;
    // Nothing else is to be done until then: the connections are idle, so this may block.
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}
