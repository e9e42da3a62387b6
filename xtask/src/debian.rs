//! The programs from outside that tests run against: installed when we may, named when we may not.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::{step, workspace};

/// Something the tests need, and the package of Debian (and Ubuntu) that has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needed {
    what: What,
    package: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum What {
    Program(&'static str),
    File(&'static str),
    /// A module of Debian's Python that is packaged by itself.
    PythonModule(&'static str),
}

const fn program(name: &'static str, package: &'static str) -> Needed {
    Needed { what: What::Program(name), package }
}

/// What the end-to-end tests run against, besides what they build themselves.
pub(crate) const FOR_TESTS: &[Needed] = &[
    program("nft", "nftables"),
    program("ip", "iproute2"),
    program("curl", "curl"),
    program("tcpdump", "tcpdump"),
    program("openssl", "openssl"),
    program("nghttp", "nghttp2-client"),
    program("h2load", "nghttp2-client"),
    program("nghttpd", "nghttp2-server"),
    program("redis-server", "redis-server"),
    program("redis-cli", "redis-tools"),
    program("mariadbd", "mariadb-server-core"),
    program("mariadb", "mariadb-client-core"),
    program("initdb", "postgresql"),
    program("psql", "postgresql-client"),
    program("node", "nodejs"),
    program("gunicorn", "gunicorn"),
    program("java", "default-jdk-headless"),
    program("nginx", "nginx-light"),
    program("apache2", "apache2-bin"),
    program("haproxy", "haproxy"),
    program("nats-server", "nats-server"),
    program("memcached", "memcached"),
    program("mosquitto", "mosquitto"),
    program("sshd", "openssh-server"),
    program("ssh-keygen", "openssh-client"),
    program("prometheus", "prometheus"),
    program("promtool", "prometheus"),
    program("python3", "python3"),
    Needed { what: What::PythonModule("ensurepip"), package: "python3-venv" },
    Needed { what: What::File("/usr/lib/python3/dist-packages/grpc"), package: "python3-grpcio" },
    Needed {
        what: What::File("/usr/lib/python3/dist-packages/prometheus_client"),
        package: "python3-prometheus-client",
    },
];

/// What the mesh is compared with under attack, besides Envoy.
pub(crate) const FOR_ATTACKS: &[Needed] = &[program("haproxy", "haproxy"), program("nginx", "nginx")];

/// What counts instructions.
pub(crate) const FOR_COST: &[Needed] =
    &[program("valgrind", "valgrind"), program("ip", "iproute2"), program("nft", "nftables")];

/// What compares the request path with others.
pub(crate) const FOR_DATA_PLANE: &[Needed] = &[
    program("nft", "nftables"),
    program("ip", "iproute2"),
    program("perf", "linux-perf"),
    program("python3", "python3"),
    Needed { what: What::PythonModule("ensurepip"), package: "python3-venv" },
];

/// What the test cluster's control plane needs.
pub(crate) const FOR_CONTROL_PLANE: &[Needed] = &[
    program("etcd", "etcd-server"),
    program("ip", "iproute2"),
    program("nsenter", "util-linux"),
    program("sysctl", "procps"),
    program("openssl", "openssl"),
    program("curl", "curl"),
];

/// What its node needs besides.
pub(crate) const FOR_NODE: &[Needed] = &[
    program("containerd", "containerd"),
    program("runc", "runc"),
    Needed { what: What::File("/usr/lib/cni/ptp"), package: "containernetworking-plugins" },
    program("conntrack", "conntrack"),
    program("nft", "nftables"),
    program("iptables", "iptables"),
    program("buildah", "buildah"),
    program("busybox", "busybox-static"),
];

/// Sees to it that everything is there.
///
/// # Errors
/// Says what to install, when something is missing and we are not root on Debian or Ubuntu, or the installation fails.
pub(crate) fn install(needed: &[Needed]) -> Result<()> {
    let missing = missing(needed, present);
    if missing.is_empty() {
        return Ok(());
    }
    let packages = missing.join(" ");
    if !workspace::is_root() || !workspace::on_path("apt-get") {
        bail!("the tests need programs that are not here; install them: apt-get install {packages}");
    }
    step::announce(&format!("installing {packages}"));
    // The lists of a fresh machine are empty or old; on one that has them, the first try saves the download.
    if step::run(apt().args(["install", "--no-install-recommends"]).args(&missing)).is_err() {
        step::run(apt().arg("update"))?;
        step::run(apt().args(["install", "--no-install-recommends"]).args(&missing))?;
    }
    Ok(())
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.args(["-qq", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=120"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    // The tests start their own servers: in this runlevel the packages' services stay down.
    command.env("RUNLEVEL", "1");
    command
}

fn present(what: What) -> bool {
    match what {
        What::Program(name) => workspace::on_path(name) || among_postgres(name),
        What::File(path) => Path::new(path).exists(),
        What::PythonModule(name) => Command::new("python3")
            .args(["-c", &format!("import {name}")])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
    }
}

/// Debian keeps PostgreSQL's programs out of PATH, in a folder for each version.
fn among_postgres(program: &str) -> bool {
    let versions = Path::new("/usr/lib/postgresql").read_dir().into_iter().flatten().flatten();
    versions.into_iter().any(|version| version.path().join("bin").join(program).is_file())
}

/// The packages of what is not there, each once.
fn missing(needed: &[Needed], present: impl Fn(What) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&str> =
        needed.iter().filter(|needed| !present(needed.what)).map(|needed| needed.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_each_missing_package_once() {
        let needed =
            [program("nghttp", "nghttp2-client"), program("curl", "curl"), program("h2load", "nghttp2-client")];

        let packages = missing(&needed, |what| matches!(what, What::Program("curl")));

        assert_eq!(packages, ["nghttp2-client"]);
    }
}
