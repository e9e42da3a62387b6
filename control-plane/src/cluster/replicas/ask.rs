//! One other replica: dials it when there is something to ask, and keeps what it answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use outrigger_proto::wire::mesh_client::MeshClient;
use parking_lot::Mutex;
use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;
use tracing::{debug, warn};

use super::dial::dial;
use super::{Answer, Question};
use crate::ca::Authority;

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
                None => match dial(&self.authority, self.address).await {
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
}

const PAUSE: Duration = Duration::from_secs(1);
