//! Admissions at 100 a second: the webhook asked as the API server asks it, and the API server asked with and without it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use data_encoding::BASE64;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::Figure;
use super::api::{Api, Namespace};
use super::https::Https;
use crate::histogram::Histogram;

/// Asks the injector of the cluster.
pub(super) async fn measure(api: &Api, namespace: &Namespace, seconds: u32) -> Result<Vec<Figure>> {
    let webhook = webhook(api).await?;
    let path = format!("{}?dryRun=All", namespace.of("pods"));
    // As the API server has it by then: with all defaults.
    let object = api.create(&path, &pod(false)).await?;
    let mut review = review(&object, namespace.name);
    review["request"]["object"]["metadata"]["labels"]["outrigger.io/inject"] = json!("enabled");
    let review = Bytes::from(review.to_string());
    eprintln!("{seconds} s of admissions of a pod of {} bytes", object.to_string().len());
    let asked = load(seconds, || ask(webhook.clone(), review.clone())).await?;
    let mut through = Vec::new();
    for labelled in [false, true] {
        let (path, body) = (&path, pod(labelled));
        let create = || {
            let (api, path, body) = (api.clone(), path.clone(), body.clone());
            async move { api.create(&path, &body).await.map(drop) }
        };
        through.push(load(seconds.min(10), create).await?);
    }
    let millis = |histogram: &Histogram, share| histogram.micros_at(share) / 1e3;
    Ok(vec![
        Figure::told("admission, 100 a second, p50", millis(&asked, 0.5), "ms"),
        Figure::limited("admission, 100 a second, p99", millis(&asked, 0.99), "ms", LIMIT),
        Figure::told("admission, 100 a second, longest", millis(&asked, 1.0), "ms"),
        Figure::told("pod created (dry run), 100 a second, uninjected, p50", millis(&through[0], 0.5), "ms"),
        Figure::told("pod created (dry run), 100 a second, uninjected, p99", millis(&through[0], 0.99), "ms"),
        Figure::told("pod created (dry run), 100 a second, injected, p50", millis(&through[1], 0.5), "ms"),
        Figure::told("pod created (dry run), 100 a second, injected, p99", millis(&through[1], 0.99), "ms"),
    ])
}

/// Latencies from the moment each was due.
async fn load<F>(seconds: u32, ask: impl Fn() -> F) -> Result<Histogram>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    // The first connection and the first allocations are nobody's latency.
    ask().await?;
    let (start, mut waiting) = (Instant::now(), JoinSet::new());
    for number in 0..seconds * RATE {
        let due = start + Duration::from_secs(1) / RATE * number;
        sleep_until(due).await;
        let answer = ask();
        waiting.spawn(async move { answer.await.map(|()| due.elapsed()) });
    }
    let mut took = Histogram::default();
    while let Some(answer) = waiting.join_next().await {
        took.record(answer??);
    }
    Ok(took)
}

async fn ask(webhook: Https, review: Bytes) -> Result<()> {
    let (status, answer) = webhook.send(Method::POST, "/inject", review).await?;
    ensure!(status == StatusCode::OK, "the webhook: {status}: {}", String::from_utf8_lossy(&answer));
    let answer: Value = serde_json::from_slice(&answer)?;
    ensure!(answer["response"]["patch"].is_string(), "the webhook did not inject: {answer}");
    Ok(())
}

/// Connects to the injector's Service, as the webhook's configuration says.
async fn webhook(api: &Api) -> Result<Https> {
    let list = api.get("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations").await?;
    let webhooks = list["items"].as_array().into_iter().flatten().flat_map(|item| item["webhooks"].as_array());
    let config = webhooks.flatten().map(|webhook| &webhook["clientConfig"]);
    let config = config.into_iter().find(|config| config["service"]["name"] == "outrigger-injector");
    let config = config.context("no webhook of outrigger-injector: install the mesh first")?;
    let roots = BASE64.decode(config["caBundle"].as_str().context("the webhook has no caBundle")?.as_bytes())?;
    let namespace = config["service"]["namespace"].as_str().context("the webhook's Service has no namespace")?;
    let service = api.get(&format!("/api/v1/namespaces/{namespace}/services/outrigger-injector")).await?;
    let address = service["spec"]["clusterIP"].as_str().context("the injector's Service has no address")?;
    let name = format!("outrigger-injector.{namespace}.svc");
    Https::dial(&format!("{address}:443"), &name, &roots, None).await.context("the injector")
}

fn review(pod: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "8d1f9ad5-6a43-4c39-b7f5-3a0d5b7ad1a5", "operation": "CREATE", "namespace": namespace,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "userInfo": {"username": "system:serviceaccount:kube-system:replicaset-controller"},
            // Real ones leave an Event on the pod's owner: not a thousand for a pod that nobody made.
            "object": pod, "oldObject": null, "dryRun": true,
        },
    })
}

/// A pod of ordinary size: two containers with environment, probes, resources and volumes.
fn pod(labelled: bool) -> Value {
    let container = |name: &str| {
        let env: Vec<Value> =
            (0..20).map(|number| json!({"name": format!("SETTING_{number}"), "value": "x".repeat(40)})).collect();
        json!({
            "name": name, "image": "registry.example.com/shop/web:1.2.3", "env": env,
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "settings", "mountPath": "/etc/web"}],
        })
    };
    json!({
        "metadata": {
            "generateName": "web-",
            "labels": {"app": "web", "outrigger.io/inject": if labelled { "enabled" } else { "disabled" }},
        },
        "spec": {
            "containers": [container("web"), container("logs")],
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "settings", "configMap": {"name": "web"}}],
        },
    })
}

const RATE: u32 = 100;
/// Milliseconds.
const LIMIT: f64 = 10.0;
