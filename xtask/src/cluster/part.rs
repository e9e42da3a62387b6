//! The parts of the cluster that are processes: their command lines, and how each says that it is ready.

use std::time::Duration;

use anyhow::Result;

use super::go::GoProgram;
use super::places::Places;
use super::{network, process, programs};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    Containerd,
    Kubelet,
    KubeProxy,
}

impl Part {
    pub(super) const ALL: [Self; 7] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Containerd,
        Self::Kubelet,
        Self::KubeProxy,
    ];
    /// What `--control-plane-only` starts.
    pub(super) const CONTROL_PLANE: [Self; 3] = [Self::Etcd, Self::ApiServer, Self::ControllerManager];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
        }
    }

    pub(super) fn pid(self, places: &Places) -> Option<u32> {
        process::pid(places, self.name())
    }

    /// Starts it, unless it runs.
    pub(super) fn start(self, places: &Places) -> Result<()> {
        if self.pid(places).is_some() {
            return Ok(());
        }
        process::start(places, self.name(), &self.command(places))
    }

    /// Waits until it is ready.
    pub(super) fn wait(self, places: &Places) -> Result<()> {
        process::wait(places, self.name(), PATIENCE, || self.ready(places))
    }

    /// Whether it answers.
    pub(super) fn ready(self, places: &Places) -> bool {
        match self {
            Self::Etcd => process::answers("http://127.0.0.1:2379/health"),
            Self::ApiServer => process::answers("https://127.0.0.1:6443/readyz"),
            Self::ControllerManager => process::answers("https://127.0.0.1:10257/healthz"),
            Self::Scheduler => process::answers("https://127.0.0.1:10259/healthz"),
            Self::Containerd => process::quiet(ctr(places).arg("version")).is_ok(),
            Self::Kubelet => process::answers("http://127.0.0.1:10248/healthz"),
            Self::KubeProxy => process::answers("http://127.0.0.1:10256/healthz"),
        }
    }

    fn command(self, places: &Places) -> Vec<String> {
        let run = places.run();
        let file = |name: &str| run.join(name).display().to_string();
        let pki = |name: &str| places.certificates().join(name).display().to_string();
        match self {
            Self::Etcd => command("etcd", &[("data-dir", file("etcd")), ("logger", "zap".into())]),
            Self::ApiServer => go(places, &programs::API_SERVER, &api_server(&pki)),
            Self::ControllerManager => go(places, &programs::CONTROLLER_MANAGER, &controller_manager(&pki, &file)),
            Self::Scheduler => go(
                places,
                &programs::SCHEDULER,
                &[("kubeconfig", file("kube-scheduler.kubeconfig")), ("leader-elect", "false".into())],
            ),
            Self::Containerd => command("containerd", &[("config", file("containerd.toml"))]),
            Self::Kubelet => go(
                places,
                &programs::KUBELET,
                &[
                    ("config", file("kubelet.yaml")),
                    ("kubeconfig", file("kubelet.kubeconfig")),
                    ("root-dir", file("kubelet")),
                    ("cert-dir", file("kubelet/pki")),
                    ("hostname-override", network::NODE.into()),
                    ("node-ip", format!("{},{}", network::NODE_V4, network::NODE_V6)),
                    ("node-labels", "topology.kubernetes.io/region=region-a,topology.kubernetes.io/zone=zone-a".into()),
                ],
            ),
            Self::KubeProxy => go(places, &programs::KUBE_PROXY, &[("config", file("kube-proxy.yaml"))]),
        }
    }
}

/// containerd's own client, on our containerd and in the kubelet's namespace.
pub(super) fn ctr(places: &Places) -> std::process::Command {
    let mut ctr = std::process::Command::new("ctr");
    ctr.arg("--address").arg(places.containerd_socket()).args(["--namespace", "k8s.io"]);
    ctr
}

fn api_server(pki: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    vec![
        ("etcd-servers", "http://127.0.0.1:2379".into()),
        ("advertise-address", network::NODE_V4.into()),
        ("secure-port", "6443".into()),
        ("service-cluster-ip-range", format!("{},{}", network::SERVICES_V4, network::SERVICES_V6)),
        ("tls-cert-file", pki("kube-apiserver.crt")),
        ("tls-private-key-file", pki("kube-apiserver.key")),
        ("client-ca-file", pki("ca.crt")),
        ("authorization-mode", "Node,RBAC".into()),
        ("enable-admission-plugins", "NodeRestriction".into()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".into()),
        ("service-account-key-file", pki("service-accounts.pub")),
        ("service-account-signing-key-file", pki("service-accounts.key")),
        ("kubelet-client-certificate", pki("kubelet-client.crt")),
        ("kubelet-client-key", pki("kubelet-client.key")),
        ("kubelet-certificate-authority", pki("ca.crt")),
        // The node's name is in no DNS.
        ("kubelet-preferred-address-types", "InternalIP".into()),
        ("requestheader-client-ca-file", pki("front-proxy-ca.crt")),
        ("requestheader-allowed-names", "front-proxy".into()),
        ("requestheader-username-headers", "X-Remote-User".into()),
        ("requestheader-group-headers", "X-Remote-Group".into()),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".into()),
        ("proxy-client-cert-file", pki("front-proxy.crt")),
        ("proxy-client-key-file", pki("front-proxy.key")),
        ("allow-privileged", "true".into()),
    ]
}

fn controller_manager(pki: &dyn Fn(&str) -> String, file: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    vec![
        ("kubeconfig", file("kube-controller-manager.kubeconfig")),
        ("service-account-private-key-file", pki("service-accounts.key")),
        ("root-ca-file", pki("ca.crt")),
        ("cluster-signing-cert-file", pki("ca.crt")),
        ("cluster-signing-key-file", pki("ca.key")),
        ("use-service-account-credentials", "true".into()),
        // A test waits for it.
        ("horizontal-pod-autoscaler-sync-period", "5s".into()),
        ("leader-elect", "false".into()),
    ]
}

fn go(places: &Places, program: &GoProgram, flags: &[(&str, String)]) -> Vec<String> {
    command(&programs::path(places, program).display().to_string(), flags)
}

fn command(program: &str, flags: &[(&str, String)]) -> Vec<String> {
    let flags = flags.iter().map(|(name, value)| format!("--{name}={value}"));
    [program.to_owned()].into_iter().chain(flags).collect()
}

const PATIENCE: Duration = Duration::from_secs(60);
