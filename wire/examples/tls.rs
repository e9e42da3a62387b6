//! Compares our TLS streams with tokio-rustls over loopback TCP, both ends on one thread:
//! `cargo run --release -p outrigger-wire --example tls -- [ours|tokio] [ping|bulk] [rounds]`; without arguments, everything in turn.
//! For system calls: `strace -f -c` with all three arguments.

#![expect(clippy::print_stdout, reason = "its figures are its purpose")]

use std::error::Error;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let configs = configs()?;
    if let (Some(who), Some(what)) = (args.next(), args.next()) {
        let rounds = args.next().map_or(Ok(20_000), |rounds| rounds.parse())?;
        println!("{who} {what}: {:.2} us", run(&configs, &who, &what, rounds).await?);
        return Ok(());
    }
    for who in ["ours", "tokio"] {
        println!("{who}: {:.1} KiB of memory for both ends of an idle connection", idle(&configs, who).await?);
    }
    for (what, rounds) in WORKLOADS {
        let (mut ours, mut tokio) = (Vec::new(), Vec::new());
        // In turns, so that a busy machine is as unfair to both.
        for _ in 0..7 {
            ours.push(run(&configs, "ours", what, rounds).await?);
            tokio.push(run(&configs, "tokio", what, rounds).await?);
        }
        let (ours, tokio) = (median(ours), median(tokio));
        println!(
            "{what}: CPU a round, both ends: ours {ours:.2} us, tokio-rustls {tokio:.2} us, ratio {:.2}",
            ours / tokio
        );
    }
    Ok(())
}

const WORKLOADS: [(&str, u32); 6] = [
    ("ping", 20_000),
    ("head-and-body", 20_000),
    ("upload-64k", 4000),
    ("download-64k", 4000),
    ("upload-64k-read-16k", 4000),
    ("upload-64k-read-8k", 4000),
];

/// CPU microseconds a round.
async fn run(configs: &Configs, who: &str, what: &str, rounds: u32) -> io::Result<f64> {
    if who == "ours" {
        let (mut client, mut server) = ours(configs).await?;
        workload(&mut client, &mut server, what, rounds).await
    } else {
        let (mut client, mut server) = theirs(configs).await?;
        workload(&mut client, &mut server, what, rounds).await
    }
}

/// Resident KiB of a connection, both ends, that has carried 64 KiB and is quiet.
async fn idle(configs: &Configs, who: &str) -> io::Result<f64> {
    let (mut our_pairs, mut their_pairs) = (Vec::new(), Vec::new());
    // The first pays for what all share.
    let mut before = 0.0;
    for count in 0..=IDLE {
        if who == "ours" {
            let (mut client, mut server) = ours(configs).await?;
            carry(&mut client, &mut server).await?;
            our_pairs.push((client, server));
        } else {
            let (mut client, mut server) = theirs(configs).await?;
            carry(&mut client, &mut server).await?;
            their_pairs.push((client, server));
        }
        if count == 0 {
            before = resident()?;
        }
    }
    Ok((resident()? - before) / f64::from(IDLE))
}

const IDLE: u32 = 300;

async fn carry<C, S>(client: &mut C, server: &mut S) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let data = vec![7; 64 * 1024];
    let mut buf = vec![0; 64 * 1024];
    tokio::try_join!(client.write_all(&data), server.read_exact(&mut buf))?;
    tokio::try_join!(server.write_all(&data), client.read_exact(&mut buf))?;
    Ok(())
}

fn resident() -> io::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or(io::ErrorKind::InvalidData)?;
    line.trim().trim_end_matches(" kB").parse().map_err(io::Error::other)
}

async fn ours(configs: &Configs) -> io::Result<(Ours, Ours)> {
    let (a, b) = tcp_pair().await?;
    tokio::try_join!(
        outrigger_wire::tls::connect(configs.client.clone(), name()?, a),
        outrigger_wire::tls::accept(configs.server.clone(), b)
    )
}

type Ours = outrigger_wire::tls::TlsStream<TcpStream>;

