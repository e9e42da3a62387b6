//! A control plane of the cluster.

use std::net::IpAddr;
use std::path::Path;

use outrigger_control_plane::{Config, Running, start};
use outrigger_daemon::Drain;
use outrigger_identity::{Credentials, KeyPair, TrustBundle};
use outrigger_proto::wire;
use outrigger_proto::wire::mesh_client::MeshClient;
use tonic::Status;
use tonic::transport::Channel;

use super::api::Namespace;
use super::peer::{self, Dial, connect, credentials};

pub(crate) struct ControlPlane {
    pub(crate) running: Running,
    bundle: TrustBundle,
}

impl ControlPlane {
    /// Starts one that keeps its CA in this namespace.
    pub(crate) async fn start(kubeconfig: &Path, namespace: &Namespace) -> Self {
        Self::replica(kubeconfig, namespace, "one").await
    }

    pub(crate) async fn replica(kubeconfig: &Path, namespace: &Namespace, replica: &str) -> Self {
        let mut config = Config::for_cluster(kubeconfig.to_owned(), namespace.name.clone());
        config.replica = Some(replica.to_owned());
        config.injector_webhook.clone_from(&namespace.name);
        let mut running = start(config, Drain::new()).await.unwrap();
        assert!(running.latest.synced().await);
        let secret = namespace.api("v1", "Secret", "secrets").get("outrigger-ca").await.unwrap();
        let pem = secret.data["data"]["root.pem"].as_str().unwrap().as_bytes();
        let pem = data_encoding::BASE64.decode(pem).unwrap();
        let bundle = TrustBundle::from_pem("mesh.local".parse().unwrap(), &pem).unwrap();
        Self { running, bundle }
    }

    /// Asks for a leaf from an address of this machine.
    pub(crate) async fn certify(
        &self,
        from: &str,
        own: Option<&Credentials>,
        token: String,
    ) -> Result<Credentials, Status> {
        let from: IpAddr = from.parse().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut client = connect(from, self.running.listen, own, &self.bundle).await;
        let request = wire::CertifyRequest { csr: key.csr().unwrap().into(), token };
        client.certify(request).await.map(|answer| credentials(&key, answer.into_inner()))
    }

    /// Joins as a meshed pod.
    pub(crate) async fn join(&self, namespace: &Namespace, pod: &str) -> Credentials {
        let uid = namespace.pod(pod, "127.0.0.1", true).await;
        let token = namespace.token("outrigger", Some((pod, &uid))).await;
        self.certify("127.0.0.1", None, token).await.unwrap()
    }

    pub(crate) async fn page_with(&self, path: &str, expected: &str) -> String {
        peer::page_with(self.running.admin, path, expected).await
    }
}

impl Dial for ControlPlane {
    async fn client(&self, own: Option<&Credentials>) -> MeshClient<Channel> {
        connect([127, 0, 0, 1].into(), self.running.listen, own, &self.bundle).await
    }
}
