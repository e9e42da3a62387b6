//! Checks of a mesh in a cluster. Each file looks at one thing, and then judges what it saw.

mod certificates;
mod control_plane;
mod data_plane;
mod injector;
mod prerequisites;

use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Format, Output, Stream};

use self::control_plane::ControlPlane;
use crate::check::finding::{self, Category, Check};
use crate::check::report::{self, FailOn};
use crate::cluster::{self, Scope};
use crate::kubernetes::{Cluster, is_forbidden};

/// `outrigger check` of a cluster.
pub(crate) async fn check(options: &cluster::Check) -> anyhow::Result<Vec<Category>> {
    let cluster = Cluster::connect(&options.target).await?;
    match &options.scope {
        Scope::BeforeInstall => before(&cluster).await,
        Scope::Everything => all(&cluster, None).await,
        Scope::Namespace(namespace) => all(&cluster, Some(namespace)).await,
    }
}

/// Whether the mesh could be installed.
async fn before(cluster: &Cluster) -> anyhow::Result<Vec<Category>> {
    Ok(vec![prerequisites::look(cluster).await?])
}

/// Everything, or for the pods of one namespace.
async fn all(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Vec<Category>> {
    let control_plane = control_plane(cluster).await?;
    let data_plane = data_plane::look(cluster, namespace, &control_plane).await?;
    // A namespace that is not there takes no pod to try.
    let there = namespace.filter(|_| data_plane.checks.iter().all(|check| check.code != "OC030"));
    let mut categories = the_mesh(cluster, &control_plane, there).await?;
    categories.push(data_plane);
    Ok(categories)
}

/// What could be seen. What this user may not see is a finding, and the rest is looked at; whatever else goes wrong ends the check.
fn allowed<T>(
    cluster: &Cluster,
    what: &str,
    seen: kube::Result<T>,
    checks: &mut Vec<Check>,
) -> anyhow::Result<Option<T>> {
    match seen {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if is_forbidden(&error) => {
            let hint = "what depends on it is not in this report; `outrigger explain OC007` lists the rights";
            checks.push(finding::warn("OC007", format!("you may not {what}"), hint));
            Ok(None)
        }
        Err(error) => Err(cluster.failure(&format!("cannot {what}"), error)),
    }
}

async fn control_plane(cluster: &Cluster) -> anyhow::Result<ControlPlane> {
    let control_plane = control_plane::look(cluster).await?;
    if control_plane.is_missing() {
        let hint =
            "`outrigger install` installs one; --mesh-namespace says where it is; `outrigger demo` needs no cluster";
        let message = format!("no mesh is installed in namespace {} of {}", cluster.namespace, cluster.name);
        return Err(Failure::new(message, hint).into());
    }
    Ok(control_plane)
}

/// The mesh itself, without the pods that use it.
async fn the_mesh(
    cluster: &Cluster,
    control_plane: &ControlPlane,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<Category>> {
    Ok(vec![control_plane.judge(), certificates::look(cluster).await?, injector::look(cluster, namespace).await?])
}

/// Before an install: says only what is in its way.
pub(crate) async fn before_install(cluster: &Cluster, output: &Output) -> anyhow::Result<Exit> {
    let mut categories = before(cluster).await?;
    let healthy = report::healthy(&categories, FailOn::Error);
    for category in &mut categories {
        category.checks.retain(|check: &Check| check.level != finding::Level::Ok);
    }
    if categories.iter().any(|category| !category.checks.is_empty()) {
        report::print(&categories, Stream::Stderr, output);
    }
    Ok(if healthy { Exit::Yes } else { Exit::No })
}

/// After an install: is the mesh itself well? Said as soon as it is, or when the time is up.
pub(crate) async fn after_install(cluster: &Cluster, output: &Output) -> anyhow::Result<Exit> {
    let end = tokio::time::Instant::now() + SETTLE.min(cluster.timeout);
    loop {
        let mut categories = the_mesh(cluster, &control_plane(cluster).await?, None).await?;
        excuse(&mut categories);
        if report::healthy(&categories, FailOn::Error) || tokio::time::Instant::now() >= end {
            return Ok(report::report(&categories, FailOn::Error, Format::Table, output));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An object that somebody else wrote, and that cannot be read, is no failure of an install.
fn excuse(categories: &mut [Category]) {
    let checks = categories.iter_mut().flat_map(|category| &mut category.checks);
    checks.filter(|check| check.code == "OC002").for_each(|check| check.level = finding::Level::Warn);
}

/// A CA bundle is written a moment after the pods are ready.
const SETTLE: std::time::Duration = std::time::Duration::from_secs(60);
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_does_not_fail_an_install() {
        let unread = finding::error("OC002", "TCPRoute shop/bad: invalid type", "mend it");
        let missing = finding::error("OC004", "0 of 1 replicas", "look");
        let mut others = [Category::new("control plane", vec![unread.clone()])];
        let mut own = [Category::new("control plane", vec![unread, missing])];

        excuse(&mut others);
        excuse(&mut own);

        assert!(report::healthy(&others, FailOn::Error));
        assert!(!report::healthy(&own, FailOn::Error));
    }
}
