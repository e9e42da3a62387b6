//! Outrigger: the binary that images ship, with a control plane of its own; its configuration is `bench/outrigger`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result};
use tokio::process::Child;

use super::{CALLGRIND_OUT, ENDPOINTS, RULES, Runner, Special, Started, endpoint, succeed, version_of};
use crate::pods::{self, PROXY_UID, Place, Pods, User};

const MESH: &str = include_str!("../../outrigger/mesh.yaml");
/// The workload that asks.
pub(super) const CLIENT: &str = "client";
/// The workload that answers.
pub(super) const SERVER: &str = "server";
const TRUST_DOMAIN: &str = "mesh.local";

/// Starts the control plane and both sidecars, and takes over the pods' traffic.
pub(super) async fn start(pods: &Pods, folder: &Path, special: Special) -> Result<Started> {
    for name in ["OUTRIGGER_SIDECAR_BIN", "OUTRIGGER_CONTROL_PLANE_BIN"] {
        let built =
            std::env::var_os(name).with_context(|| format!("{name} is not set: run this by `cargo xtask bench`"))?;
        std::fs::copy(&built, folder.join(program(name)))
            .with_context(|| format!("copy {}", Path::new(&built).display()))?;
    }
    let config = folder.join("config");
    std::fs::create_dir_all(&config)?;
    std::fs::write(config.join("mesh.yaml"), MESH)?;
    std::fs::write(config.join("endpoints.yaml"), endpoints())?;
    std::fs::write(config.join("rules.yaml"), rules())?;
    std::fs::write(config.join("others.yaml"), others(special.other_services))?;
    let control_plane = control_plane(pods, folder)?;
    wait_for(&folder.join("ca/root.pem")).await?;
    let outbound = sidecar(pods, Place::A, folder, CLIENT, special.runner).await?;
    let inbound = sidecar(pods, Place::B, folder, SERVER, special.runner).await?;
    let version = version_of(&folder.join("sidecar"), "--version").await?;
    Ok(Started { version, sidecars: Some((outbound, inbound)), others: vec![control_plane] })
}

fn endpoints() -> String {
    let all = (0..ENDPOINTS).map(|number| {
        let address = endpoint(number);
        format!(
            "---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\n\
             metadata: {{ name: many-{number}, namespace: bench, labels: {{ app: many }} }}\n\
             spec: {{ address: {address}, serviceAccountName: server, ports: [{{ port: 8080, appProtocol: http }}] }}\n"
        )
    });
    all.collect()
}

/// Services that nobody calls, each with an endpoint.
fn others(services: u32) -> String {
    let all = (0..services).map(|number| {
        let [cluster_ip, address] = [[10, 96, 0, 1], [10, 128, 0, 1]]
            .map(|first| Ipv4Addr::from_bits(Ipv4Addr::from(first).to_bits() + number));
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{ name: other-{number}, namespace: others }}\n\
             spec: {{ clusterIP: {cluster_ip}, selector: {{ app: other-{number} }}, ports: [{{ name: http, port: 80, targetPort: 8080 }}] }}\n\
             ---\napiVersion: outrigger.io/v1alpha1\nkind: Workload\n\
             metadata: {{ name: other-{number}, namespace: others, labels: {{ app: other-{number} }} }}\n\
             spec: {{ address: {address}, serviceAccountName: other, ports: [{{ port: 8080, appProtocol: http }}] }}\n"
        )
    });
    all.collect()
}

fn rules() -> String {
    // Sixteen rules are as many as a route may have.
    let rules: Vec<String> = (0..RULES)
        .map(|number| {
            format!(
                "    - {{ matches: [{{ path: {{ type: PathPrefix, value: /r{number} }} }}], \
                 backendRefs: [{{ name: echo, port: 80 }}] }}\n"
            )
        })
        .collect();
    let routes = rules.chunks(16).enumerate().map(|(number, rules)| {
        format!(
            "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n\
             metadata: {{ name: rules-{number}, namespace: bench }}\n\
             spec:\n  parentRefs: [{{ group: \"\", kind: Service, name: rules }}]\n  rules:\n{}",
            rules.concat()
        )
    });
    routes.collect()
}

fn program(variable: &str) -> &'static str {
    if variable.contains("SIDECAR") { "sidecar" } else { "control-plane" }
}

fn control_plane(pods: &Pods, folder: &Path) -> Result<Child> {
    let listen = SocketAddr::from(([0, 0, 0, 0], pods::CONTROL.port()));
    let log = std::fs::File::create(folder.join("control-plane.log"))?;
    pods.command(Place::Control, User::Root, &folder.join("control-plane"))
        .args(["run", "--config-dir"])
        .arg(folder.join("config"))
        .arg("--ca-dir")
        .arg(folder.join("ca"))
        .args(["--trust-domain", TRUST_DOMAIN, "--listen", &listen.to_string(), "--admin", "127.0.0.1:4192"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start the control plane")
}

async fn sidecar(pods: &Pods, place: Place, folder: &Path, workload: &str, runner: Runner) -> Result<Child> {
    let program = folder.join("sidecar");
    let mut init = pods.command(place, User::Root, &program);
    init.args(["init", "--proxy-uid", &PROXY_UID.to_string()]);
    succeed(&mut init).await.context("take over the pod's traffic")?;

    let own = folder.join(workload);
    std::fs::create_dir_all(&own)?;
    let (token, anchors) = (own.join("token"), own.join("root.pem"));
    let mut issue = pods.command(Place::Control, User::Root, &folder.join("control-plane"));
    issue.args(["token", &format!("bench/{workload}"), "--ca-dir"]).arg(folder.join("ca"));
    std::fs::write(&token, succeed(&mut issue).await.context("issue a join token")?)?;
    std::fs::copy(folder.join("ca/root.pem"), &anchors)?;
    for path in [&own, &token, &anchors] {
        std::os::unix::fs::chown(path, Some(PROXY_UID), Some(PROXY_UID))?;
    }

    let log = std::fs::File::create(folder.join(format!("{workload}.log")))?;
    let mut command = match runner {
        Runner::None => pods.command(place, User::Proxy, &program),
        Runner::Callgrind => {
            let mut valgrind = pods.command(place, User::Proxy, Path::new("valgrind"));
            let file = own.join(CALLGRIND_OUT);
            valgrind.args(["--tool=callgrind", &format!("--callgrind-out-file={}", file.display())]).arg(&program);
            valgrind
        }
    };
    command
        .args(["run", "--workload", &format!("bench/{workload}"), "--control-plane", &pods::CONTROL.to_string()])
        .args(["--trust-domain", TRUST_DOMAIN, "--trust-anchors"])
        .arg(&anchors)
        .arg("--token-file")
        .arg(&token)
        .arg("--state-dir")
        .arg(own.join("state"))
        .args(["--access-log", "off"])
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start the sidecar of {workload}"))
}

async fn wait_for(path: &Path) -> Result<()> {
    for _ in 0..100 {
        if path.exists() {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    anyhow::bail!("the control plane wrote no {} in 5 s; its log is beside it", path.display())
}
