//! A mesh in a Kubernetes cluster: installing it, looking at it, removing it.
//!
//! Only here is the Kubernetes client used, and only in builds with the feature `kubernetes`: the demo does without. Builds without it have
//! `no_kubernetes.rs` in this place, with the same functions.

mod admin_page;
mod apply;
mod change;
mod check;
mod forward;
mod install;
mod objects;
mod programmed;
mod sidecars;
mod uninstall;
mod wait;

pub(crate) use self::admin_page::control_plane_page;
pub(crate) use self::change::change;
pub(crate) use self::check::check;
pub(crate) use self::install::{install, upgrade};
pub(crate) use self::uninstall::uninstall;

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use outrigger_console::exit::{Exit, Failure};
use outrigger_daemon::error_chain;

use crate::cluster::Target;

/// A cluster that is talked to, and where in it the mesh is.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
    /// The namespace of the mesh.
    pub(crate) namespace: String,
    /// What a person calls it: the context, or the address.
    pub(crate) name: String,
    /// How long to wait for things to happen.
    pub(crate) timeout: Duration,
}

impl Cluster {
    /// Reads the kubeconfig and makes a client; asks the cluster nothing yet.
    pub(crate) async fn connect(target: &Target) -> anyhow::Result<Self> {
        let options = KubeConfigOptions { context: target.context.clone(), ..KubeConfigOptions::default() };
        let chosen = target.kubeconfig.is_some() || target.context.is_some();
        let config = match &target.kubeconfig {
            Some(path) => match Kubeconfig::read_from(path) {
                Ok(read) => Config::from_custom_kubeconfig(read, &options).await.map_err(anyhow::Error::from),
                Err(error) => Err(error.into()),
            },
            None => match Config::from_kubeconfig(&options).await {
                // In a pod there is no kubeconfig, but a ServiceAccount.
                Err(error) if !chosen => Config::incluster().map_err(|_| error.into()),
                other => other.map_err(anyhow::Error::from),
            },
        };
        let mut config = config.map_err(|error| {
            Failure::new(
                format!("no cluster is configured: {}", error_chain(&*error)),
                "name a file with --kubeconfig, or set KUBECONFIG",
            )
        })?;
        config.connect_timeout = Some(PATIENCE);
        let name = target.context.clone().unwrap_or_else(|| config.cluster_url.to_string());
        let client = Client::try_from(config).map_err(|error| {
            let message = format!("cannot make a client of the kubeconfig: {}", error_chain(&error));
            Failure::new(message, "look at the certificates and the key in it")
        })?;
        Ok(Self { client, namespace: target.mesh_namespace.clone(), name, timeout: target.timeout })
    }

    /// What the API server's answer means for somebody who was `doing` something.
    pub(crate) fn failure(&self, doing: &str, error: kube::Error) -> anyhow::Error {
        let (why, hint) = match &error {
            kube::Error::Api(status) if status.code == 403 => (
                status.message.clone(),
                "your user may not do this; `outrigger check --pre` lists what an install needs".into(),
            ),
            kube::Error::Api(status) if status.code == 409 => {
                (status.message.clone(), "someone else manages these fields; --force-conflicts takes them over".into())
            }
            kube::Error::Api(status) => (status.message.clone(), format!("the API server of {} refused it", self.name)),
            other => (error_chain(other), format!("is {} up, and reachable from here?", self.name)),
        };
        Failure { message: format!("{doing}: {why}"), hint: Some(hint), exit: Exit::Unknown }.into()
    }
}

/// The namespace of the kubeconfig's context.
pub(crate) async fn default_namespace(target: &Target) -> anyhow::Result<String> {
    Ok(Cluster::connect(target).await?.client.default_namespace().to_owned())
}

/// Whether a kubeconfig or a ServiceAccount is at hand, for commands that can do without.
pub(crate) async fn is_at_hand() -> bool {
    Config::from_kubeconfig(&KubeConfigOptions::default()).await.is_ok() || Config::incluster().is_ok()
}

/// Whether the environment names a kubeconfig.
pub(crate) fn is_named_by_environment() -> bool {
    std::env::var_os("KUBECONFIG").is_some_and(|files| !files.is_empty())
}

/// Whether the user may not do what was asked.
pub(crate) fn is_forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

/// Group, resource and scope of the kinds that every install makes.
pub(crate) fn installed_kinds() -> Vec<(&'static str, &'static str, bool)> {
    objects::KINDS.iter().filter(|kind| !kind.kind.ends_with("Monitor")).map(|kind| kind.in_review()).collect()
}

/// How long the API server may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn why_a_cluster_cannot_be_reached_is_said() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let config = Config::new(format!("http://{closed}").parse().unwrap());
        let cluster = Cluster {
            client: Client::try_from(config).unwrap(),
            namespace: "outrigger-system".into(),
            name: "test".into(),
            timeout: PATIENCE,
        };

        let error = cluster.client.apiserver_version().await.unwrap_err();

        let said = cluster.failure("cannot ask", error).to_string();
        assert!(said.contains("onnection refused"), "{said}");
        assert_eq!(said.matches("onnection refused").count(), 1, "{said}");
    }
}