async fn theirs(
    configs: &Configs,
) -> io::Result<(tokio_rustls::client::TlsStream<TcpStream>, tokio_rustls::server::TlsStream<TcpStream>)> {
    let (a, b) = tcp_pair().await?;
    tokio::try_join!(
        TlsConnector::from(configs.client.clone()).connect(name()?, a),
        TlsAcceptor::from(configs.server.clone()).accept(b)
    )
}

async fn tcp_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (a, (b, _)) = tokio::try_join!(TcpStream::connect(listener.local_addr()?), listener.accept())?;
    a.set_nodelay(true)?;
    b.set_nodelay(true)?;
    Ok((a, b))
}

fn name() -> io::Result<ServerName<'static>> {
    ServerName::try_from("workload.test").map_err(io::Error::other)
}

async fn workload<C, S>(client: &mut C, server: &mut S, what: &str, rounds: u32) -> io::Result<f64>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = cpu()?;
    match what {
        "ping" => ping(client, server, rounds).await?,
        "head-and-body" => head_and_body(client, server, rounds).await?,
        "upload-64k" => bulk(client, server, rounds, 64 * 1024).await?,
        "upload-64k-read-16k" => bulk(client, server, rounds, 16 * 1024).await?,
        "upload-64k-read-8k" => bulk(client, server, rounds, 8 * 1024).await?,
        "download-64k" => bulk(server, client, rounds, 64 * 1024).await?,
        _ => return Err(io::Error::other("unknown workload")),
    }
    Ok((cpu()? - start) * 1e6 / f64::from(rounds))
}

/// 64 bytes there, 64 bytes back.
async fn ping<C, S>(client: &mut C, server: &mut S, rounds: u32) -> io::Result<()>
where
    C: AsyncRead + AsyncWrite + Unpin,
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut there, mut back) = (vec![0; 8192], vec![0; 8192]);
    for _ in 0..rounds {
        client.write_all(&[1; 64]).await?;
        received(server.read(&mut there).await?, 64)?;
        server.write_all(&[2; 64]).await?;
        received(client.read(&mut back).await?, 64)?;
    }
    Ok(())
}

/// Two slices in one vectored write, as an HTTP codec does.
async fn head_and_body<C, S>(client: &mut C, server: &mut S, rounds: u32) -> io::Result<()>
where
    C: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
{
    let mut buf = vec![0; 8192];
    for _ in 0..rounds {
        let slices = [io::IoSlice::new(&[1; 200]), io::IoSlice::new(&[2; 1000])];
        received(client.write_vectored(&slices).await?, 1200)?;
        received(server.read(&mut buf).await?, 1200)?;
    }
    Ok(())
}

async fn bulk<C, S>(from: &mut C, to: &mut S, rounds: u32, read: usize) -> io::Result<()>
where
    C: AsyncWrite + Unpin,
    S: AsyncRead + Unpin,
{
    let data = vec![7; 64 * 1024];
    let send = async {
        for _ in 0..rounds {
            from.write_all(&data).await?;
        }
        from.shutdown().await
    };
    let receive = async {
        let mut buf = vec![0; read];
        let mut total = 0;
        loop {
            let count = to.read(&mut buf).await?;
            if count == 0 {
                return received(total, rounds as usize * 64 * 1024);
            }
            total += count;
        }
    };
    tokio::try_join!(send, receive).map(drop)
}

fn received(count: usize, expected: usize) -> io::Result<()> {
    if count == expected { Ok(()) } else { Err(io::Error::other(format!("{count} bytes, not {expected}"))) }
}

/// CPU seconds of this thread, from the scheduler.
fn cpu() -> io::Result<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = text.split(' ').next().and_then(|field| field.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok(nanos / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn configs() -> Result<Configs, Box<dyn Error>> {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let chain = vec![CertificateParams::new(vec!["workload.test".to_owned()])?.signed_by(&key, &issuer)?.der().clone()];
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone())?;
    let roots = Arc::new(roots);

    let client = ClientConfig::builder()
        .with_root_certificates(roots.clone())
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    let verifier = WebPkiClientVerifier::builder(roots).build()?;
    let server = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    Ok(Configs { client: Arc::new(client), server: Arc::new(server) })
}
