//! Manifests of the tests' own workloads. The image has one program, `tests/cluster/app`, that is all of them.

use std::fmt::Write as _;

/// A Deployment, or what else has a pod template, of the test application.
#[derive(Debug, Clone)]
pub struct Workload<'a> {
    name: &'a str,
    kind: &'a str,
    image: &'a str,
    replicas: u32,
    args: &'a [&'a str],
    labels: &'a str,
    annotations: &'a str,
    pod: &'a str,
    container: &'a str,
    spec: &'a str,
}

impl<'a> Workload<'a> {
    /// A Deployment of one pod that serves HTTP on port 8080.
    #[must_use]
    pub fn new(name: &'a str) -> Self {
        Self {
            name,
            kind: "Deployment",
            image: IMAGE,
            replicas: 1,
            args: &["serve"],
            labels: "",
            annotations: "",
            pod: "",
            container: "",
            spec: "",
        }
    }

    /// Another kind than Deployment: StatefulSet or DaemonSet.
    #[must_use]
    pub fn kind(self, kind: &'a str) -> Self {
        Self { kind, ..self }
    }

    /// Another image than the test application's. Its program is told nothing, and has no probe, unless that is said.
    #[must_use]
    pub fn image(self, image: &'a str) -> Self {
        Self { image, args: &[], ..self }
    }

    /// How many pods.
    #[must_use]
    pub fn replicas(self, replicas: u32) -> Self {
        Self { replicas, ..self }
    }

    /// What the application is told.
    #[must_use]
    pub fn args(self, args: &'a [&'a str]) -> Self {
        Self { args, ..self }
    }

    /// More labels of the pod, as `name: value, …`.
    #[must_use]
    pub fn labels(self, labels: &'a str) -> Self {
        Self { labels, ..self }
    }

    /// Annotations of the pod, as `name: value, …`.
    #[must_use]
    pub fn annotations(self, annotations: &'a str) -> Self {
        Self { annotations, ..self }
    }

    /// More lines of the pod's spec, indented by six.
    #[must_use]
    pub fn pod(self, pod: &'a str) -> Self {
        Self { pod, ..self }
    }

    /// More lines of the container, indented by ten.
    #[must_use]
    pub fn container(self, container: &'a str) -> Self {
        Self { container, ..self }
    }

    /// More lines of the workload's spec, indented by two.
    #[must_use]
    pub fn spec(self, spec: &'a str) -> Self {
        Self { spec, ..self }
    }

    /// Its name, which is its pods' label `app` too.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name
    }

    /// What kubectl calls it, such as `deployment/web`.
    #[must_use]
    pub fn reference(&self) -> String {
        format!("{}/{}", self.kind.to_lowercase(), self.name)
    }

    /// The manifest, without a namespace.
    #[must_use]
    pub fn yaml(&self) -> String {
        let Self { name, kind, image, replicas, labels, annotations, pod, container, spec, .. } = self;
        let mut yaml = format!("---\napiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n{spec}");
        if *kind != "DaemonSet" {
            let _ = writeln!(yaml, "  replicas: {replicas}");
        }
        if *kind == "StatefulSet" {
            let _ = writeln!(yaml, "  serviceName: {name}\n  podManagementPolicy: Parallel");
        }
        // A probe that asks often: tests wait for it. The grace period outlasts the requests in flight.
        let probe = if container.contains("readinessProbe") || self.args.first() != Some(&"serve") {
            ""
        } else {
            "          readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1}\n"
        };
        let args: Vec<String> = self.args.iter().map(|arg| format!("{arg:?}")).collect();
        let _ = write!(
            yaml,
            "  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata:\n      labels: {{app: {name}, {labels}}}\n\
             \x20     annotations: {{{annotations}}}\n    spec:\n      terminationGracePeriodSeconds: 30\n{pod}      containers:\n\
             \x20       - name: app\n          image: {image}\n          imagePullPolicy: Never\n\
             \x20         args: [{}]\n{probe}{container}",
            args.join(", ")
        );
        yaml
    }
}

/// A Service on port 80 of the pods with `app: <name>`, and on 9090 and 9091 for TCP; `spec` is more of it, indented by two.
#[must_use]
pub fn service(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  selector: {{app: {name}}}\n{spec}\
         \x20 ports:\n    - {{name: web, port: 80, targetPort: 8080}}\n    - {{name: echo, port: 9090}}\n    - {{name: banner, port: 9091}}\n"
    )
}

/// The image of the test application.
pub const IMAGE: &str = concat!("outrigger/test-app:", env!("CARGO_PKG_VERSION"));
/// The image of Jaeger.
pub const JAEGER: &str = concat!("outrigger/jaeger:", env!("CARGO_PKG_VERSION"));
/// The image of etcd.
pub const ETCD: &str = concat!("outrigger/etcd:", env!("CARGO_PKG_VERSION"));
