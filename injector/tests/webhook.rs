//! The webhook as the API server meets it: the program itself, over TLS.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;

#[tokio::test]
async fn it_waits_for_its_certificate_and_takes_up_a_new_one() {
    let injector = Injector::start("certificates");
    assert_eq!(injector.ready().await, Some(503), "there is no certificate yet");

    let first = Authority::new();
    injector.write(&first);
    injector.until_ready().await;
    assert_eq!(injector.connect(&first).await.unwrap().review(pod()).await["response"]["allowed"], true);

    let second = Authority::new();
    injector.write(&second);
    injector.until("the new certificate is in force", async || injector.connect(&second).await.is_ok()).await;
    assert!(injector.connect(&first).await.is_err(), "nobody may serve with the old one any longer");
}

#[tokio::test]
async fn it_answers_a_review_with_a_patch_and_anything_else_with_a_refusal() {
    let injector = Injector::start("answers");
    let authority = Authority::new();
    injector.write(&authority);
    injector.until_ready().await;
    let mut connection = injector.connect(&authority).await.unwrap();

    let answer = connection.review(pod()).await;

    let patch = data_encoding::BASE64.decode(answer["response"]["patch"].as_str().unwrap().as_bytes()).unwrap();
    let patch: Value = serde_json::from_slice(&patch).unwrap();
    let inits = patch.as_array().unwrap().iter().find(|operation| operation["path"] == "/spec/initContainers").unwrap();
    assert_eq!(inits["value"][1]["name"], "outrigger-sidecar");
    let anchors = json!({"name": "OUTRIGGER_TRUST_ANCHORS_PEM", "value": authority.pem});
    assert!(inits["value"][1]["env"].as_array().unwrap().contains(&anchors), "the anchors of the file");
    for (path, body, status) in [
        ("/other", "{}".into(), StatusCode::NOT_FOUND),
        ("/inject", "no JSON".into(), StatusCode::BAD_REQUEST),
        ("/inject", "{}".into(), StatusCode::BAD_REQUEST),
        ("/inject", "x".repeat(5 << 20), StatusCode::BAD_REQUEST),
    ] {
        let told = body.chars().take(10).collect::<String>();
        assert_eq!(connection.post(path, body.into()).await.unwrap().status(), status, "{path} {told}");
        connection = injector.connect(&authority).await.unwrap();
    }
    let metrics = injector.admin("/metrics").await.unwrap().1;
    assert!(metrics.contains("outrigger_injections_total{reason=\"Injected\"} 1"), "{metrics}");
}

#[tokio::test]
async fn strangers_that_hold_connections_keep_no_review_from_its_answer() {
    let injector = Injector::start("strangers");
    let authority = Authority::new();
    injector.write(&authority);
    injector.until_ready().await;
    // Some say nothing, the others nothing after their handshake: more of either than there are places.
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(injector.listen).await.unwrap());
    }
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(injector.connect(&authority).await.unwrap());
    }

    let review = async { injector.connect(&authority).await.unwrap().review(pod()).await };
    let answer = tokio::time::timeout(Duration::from_secs(20), review).await.expect("there was no place");

    assert_eq!(answer["response"]["allowed"], true);
}

