//! A control plane on two folders.

use std::time::{Duration, SystemTime};

use outrigger_control_plane::ca::{Authority, PublicKey, Subject, Tokens};
use outrigger_control_plane::{Config, Running, start};
use outrigger_daemon::Drain;
use outrigger_identity::{Credentials, KeyPair, TrustBundle};
use outrigger_proto::wire;
use outrigger_proto::wire::mesh_client::MeshClient;
use tonic::Status;
use tonic::transport::Channel;

use super::folder::Folder;
use super::peer::{self, Dial, connect, credentials};

pub(crate) const SHOP: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.1
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, appProtocol: http}]
---
apiVersion: outrigger.io/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {address: 127.0.0.1, serviceAccountName: web}
---
apiVersion: outrigger.io/v1alpha1
kind: Workload
metadata: {name: far, namespace: shop}
spec: {address: 10.1.0.9}
";

/// A control plane with its folders.
pub(crate) struct ControlPlane {
    pub(crate) objects: Folder,
    pub(crate) ca: Folder,
    pub(crate) running: Running,
}

impl ControlPlane {
    pub(crate) async fn start() -> Self {
        let (objects, ca) = (Folder::new(), Folder::new());
        objects.save("shop.yaml", SHOP);
        let running = run(&objects, &ca).await;
        Self { objects, ca, running }
    }

    /// Stops it and starts another one on the same folders.
    pub(crate) async fn restart(self) -> Self {
        let Self { objects, ca, running } = self;
        running.stop().await;
        let running = run(&objects, &ca).await;
        Self { objects, ca, running }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        let pem = std::fs::read(self.ca.path().join("root.pem")).unwrap();
        TrustBundle::from_pem("mesh.local".parse().unwrap(), &pem).unwrap()
    }

    pub(crate) fn token(&self, workload: &str) -> String {
        self.token_until(workload, SystemTime::now() + Duration::from_secs(600))
    }

    pub(crate) fn token_until(&self, workload: &str, end: SystemTime) -> String {
        let lifetime = Duration::from_secs(600);
        let tokens = Tokens::open(self.ca.path()).unwrap();
        tokens.mint(&workload.parse().unwrap(), lifetime, end - lifetime).unwrap()
    }

    /// Joins as a workload.
    pub(crate) async fn join(&self, workload: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let answer = self.certify(None, key.csr().unwrap(), self.token(workload)).await.unwrap();
        credentials(&key, answer)
    }

    pub(crate) async fn certify(
        &self,
        own: Option<&Credentials>,
        csr: Vec<u8>,
        token: String,
    ) -> Result<wire::CertifyResponse, Status> {
        let mut client = self.client(own).await;
        let answer = client.certify(wire::CertifyRequest { csr: csr.into(), token }).await;
        answer.map(tonic::Response::into_inner)
    }

    /// The same CA once more: a folder has one user, so this one has a copy.
    pub(crate) fn authority(&self) -> Authority {
        let copy = Folder::new();
        for file in std::fs::read_dir(self.ca.path()).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
            }
        }
        let lifetime = Duration::from_secs(3600);
        Authority::open(copy.path(), "mesh.local".parse().unwrap(), lifetime, SystemTime::now()).unwrap()
    }

    /// A leaf that this control plane's CA has signed, whoever has it now.
    pub(crate) fn signed(&self, identity: &str, workload: Option<&str>, uid: Option<&str>) -> Credentials {
        self.signed_by(&self.authority(), identity, workload, uid)
    }

    pub(crate) fn signed_by(
        &self,
        authority: &Authority,
        identity: &str,
        workload: Option<&str>,
        uid: Option<&str>,
    ) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let public = PublicKey::from_csr(&key.csr().unwrap()).unwrap();
        let subject = Subject {
            identity: identity.parse().unwrap(),
            workload: workload.map(|workload| workload.parse().unwrap()),
            uid: uid.map(Into::into),
        };
        let chain = authority.issue(&public, &subject, SystemTime::now()).unwrap();
        Credentials::new(&key, chain).unwrap()
    }

    /// Reads an admin page until it says what is expected.
    pub(crate) async fn page_with(&self, path: &str, expected: &str) -> String {
        peer::page_with(self.running.admin, path, expected).await
    }
}

impl Dial for ControlPlane {
    async fn client(&self, own: Option<&Credentials>) -> MeshClient<Channel> {
        connect([127, 0, 0, 1].into(), self.running.listen, own, &self.bundle()).await
    }
}

async fn run(objects: &Folder, ca: &Folder) -> Running {
    let config = Config::for_folders(objects.path().to_owned(), ca.path().to_owned());
    let mut running = start(config, Drain::new()).await.unwrap();
    while !running.latest.take().state.synced() {
        assert!(running.latest.changed().await);
    }
    running
}
