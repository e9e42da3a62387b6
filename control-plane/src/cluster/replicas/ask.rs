//! One other replica: dials it when there is something to ask, and keeps what it answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use outrigger_identity::control_plane_client_config;
use outrigger_proto::wire::mesh_client::MeshClient;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tonic::Status;
use tonic::transport::{Channel, Endpoint, Uri};
use tracing::{debug, warn};

use super::{Answer, Question};
use crate::ca::{Authority, control_plane_identity};
use crate::why::why;

/// The task of one other replica.
pub(super) struct Asker {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    pub(super) authority: Arc<Authority>,
    pub(super) question: watch::Receiver<Arc<Question>>,
    pub(super) answer: Arc<Mutex<Answer>>,
    pub(super) answers: watch::Sender<()>,
}

impl Asker {
    /// Runs until nobody asks any more.
    pub(super) async fn run(mut self) {
        let mut client = None;
        let mut failed = false;
        loop {
            if self.question.borrow_and_update().request.carriers.is_empty() {
                if self.question.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let asked = match client.take() {
                Some(client) => self.follow(client).await,
                None => match self.dial().await {
                    Ok(client) => self.follow(client).await,
                    Err(error) => Err(error),
                },
            };
            match asked {
                Ok(Some(same)) => {
                    client = Some(same);
                    failed = false;
                }
                Ok(None) => return,
                Err(error) => {
                    if std::mem::replace(&mut failed, true) {
                        debug!(replica = &*self.name, error, "cannot ask another replica");
                    } else {
                        warn!(replica = &*self.name, error, "cannot ask another replica how far its sidecars are");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Asks, and takes answers until there is another question: then the client comes back. `None`: nobody asks any more.
    async fn follow(&mut self, mut client: MeshClient<Channel>) -> Result<Option<MeshClient<Channel>>, String> {
        let question = self.question.borrow_and_update().clone();
        let said = |status: Status| format!("{}: {}", status.code(), status.message());
        let mut answers = client.progress(question.request.clone()).await.map_err(said)?.into_inner();
        loop {
            tokio::select! {
                answer = answers.message() => {
                    let answer = answer.map_err(said)?.ok_or_else(|| "it is going away".to_owned())?;
                    *self.answer.lock() = Answer { question: question.number, progress: answer.progress };
                    self.answers.send_replace(());
                }
                changed = self.question.changed() => return Ok(changed.is_ok().then_some(client)),
            }
        }
    }

    async fn dial(&self) -> Result<MeshClient<Channel>, String> {
        let identity = control_plane_identity(self.authority.domain()).map_err(|error| why(&error))?;
        let own = self.authority.own_credentials(SystemTime::now()).map_err(|error| why(&error))?;
        let config = control_plane_client_config(Some(&own), &self.authority.bundle(), &identity);
        let config = Arc::new(config.map_err(|error| why(&error))?);
        let address = self.address;
        let connector = tower::service_fn(move |_: Uri| {
            let config = config.clone();
            async move {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                let name = ServerName::IpAddress(address.ip().into());
                Ok::<_, io::Error>(TokioIo::new(TlsConnector::from(config).connect(name, tcp).await?))
            }
        });
        // The name is for HTTP/2's :authority only: the connector knows where to go.
        let endpoint = Endpoint::from_static("http://control-plane")
            .connect_timeout(LIMIT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(LIMIT);
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| why(&error))?;
        Ok(MeshClient::new(channel).max_decoding_message_size(MAX_ANSWER))
    }
}

const LIMIT: Duration = Duration::from_secs(3);
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_secs(1);

/// One answer for each part of the largest question, with words of sidecars.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
