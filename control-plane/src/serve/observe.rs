//! `Observe`: tells another replica what the sidecars of this one have seen. While it asks, they report.

use std::pin::pin;

use futures_util::stream::unfold;
use outrigger_daemon::Drain;
use outrigger_proto::wire;
use tokio::time::Instant;
use tonic::Status;

use super::call::{Answer, Encoded};
use crate::observed::{Look, Observed};

/// Answers until the drain starts, or the other replica has enough.
pub(super) fn open(observed: Observed, request: wire::ObserveRequest, drain: Drain) -> Answer {
    let look = if request.live { Look::Live } else { Look::Slow };
    Answer::stream(unfold(Instant::now(), move |at| {
        let (observed, drain) = (observed.clone(), drain.clone());
        async move {
            let mut pause = pin!(tokio::time::sleep_until(at));
            tokio::select! {
                () = drain.started() => return None,
                () = &mut pause => {}
            }
            observed.look(look);
            let part = Encoded::new(&observed.part().wire());
            Some((Ok::<_, Status>(part), Instant::now() + TICK.min(look.every())))
        }
    }))
}

/// Sidecars of a replica do not report together: what has come is told soon.
const TICK: std::time::Duration = std::time::Duration::from_secs(2);
