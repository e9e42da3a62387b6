//! The API server, asked without a library: what is measured here is a matter of milliseconds.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use data_encoding::BASE64;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::process::Command;

use super::https::Https;

/// The API server of the cluster that `KUBECONFIG` names.
#[derive(Debug, Clone)]
pub(super) struct Api {
    https: Https,
}

impl Api {
    /// Connects as kubectl does; kubectl reads the kubeconfig.
    pub(super) async fn connect() -> Result<Self> {
        let kubectl = std::env::var_os("OUTRIGGER_KUBECTL").unwrap_or_else(|| OsString::from("kubectl"));
        let output =
            Command::new(kubectl).args(["config", "view", "--raw", "--minify", "--flatten", "-o", "json"]).output();
        let output = output.await.context("run kubectl")?;
        ensure!(output.status.success(), "kubectl: {}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).context("kubectl config view")?;
        let member = |path: &str| {
            let text = config.pointer(path).and_then(Value::as_str);
            text.with_context(|| format!("the kubeconfig has no {path}: certificates are all that is understood here"))
        };
        let pem = |path: &str| Ok::<_, anyhow::Error>(BASE64.decode(member(path)?.as_bytes())?);
        let server = member("/clusters/0/cluster/server")?.trim_start_matches("https://").trim_end_matches('/');
        let (host, _) = server.rsplit_once(':').context("the API server's address has no port")?;
        let own = (pem("/users/0/user/client-certificate-data")?, pem("/users/0/user/client-key-data")?);
        let roots = pem("/clusters/0/cluster/certificate-authority-data")?;
        let https = Https::dial(server, host, &roots, Some((&own.0, &own.1))).await.context("the API server")?;
        Ok(Self { https })
    }

    /// Reads an object; `None` when there is none.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Value>> {
        let (status, answer) = self.https.send(Method::GET, path, Bytes::new()).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        ensure!(status.is_success(), "GET {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(Some(serde_json::from_slice(&answer)?))
    }

    /// Reads an object.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.find(path).await?.with_context(|| format!("there is no {path}"))
    }

    /// Reads text, such as a log; empty while there is none.
    pub(super) async fn text(&self, path: &str) -> Result<String> {
        let (status, answer) = self.https.send(Method::GET, path, Bytes::new()).await?;
        Ok(if status.is_success() { String::from_utf8_lossy(&answer).into_owned() } else { String::new() })
    }

    /// Creates an object.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self.https.succeeds(Method::POST, path, Bytes::from(object.to_string())).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Changes an object.
    pub(super) async fn patch(&self, path: &str, patch: &Value) -> Result<()> {
        self.https.succeeds(Method::PATCH, path, Bytes::from(patch.to_string())).await.map(drop)
    }

    /// Deletes an object at once.
    pub(super) async fn delete(&self, path: &str) -> Result<()> {
        let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let (status, answer) = self.https.send(Method::DELETE, path, Bytes::from(options.to_string())).await?;
        let gone = status.is_success() || status == StatusCode::NOT_FOUND;
        ensure!(gone, "DELETE {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(())
    }
}

/// A namespace that is not labelled: pods say by their own label whether they are meshed.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) name: &'static str,
}

impl Namespace {
    pub(super) async fn make(api: &Api, name: &'static str) -> Result<Self> {
        let namespace = Self { name };
        namespace.remove(api).await?;
        let begin = Instant::now();
        while api.find(&namespace.path()).await?.is_some() {
            ensure!(begin.elapsed() < PATIENCE, "namespace {name} of an earlier run does not go away");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        api.create("/api/v1/namespaces", &json!({"metadata": {"name": name}})).await?;
        // Pods are refused before their ServiceAccount is there.
        while api.find(&namespace.of("serviceaccounts/default")).await?.is_none() {
            ensure!(begin.elapsed() < PATIENCE, "namespace {name} gets no ServiceAccount");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(namespace)
    }

    pub(super) async fn remove(&self, api: &Api) -> Result<()> {
        api.delete(&self.path()).await
    }

    /// The path of what is in it, such as `pods/web`.
    pub(super) fn of(&self, what: &str) -> String {
        format!("{}/{what}", self.path())
    }

    /// The path of what a CRD defines, such as `httproutes` of `gateway.networking.k8s.io/v1`.
    pub(super) fn custom(&self, api_version: &str, what: &str) -> String {
        format!("/apis/{api_version}/namespaces/{}/{what}", self.name)
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.name)
    }
}

/// How long the cluster may take for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
