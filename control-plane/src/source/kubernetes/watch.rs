//! One task for each kind: finds the version that the cluster serves, lists, watches, and begins anew when told to.

use std::time::Duration;

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event as Watch};
use kube::{Api, Client};
use outrigger_daemon::Drain;
use tokio::sync::mpsc;

use super::kinds::{WATCHED, Watched};
use super::seen::Seen;
use crate::objects::{Kind, Object, ObjectId};
use crate::why::why;

/// What a watch tells.
#[derive(Debug)]
pub(super) enum News {
    /// A list begins.
    Listing,
    /// It is of the list.
    Listed(ObjectId, Result<Object, String>),
    /// The list is complete.
    Complete,
    /// It is new or has changed.
    Put(ObjectId, Result<Object, String>),
    /// It is gone.
    Gone(ObjectId),
    /// The cluster does not serve this kind.
    Absent,
    /// The cluster serves this kind, and we lack the right to read it.
    Denied(String),
    /// The watch fails; it goes on trying.
    Broken(String),
}

type Sender = mpsc::Sender<(Kind, News)>;

/// Starts all watches.
pub(super) fn all(client: &Client, news: &Sender, drain: &Drain) {
    start::<0>(client, news, drain);
    start::<1>(client, news, drain);
    start::<2>(client, news, drain);
    start::<3>(client, news, drain);
    start::<4>(client, news, drain);
    start::<5>(client, news, drain);
    start::<6>(client, news, drain);
    start::<7>(client, news, drain);
    start::<8>(client, news, drain);
    start::<9>(client, news, drain);
    start::<10>(client, news, drain);
    start::<11>(client, news, drain);
}

const _: () = assert!(WATCHED.len() == 12, "every kind has its watch");

fn start<const INDEX: usize>(client: &Client, news: &Sender, drain: &Drain) {
    let (client, news, stop) = (client.clone(), news.clone(), drain.clone());
    drain.spawn(async move {
        tokio::select! {
            () = stop.started() => {}
            () = watch::<INDEX>(client, news) => {}
        }
    });
}

async fn watch<const INDEX: usize>(client: Client, news: Sender) {
    let watched = &WATCHED[INDEX];
    loop {
        let (told, pause) = match watched.find(&client).await {
            Ok(Some(resource)) => {
                let api: Api<Seen<INDEX>> = Api::all_with(client.clone(), &resource);
                (follow(watched, api, &client, &news).await, LOOK_AGAIN)
            }
            Ok(None) => (Some(News::Absent), LOOK_AGAIN),
            Err(error) => (Some(News::Broken(why(&error))), MOST_PAUSE),
        };
        let Some(told) = told else { return };
        if news.send((watched.kind, told)).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// Follows one version; returns when the cluster no longer serves it, or with `None` when nobody listens any more.
async fn follow<const INDEX: usize>(
    watched: &Watched,
    api: Api<Seen<INDEX>>,
    client: &Client,
    news: &Sender,
) -> Option<News> {
    let mut stream = std::pin::pin!(watcher::watcher(api, watched.config()));
    let mut failures = 0;
    while let Some(event) = stream.next().await {
        let error = match event {
            Ok(event) => {
                // A list that begins has not succeeded yet.
                if !matches!(event, Watch::Init) {
                    failures = 0;
                }
                news.send((watched.kind, told(event))).await.ok()?;
                continue;
            }
            Err(error) => error,
        };
        // Custom resources come and go, and to be without them is no failure: whether it is another version now, or none,
        // is found out above. A right that is lacking is told, and does not hold up the others.
        if !watched.built_in && refused_with(&error, 404) {
            return Some(News::Absent);
        }
        if !watched.built_in && refused_with(&error, 403) {
            return Some(News::Denied(why(&error)));
        }
        // A watch of a kind that is gone may get something that is no answer at all.
        if !watched.built_in && matches!(watched.find(client).await, Ok(None)) {
            return Some(News::Absent);
        }
        // While it goes it is still found; by the second failure it is not.
        if watched.built_in || failures > 0 {
            news.send((watched.kind, News::Broken(why(&error)))).await.ok()?;
        }
        tokio::time::sleep(LEAST_PAUSE.saturating_mul(1 << failures.min(10)).min(MOST_PAUSE)).await;
        failures += 1;
    }
    Some(News::Broken("the watch has ended".to_owned()))
}

fn told<const INDEX: usize>(event: Watch<Seen<INDEX>>) -> News {
    match event {
        Watch::Init => News::Listing,
        Watch::InitApply(seen) => {
            let (id, object) = seen.into_parts();
            News::Listed(id, object)
        }
        Watch::InitDone => News::Complete,
        Watch::Apply(seen) => {
            let (id, object) = seen.into_parts();
            News::Put(id, object)
        }
        Watch::Delete(seen) => News::Gone(seen.into_parts().0),
    }
}

fn refused_with(error: &watcher::Error, code: u16) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == code,
        watcher::Error::InitialListFailed(_)
        | watcher::Error::WatchStartFailed(_)
        | watcher::Error::WatchFailed(_)
        | watcher::Error::NoResourceVersion => false,
    }
}

/// The wait after a first failure; it doubles.
const LEAST_PAUSE: Duration = Duration::from_millis(200);

/// New endpoints must be known within seconds after the API server is back.
const MOST_PAUSE: Duration = Duration::from_secs(4);

/// How often a kind is looked for that the cluster does not serve.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
