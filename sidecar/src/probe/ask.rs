//! Asks the app as the kubelet does: no redirect is followed to another host, at most ten at all, and the answer is good
//! from 200 to 399.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, Entry, HOST, LOCATION, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

type Error = Box<dyn std::error::Error + Send + Sync>;

pub(super) async fn tcp(ip: IpAddr, port: u16) -> Result<StatusCode, Error> {
    TcpStream::connect((ip, port)).await?;
    Ok(StatusCode::OK)
}

pub(super) async fn http(
    ip: IpAddr,
    port: u16,
    path: &str,
    declared: &HeaderMap,
    agent: Option<&HeaderValue>,
) -> Result<StatusCode, Error> {
    let mut headers = declared.clone();
    let usual = [
        (HOST, Some(HeaderValue::from_str(&std::net::SocketAddr::new(ip, port).to_string())?)),
        (ACCEPT, Some(HeaderValue::from_static("*/*"))),
        (USER_AGENT, agent.cloned()),
    ];
    for (name, value) in usual {
        if let (Entry::Vacant(missing), Some(value)) = (headers.entry(name), value) {
            missing.insert(value);
        }
    }
    let (mut path, mut port) = (path.to_owned(), port);
    for _ in 0..=MAX_REDIRECTS {
        let answer = get(ip, port, &path, &headers).await?;
        let status = answer.status();
        let next = answer.headers().get(LOCATION).filter(|_| status.is_redirection());
        let Some((to, at)) = next.and_then(|location| here(location, ip, port)) else {
            // Read as the kubelet does, so that the app need not notice a reset, and forgotten: the status is the answer.
            let _ = Limited::new(answer.into_body(), MAX_BODY).collect().await;
            // To elsewhere counts as good, and is not followed.
            return Ok(if status.is_redirection() { StatusCode::OK } else { status });
        };
        (path, port) = (to, at);
    }
    Err(format!("more than {MAX_REDIRECTS} redirects").into())
}

pub(super) async fn grpc(ip: IpAddr, port: u16, service: &str) -> Result<StatusCode, Error> {
    let io = TcpStream::connect((ip, port)).await?;
    let (mut sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
    let _driver = Driver(tokio::spawn(async { drop(driver.await) }));
    let authority = std::net::SocketAddr::new(ip, port);
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(check(service)))?;
    let answer = sender.send_request(request).await?;
    let mut headers = answer.headers().clone();
    let answer = Limited::new(answer.into_body(), MAX_BODY).collect().await?;
    headers.extend(answer.trailers().cloned().unwrap_or_default());
    let status = headers.get("grpc-status").and_then(|status| status.to_str().ok()).unwrap_or("missing").to_owned();
    if status != "0" {
        return Err(format!("grpc-status {status}").into());
    }
    if answer.to_bytes().get(5..) != Some(&SERVING) {
        return Err("it says that it does not serve".into());
    }
    Ok(StatusCode::OK)
}

async fn get(ip: IpAddr, port: u16, path: &str, headers: &HeaderMap) -> Result<Response<Incoming>, Error> {
    let io = TcpStream::connect((ip, port)).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(io)).await?;
    // It ends with the body, which outlives this function.
    tokio::spawn(driver);
    let mut request = Request::get(path).body(Full::<Bytes>::default())?;
    *request.headers_mut() = headers.clone();
    Ok(sender.send_request(request).await?)
}

/// Where a redirect leads to, if that is in this pod.
fn here(location: &HeaderValue, ip: IpAddr, port: u16) -> Option<(String, u16)> {
    let uri: Uri = location.to_str().ok()?.parse().ok()?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
    match uri.authority() {
        None => Some((path, port)),
        Some(authority) if uri.scheme_str() == Some("http") && names(authority.as_str(), ip) => {
            Some((path, authority.port_u16().unwrap_or(80)))
        }
        Some(_) => None,
    }
}

/// Whether `HOST` or `HOST:PORT` is this address.
fn names(host: &str, ip: IpAddr) -> bool {
    let bare = host.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.or_else(|_| host.trim_matches(['[', ']']).parse()).is_ok_and(|named| named == ip)
}

/// A gRPC message that holds `HealthCheckRequest { service }`.
fn check(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a); // field 1, bytes
        prost::encoding::encode_varint(service.len() as u64, &mut message);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0); // not compressed
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// A connection's task, which ends with the call.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `HealthCheckResponse { status: SERVING }`.
const SERVING: [u8; 2] = [0x08, 0x01];
const MAX_REDIRECTS: u32 = 10;
/// As much as the kubelet reads.
const MAX_BODY: usize = 10 * 1024;
