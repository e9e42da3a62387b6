//! `cargo xtask cluster up`: from nothing to a node that runs pods, or whatever is missing of it.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};

use super::part::Part;
use super::places::{Places, make_folder, require_root, write};
use super::{certificates, cgroup, config, host, image, kubectl, network, process, programs};
use crate::{debian, step};

#[derive(Debug, Default, clap::Args)]
pub(super) struct Args {
    /// Only etcd, the API server and the controllers: enough for tests of controllers, and up in seconds.
    #[arg(long)]
    control_plane_only: bool,
    /// How Services are made; a running cluster is switched over.
    #[arg(long, value_name = "MODE", value_parser = [NFTABLES, "iptables"])]
    proxy_mode: Option<String>,
    /// Installs no packages.
    #[arg(long)]
    no_install: bool,
}

impl Args {
    /// All of it, with Services made in this way.
    pub(super) fn with_proxy(mode: &str) -> Self {
        Self { proxy_mode: Some(mode.to_owned()), ..Self::default() }
    }
}

/// Starts the cluster.
pub(super) fn run(places: &Places, args: &Args) -> Result<()> {
    require_root()?;
    let _lock = places.lock()?;
    let parts: &[Part] = if args.control_plane_only { &Part::CONTROL_PLANE } else { &Part::ALL };
    let mode = proxy_mode(places);
    let switches = args.proxy_mode.as_ref().is_some_and(|wanted| mode.as_ref().is_some_and(|mode| mode != wanted));
    if !switches && places.kubeconfig().exists() && parts.iter().all(|part| part.ready(places)) {
        eprintln!("the cluster is up already; KUBECONFIG={}", places.kubeconfig().display());
        return Ok(());
    }
    if !args.no_install {
        debian::install(debian::FOR_CONTROL_PLANE)?;
        if !args.control_plane_only {
            debian::install(debian::FOR_NODE)?;
        }
    }
    programs::build(places, programs::CONTROL_PLANE)?;
    if !args.control_plane_only {
        programs::build(places, programs::NODE)?;
        image::build(places, &image::of_the_node(places)?)?;
    }

    step::announce("starting the cluster");
    let start = Instant::now();
    let mode = args.proxy_mode.clone().or(mode).unwrap_or_else(|| NFTABLES.to_owned());
    if switches {
        remove_proxy(places)?;
    }
    prepare(places, &mode)?;
    if !args.control_plane_only {
        write(&places.run().join(WITH_NODE), "")?;
    }
    start_control_plane(places, args)?;
    if !args.control_plane_only {
        start_node(places)?;
    }
    // Last: whoever finds it finds a cluster that is ready.
    config::write_kubeconfig(places, "admin", &places.kubeconfig())?;
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("the cluster is up after {seconds:.1} s; KUBECONFIG={}", places.kubeconfig().display());
    Ok(())
}

fn prepare(places: &Places, proxy_mode: &str) -> Result<()> {
    make_folder(&places.run())?;
    host::prepare(places)?;
    cgroup::make()?;
    network::make()?;
    certificates::make(places)?;
    config::write_all(places, &config::Values::new(places, proxy_mode))?;
    config::write_kubeconfig(places, "admin", &places.run().join("admin.kubeconfig"))?;
    write(&places.run().join("proxy-mode"), proxy_mode)
}

fn start_control_plane(places: &Places, args: &Args) -> Result<()> {
    Part::Etcd.start(places)?;
    if !args.control_plane_only {
        Part::Containerd.start(places)?;
    }
    Part::Etcd.wait(places)?;
    Part::ApiServer.start(places)?;
    if !args.control_plane_only {
        // While the API server makes itself ready.
        Part::Containerd.wait(places)?;
        image::load(places, &image::of_the_node(places)?)?;
    }
    Part::ApiServer.wait(places)?;
    Part::ControllerManager.start(places)?;
    if args.control_plane_only {
        Part::ControllerManager.wait(places)?;
    }
    // Before it, no pod of this namespace can be made.
    let account = ["get", "serviceaccount", "default", "-o", "name"];
    kubectl::wait(places, "the default service account", &account, |said| !said.is_empty())
}

fn start_node(places: &Places) -> Result<()> {
    Part::Scheduler.start(places)?;
    Part::Kubelet.start(places)?;
    Part::KubeProxy.start(places)?;
    for manifest in ["coredns.yaml", "metrics-server.yaml"] {
        let file = places.run().join(manifest);
        kubectl::run(places, &["apply", "-f", file.to_str().context("a path that is not UTF-8")?])?;
    }
    for part in [Part::ControllerManager, Part::Scheduler, Part::Kubelet, Part::KubeProxy] {
        part.wait(places)?;
    }
    host::restore_kernel(places)?;
    kubectl::wait(places, "the node", NODE_READY, |said| said == "True")?;
    kubectl::wait(places, "the cluster's DNS", DNS_READY, |said| said.parse().is_ok_and(|ready: u32| ready > 0))?;
    ensure!(cgroup::processes(&cgroup::daemons()).len() >= Part::ALL.len(), "a part has ended");
    Ok(())
}

/// Ends kube-proxy and removes its rules: those of another mode would stay beside the new ones.
fn remove_proxy(places: &Places) -> Result<()> {
    process::stop(places, Part::KubeProxy.name())?;
    let program = programs::path(places, &programs::KUBE_PROXY);
    process::quiet(network::command(&program.display().to_string()).arg("--cleanup"))
}

/// What kube-proxy was last told.
fn proxy_mode(places: &Places) -> Option<String> {
    fs::read_to_string(places.run().join("proxy-mode")).ok()
}

/// The parts that the cluster was last told to have.
pub(super) fn parts(places: &Places) -> &'static [Part] {
    let has_node = places.run().join(WITH_NODE).exists() || !places.run().exists();
    if has_node { &Part::ALL } else { &Part::CONTROL_PLANE }
}

/// Prints `True`.
pub(super) const NODE_READY: &[&str] =
    &["get", "node", network::NODE, "-o", "jsonpath={.status.conditions[?(@.type=='Ready')].status}"];
/// Prints how many of the DNS server's pods are ready.
pub(super) const DNS_READY: &[&str] =
    &["get", "deployment", "coredns", "--namespace", "kube-system", "-o", "jsonpath={.status.readyReplicas}"];

/// A file that is there when the cluster has a node.
const WITH_NODE: &str = "with-node";
const NFTABLES: &str = "nftables";
