//! The programs of the cluster: those built from pinned Go modules, and those that Debian packages.

use std::path::PathBuf;

use anyhow::Result;

use super::go::{GoProgram, PROGRAM, TESTS};
use super::places::{Places, make_folder};

pub(super) const API_SERVER: GoProgram = kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver");
pub(super) const KUBECTL: GoProgram = kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl");
pub(super) const CONTROLLER_MANAGER: GoProgram =
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager");
pub(super) const SCHEDULER: GoProgram = kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler");
pub(super) const KUBELET: GoProgram = kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet");
pub(super) const KUBE_PROXY: GoProgram = kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy");
pub(super) const COREDNS: GoProgram =
    GoProgram { name: "coredns", module: "go/coredns", package: ".", variables: &[], verb: PROGRAM };
pub(super) const METRICS_SERVER: GoProgram = GoProgram {
    name: "metrics-server",
    module: "go/metrics-server",
    package: "sigs.k8s.io/metrics-server/cmd/metrics-server",
    variables: &[],
    verb: PROGRAM,
};
/// As the tests without a cluster build it, too.
pub(super) const JAEGER: GoProgram = GoProgram {
    name: "jaeger",
    module: "../peers/jaeger",
    package: "github.com/jaegertracing/jaeger/cmd/all-in-one",
    variables: &[],
    verb: PROGRAM,
};
/// What the tests run in pods.
pub(super) const TEST_APP: GoProgram =
    GoProgram { name: "test-app", module: "app", package: ".", variables: &[], verb: PROGRAM };

/// The Gateway API's conformance suite.
pub(super) const CONFORMANCE: GoProgram =
    GoProgram { name: "conformance", module: CONFORMANCE_MODULE, package: ".", variables: &[], verb: TESTS };
/// What pins the suite.
pub(super) const CONFORMANCE_MODULE: &str = "../conformance/suite";
/// What the suite runs in pods.
pub(super) const ECHO_CLIENT: GoProgram = echo("echo-client", "istio.io/istio/pkg/test/echo/cmd/client");
pub(super) const ECHO_SERVER: GoProgram = echo("echo-server", "istio.io/istio/pkg/test/echo/cmd/server");
/// What pins those two.
pub(super) const ECHO_MODULE: &str = "../conformance/echo";

/// Builds those of them that are not in the cache.
pub(super) fn build(places: &Places, programs: &[&GoProgram]) -> Result<()> {
    make_folder(&places.bin())?;
    for program in programs {
        program.built(places)?;
    }
    Ok(())
}

/// `cargo xtask cluster build`.
pub(super) fn build_all(places: &Places) -> Result<()> {
    build(places, CONTROL_PLANE)?;
    build(places, NODE)
}

/// The path of one that was built before.
pub(super) fn path(places: &Places, program: &GoProgram) -> PathBuf {
    places.bin().join(program.name)
}

/// What `--control-plane-only` needs.
pub(super) const CONTROL_PLANE: &[&GoProgram] = &[&API_SERVER, &KUBECTL, &CONTROLLER_MANAGER];
/// What a node needs besides.
pub(super) const NODE: &[&GoProgram] = &[&SCHEDULER, &KUBELET, &KUBE_PROXY, &COREDNS, &METRICS_SERVER, &TEST_APP];

const fn kubernetes(name: &'static str, package: &'static str) -> GoProgram {
    GoProgram { name, module: "go/kubernetes", package, variables: VERSION, verb: PROGRAM }
}

const fn echo(name: &'static str, package: &'static str) -> GoProgram {
    GoProgram { name, module: ECHO_MODULE, package, variables: &[], verb: PROGRAM }
}

/// Without these, the API server says that it is v0.0.0, and clients believe it.
const VERSION: &[&str] = &[
    "k8s.io/component-base/version.gitVersion=v1.36.3",
    "k8s.io/component-base/version.gitMajor=1",
    "k8s.io/component-base/version.gitMinor=36",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_the_version_that_is_pinned() {
        let module = Places::new().unwrap().sources().join("go/kubernetes/go.mod");
        let module = std::fs::read_to_string(module).unwrap();
        let version = VERSION[0].split_once('=').unwrap().1;

        assert!(module.contains(&format!("k8s.io/kubernetes {version}")), "{version} is not what go.mod requires");
        let (_, minor_and_patch) = version.split_once('.').unwrap();
        assert!(module.contains(&format!("k8s.io/kubelet v0.{minor_and_patch}\n")), "a staging module differs");
        let minor = VERSION[2].split_once('=').unwrap().1;
        assert!(minor_and_patch.starts_with(&format!("{minor}.")), "the minor version differs");
    }
}
