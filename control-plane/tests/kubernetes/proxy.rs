//! A way to the API server that can be cut.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Proxy {
    pub(crate) kubeconfig: PathBuf,
    up: Arc<watch::Sender<bool>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Stands between `kubeconfig` and its API server.
    pub(crate) async fn new(kubeconfig: &Path) -> Self {
        let mut config = kube::config::Kubeconfig::read_from(kubeconfig).unwrap();
        let cluster = config.clusters[0].cluster.as_mut().unwrap();
        let server: http::Uri = cluster.server.as_ref().unwrap().parse().unwrap();
        let host = server.host().unwrap().trim_matches(['[', ']']).to_owned();
        let target = format!("{}:{}", server.host().unwrap(), server.port_u16().unwrap_or(443));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        cluster.server = Some(format!("https://{listen}"));
        cluster.tls_server_name.get_or_insert(host);
        let path = std::env::temp_dir().join(format!("outrigger-proxy-{}.kubeconfig", listen.port()));
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
        let up = Arc::new(watch::Sender::new(true));
        let task = tokio::spawn(run(listener, target, up.clone()));
        Self { kubeconfig: path, up, task }
    }

    /// Cuts all connections and refuses new ones, or lets them through again.
    pub(crate) fn set(&self, up: bool) {
        self.up.send_replace(up);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

async fn run(listener: TcpListener, target: String, up: Arc<watch::Sender<bool>>) {
    loop {
        let (mut client, _): (TcpStream, SocketAddr) = listener.accept().await.unwrap();
        let mut state = up.subscribe();
        if !*state.borrow() {
            continue;
        }
        let target = target.clone();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(target).await else { return };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = state.wait_for(|up| !up) => {}
            }
        });
    }
}