#[tokio::test]
async fn a_body_that_would_be_many_times_as_large_in_memory_is_refused() {
    let injector = Injector::start("elements");
    let authority = Authority::new();
    injector.write(&authority);
    injector.until_ready().await;
    let mut connection = injector.connect(&authority).await.unwrap();
    let review = |pod: String| format!(r#"{{"request":{{"uid":"1","operation":"CREATE","object":{pod}}}}}"#);

    let many = review(format!(r#"{{"spec":{{"a":[{}0]}}}}"#, "0,".repeat(1_900_000)));
    assert_eq!(connection.post("/inject", many.into()).await.unwrap().status(), StatusCode::BAD_REQUEST);
    let deep = review("[".repeat(100_000));
    assert_eq!(connection.post("/inject", deep.into()).await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert_eq!(connection.review(pod()).await["response"]["allowed"], true);
}

#[tokio::test]
async fn a_review_in_flight_is_answered_when_it_is_told_to_end() {
    let mut injector = Injector::start("drain");
    let authority = Authority::new();
    injector.write(&authority);
    injector.until_ready().await;
    let mut connection = injector.connect(&authority).await.unwrap();

    injector.terminate();
    sleep(Duration::from_millis(300)).await;

    assert_eq!(connection.review(pod()).await["response"]["allowed"], true, "on an open connection");
    assert_eq!(
        injector.connect(&authority).await.unwrap().review(pod()).await["response"]["allowed"],
        true,
        "on a new one"
    );
    let status = tokio::task::spawn_blocking(move || injector.child.wait().unwrap()).await.unwrap();
    assert!(status.success(), "{status}");
}

/// `cargo test -p outrigger-injector --release --test webhook -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement: 100 admissions a second for ten seconds"]
async fn admissions_take_less_than_ten_milliseconds() {
    const RATE: u32 = 100;
    let injector = Injector::start("latency");
    let authority = Authority::new();
    injector.write(&authority);
    injector.until_ready().await;
    let mut connection = injector.connect(&authority).await.unwrap();
    connection.review(pod()).await;

    let mut asked = tokio::task::JoinSet::new();
    let before = injector.cpu();
    let start = Instant::now();
    for number in 0..RATE * 10 {
        tokio::time::sleep_until(start + Duration::from_secs(1) / RATE * number).await;
        let mut connection = connection.clone();
        asked.spawn(async move {
            let begin = Instant::now();
            assert_eq!(connection.review(pod()).await["response"]["allowed"], true);
            begin.elapsed()
        });
    }
    let mut took = asked.join_all().await;

    let each = (injector.cpu() - before) / RATE / 10;
    took.sort();
    let quantile = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{} admissions at {RATE}/s, {each:?} CPU each: p50 {:?}, p90 {:?}, p99 {:?}, longest {:?}",
        took.len(),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(1.0)
    );
    assert!(quantile(0.99) < Duration::from_millis(10));
}

/// A pod of ordinary size.
fn pod() -> Value {
    let container = |number: u32| {
        let env: Vec<Value> = (0..40).map(|n| json!({"name": format!("NAME_{n}"), "value": "x".repeat(60)})).collect();
        json!({"name": format!("app-{number}"), "image": "example/app:1", "env": env})
    };
    let containers: Vec<Value> = (0..3).map(container).collect();
    json!({"metadata": {"generateName": "web-", "namespace": "shop"}, "spec": {"containers": containers}})
}

/// The program, with a folder of its own.
struct Injector {
    child: Child,
    folder: PathBuf,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Injector {
    fn start(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("webhook-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (listen, admin) = (free(), free());
        let child = Command::new(env!("CARGO_BIN_EXE_outrigger-injector"))
            .args(["run", "--listen", &listen.to_string(), "--admin", &admin.to_string(), "--tls-dir"])
            .arg(&folder)
            .arg("--trust-anchors")
            .arg(folder.join("root.pem"))
            .env_remove("KUBERNETES_SERVICE_HOST")
            .stderr(Stdio::from(fs::File::create(folder.join("log")).unwrap()))
            .spawn()
            .unwrap();
        Self { child, folder, listen, admin }
    }

    /// What the control plane writes; each file is replaced at once, as the kubelet does it.
    fn write(&self, authority: &Authority) {
        let (certificate, key) = authority.serving();
        for (name, text) in [("tls.key", key), ("tls.crt", certificate), ("root.pem", authority.pem.clone())] {
            fs::write(self.folder.join("new"), text).unwrap();
            fs::rename(self.folder.join("new"), self.folder.join(name)).unwrap();
        }
    }

    async fn ready(&self) -> Option<u16> {
        self.until("it answers", async || self.admin("/live").await.is_some()).await;
        self.admin("/ready").await.map(|(status, _)| status)
    }

    async fn until_ready(&self) {
        self.until("it is ready", async || self.ready().await == Some(200)).await;
    }

    async fn until(&self, what: &str, mut is: impl AsyncFnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is().await {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "not in time: {what}\n{}", log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn admin(&self, path: &str) -> Option<(u16, String)> {
        let io = TcpStream::connect(self.admin).await.ok()?;
        let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.ok()?;
        tokio::spawn(driver);
        let request = Request::get(path).header("host", "admin").body(Full::<Bytes>::default()).unwrap();
        let answer = sender.send_request(request).await.ok()?;
        let status = answer.status().as_u16();
        Some((status, String::from_utf8_lossy(&answer.into_body().collect().await.ok()?.to_bytes()).into_owned()))
    }

    async fn connect(&self, authority: &Authority) -> Result<Connection, Box<dyn std::error::Error>> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone().into())?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let io = TcpStream::connect(self.listen).await?;
        io.set_nodelay(true)?;
        let io = TlsConnector::from(Arc::new(config)).connect(NAME.try_into()?, io).await?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        tokio::spawn(driver);
        Ok(Connection { sender })
    }

    /// CPU time so far, as /proc/PID/stat counts it: in hundredths of a second, fields 14 and 15.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        Duration::from_millis(10 * (11..13).map(|field| fields[field].parse::<u64>().unwrap()).sum::<u64>())
    }

    fn terminate(&self) {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
    }
}

impl Drop for Injector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP/2 connection, as the API server keeps one.
#[derive(Clone)]
struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Connection {
    async fn post(&mut self, path: &str, body: Bytes) -> hyper::Result<Response<hyper::body::Incoming>> {
        let uri = format!("https://{NAME}{path}?timeout=5s");
        self.sender.send_request(Request::post(uri).body(Full::new(body)).unwrap()).await
    }

    async fn review(&mut self, pod: Value) -> Value {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {"uid": "1", "namespace": "shop", "operation": "CREATE", "object": pod}});
        let answer = self.post("/inject", review.to_string().into()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    fn serving(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

const NAME: &str = "outrigger-injector.outrigger-system.svc";
