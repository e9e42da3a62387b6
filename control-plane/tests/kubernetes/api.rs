//! The API server, and the objects that a test makes in a namespace of its own.

use std::path::PathBuf;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};

/// A namespace that goes when the test is over.
pub(crate) struct Namespace {
    pub(crate) client: Client,
    pub(crate) name: String,
    kubeconfig: PathBuf,
}

/// Where the cluster is; `None`, and a word about it, when there is none.
pub(crate) fn kubeconfig() -> Option<PathBuf> {
    let path = std::env::var_os("OUTRIGGER_TEST_KUBECONFIG");
    if path.is_none() {
        let required = std::env::var("OUTRIGGER_REQUIRE_CLUSTER").is_ok_and(|value| value == "1");
        assert!(!required, "OUTRIGGER_TEST_KUBECONFIG does not name a kubeconfig");
        eprintln!("skipped: OUTRIGGER_TEST_KUBECONFIG does not name a kubeconfig");
    }
    path.map(PathBuf::from)
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let read = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    Client::try_from(kube::Config::from_custom_kubeconfig(read, &options).await.unwrap()).unwrap()
}

impl Drop for Namespace {
    /// A test that fails leaves no pods to those that come after it.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let (name, kubeconfig) = (self.name.clone(), self.kubeconfig.clone());
        // The test's own runtime stands still by now.
        let clearing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let namespace = Self { client: client(&kubeconfig).await, name, kubeconfig };
                namespace.clear().await;
            });
        });
        if clearing.join().is_err() {
            eprintln!("namespace {} stays", self.name);
        }
    }
}

impl Namespace {
    pub(crate) async fn new(kubeconfig: &std::path::Path, about: &str) -> Self {
        let client = client(kubeconfig).await;
        let mut bytes = [0; 4];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let name = format!("{about}-{:08x}", u32::from_be_bytes(bytes));
        let namespace = Self { client, name, kubeconfig: kubeconfig.to_owned() };
        let api = namespace.cluster_api("v1", "Namespace", "namespaces");
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace.name}});
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        namespace
    }

    /// Removes everything again.
    pub(crate) async fn finish(self) {
        self.clear().await;
    }

    async fn clear(&self) {
        // An API server without controllers removes no content; without content, nothing holds a namespace up.
        for (version, kind, plural) in [
            ("v1", "Pod", "pods"),
            ("v1", "Service", "services"),
            ("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"),
        ] {
            let api = self.api(version, kind, plural);
            for object in api.list(&kube::api::ListParams::default()).await.into_iter().flatten() {
                let now = DeleteParams::default().grace_period(0);
                let _ = api.delete(&object.name_any(), &now).await;
            }
        }
        let _ = self.cluster_api("v1", "Namespace", "namespaces").delete(&self.name, &DeleteParams::default()).await;
    }

    pub(crate) fn api(&self, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.name, &resource(version, kind, plural))
    }

    pub(crate) fn cluster_api(&self, version: &str, kind: &str, plural: &str) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource(version, kind, plural))
    }

    pub(crate) async fn create(&self, plural: &str, object: Value) -> DynamicObject {
        let text = |field: &str| object[field].as_str().unwrap().to_owned();
        let api = self.api(&text("apiVersion"), &text("kind"), plural);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// Changes what `patch` says, and nothing else.
    pub(crate) async fn merge(&self, version: &str, kind: &str, plural: &str, name: &str, patch: Value) {
        let api = self.api(version, kind, plural);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Makes a Service without a selector, so that no controller touches its EndpointSlices.
    pub(crate) async fn service(&self, name: &str, spec: Value) -> Vec<std::net::IpAddr> {
        let object = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
        let made = self.create("services", object).await;
        let addresses = made.data["spec"]["clusterIPs"].as_array().cloned().unwrap_or_default();
        addresses.iter().filter_map(|address| address.as_str()?.parse().ok()).collect()
    }

    pub(crate) async fn slice(&self, name: &str, service: &str, ports: Value, endpoints: Value) {
        let object = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": ports,
            "endpoints": endpoints,
        });
        self.create("endpointslices", object).await;
    }

    /// Makes a pod that no scheduler touches, and says where it is. Returns its uid.
    pub(crate) async fn pod(&self, name: &str, address: &str, meshed: bool) -> String {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}});
        let accounts = self.api("v1", "ServiceAccount", "serviceaccounts");
        let _ = accounts.create(&PostParams::default(), &serde_json::from_value(account).unwrap()).await;
        let sidecar = json!([{"name": "outrigger-sidecar", "image": "none", "restartPolicy": "Always"}]);
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {
                "schedulerName": "nobody",
                "serviceAccountName": "web",
                "automountServiceAccountToken": false,
                "initContainers": if meshed { sidecar } else { json!([]) },
                "containers": [{"name": "app", "image": "none", "ports": [{"name": "web", "containerPort": 8080}]}],
            },
        });
        let made = self.create("pods", pod).await;
        self.place(name, address).await;
        made.uid().unwrap()
    }

    /// Gives a pod an address.
    pub(crate) async fn place(&self, name: &str, address: &str) {
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
        let api = self.api("v1", "Pod", "pods");
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }

    /// Removes a pod at once.
    pub(crate) async fn remove_pod(&self, name: &str) {
        self.api("v1", "Pod", "pods").delete(name, &DeleteParams::default().grace_period(0)).await.unwrap();
    }

    /// Asks for a token of the ServiceAccount `web`, bound to a pod when one is named.
    pub(crate) async fn token(&self, audience: &str, pod: Option<(&str, &str)>) -> String {
        let bound = pod.map(|(name, uid)| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}));
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": 600, "boundObjectRef": bound},
        });
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/web/token", self.name);
        let request = http::Request::post(path)
            .header("content-type", "application/json")
            .body(serde_json::to_vec(&request).unwrap())
            .unwrap();
        let answer: Value = self.client.request(request).await.unwrap();
        answer["status"]["token"].as_str().unwrap().to_owned()
    }
}

fn resource(version: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// A CRD that takes whatever it is given, as a newer one would.
pub(crate) fn route_crd(kind: &str, plural: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": format!("{plural}.gateway.networking.k8s.io"),
            // Where the API's own kinds are, a policy asks for the last two.
            "annotations": {
                "api-approved.kubernetes.io": "unapproved, for a test",
                "gateway.networking.k8s.io/bundle-version": "v9.0.0",
                "gateway.networking.k8s.io/channel": "standard",
            },
        },
        "spec": {
            "group": "gateway.networking.k8s.io",
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": format!("{kind}List"), "plural": plural, "singular": kind.to_lowercase()},
            "versions": [{
                "name": "v1",
                "served": true,
                "storage": true,
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
            }],
        },
    })
}
