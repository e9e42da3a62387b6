//! The body of a review: how large, how fast, and how much of all of them is in memory at a time. Whoever reaches the port may
//! send one, so none may cost many times what it took to send.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The memory that the bodies of one connection may take, and those of all.
#[derive(Debug)]
pub(crate) struct Bodies {
    all: Arc<Semaphore>,
    here: Arc<Semaphore>,
}

/// A body that has come to its end; dropping it gives its memory back.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _memory: Option<[OwnedSemaphorePermit; 2]>,
}

impl Bodies {
    /// The memory for all connections.
    pub(crate) fn of_all() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(MAX_OF_ALL))
    }

    /// The memory for one of them.
    pub(crate) fn new(all: Arc<Semaphore>) -> Self {
        Self { all, here: Arc::new(Semaphore::new(MAX_OF_CONNECTION)) }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// When it is too large, too slow, too much beside others, or breaks off.
    pub(crate) async fn read<B>(&self, body: B) -> Result<Whole, Unread>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        timeout(LIMIT, self.collect(body)).await.map_err(|_| Unread::Slow)?
    }

    async fn collect<B>(&self, mut body: B) -> Result<Whole, Unread>
    where
        B: Body<Data = Bytes, Error: std::fmt::Display> + Unpin,
    {
        let (mut bytes, mut memory) = (BytesMut::new(), None::<[OwnedSemaphorePermit; 2]>);
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| Unread::Broken(error.to_string()))?.into_data() else { continue };
            if bytes.len() + data.len() > MAX_BODY {
                return Err(Unread::Large);
            }
            let len = u32::try_from(data.len()).map_err(|_| Unread::Large)?;
            let take = |of: &Arc<Semaphore>| of.clone().try_acquire_many_owned(len).map_err(|_| Unread::Many);
            let [here, all] = [take(&self.here)?, take(&self.all)?];
            match &mut memory {
                Some([of_here, of_all]) => {
                    of_here.merge(here);
                    of_all.merge(all);
                }
                None => memory = Some([here, all]),
            }
            bytes.extend_from_slice(&data);
        }
        if elements(&bytes) > MAX_ELEMENTS {
            return Err(Unread::Elements);
        }
        Ok(Whole { bytes: bytes.freeze(), _memory: memory })
    }
}

/// Counts what begins or parts elements of JSON. Those in strings count as well: no pod has so many.
fn elements(json: &[u8]) -> usize {
    json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count()
}

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    #[error("the body is larger than {MAX_BODY} bytes")]
    Large,
    #[error("the body has more than {MAX_ELEMENTS} elements")]
    Elements,
    #[error("the body did not come within {LIMIT:?}")]
    Slow,
    #[error("too many bodies are being read at the same time")]
    Many,
    #[error("the body cannot be read: {0}")]
    Broken(String),
}

impl Unread {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Large | Self::Elements | Self::Broken(_) => StatusCode::BAD_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Many => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// A pod has at most 1.5 MiB in etcd; the review has the old and the new one, and more around them.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Two of the largest, or five hundred of the usual ones.
const MAX_OF_CONNECTION: usize = 2 * MAX_BODY;

/// A third of the memory that the chart gives the injector.
const MAX_OF_ALL: usize = 10 * MAX_BODY;

/// As a value in memory each takes up to 100 bytes; the largest pods have tens of thousands.
const MAX_ELEMENTS: usize = 256 * 1024;

/// The API server has the body when it asks, and waits ten seconds for the answer.
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    use super::*;

    fn body(frames: usize, bytes: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        let frame = Bytes::from(vec![b' '; bytes]);
        StreamBody::new(stream::iter((0..frames).map(move |_| Ok(Frame::data(frame.clone())))))
    }

    /// One that never ends.
    fn slow(bytes: usize) -> impl Body<Data = Bytes, Error = Infallible> + Unpin {
        use futures_util::StreamExt as _;
        let first = Ok(Frame::data(Bytes::from(vec![b' '; bytes])));
        StreamBody::new(stream::iter([first]).chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_within_its_limits() {
        let bodies = Bodies::new(Bodies::of_all());
        assert_eq!(bodies.read(body(64, MAX_BODY / 64)).await.unwrap().bytes.len(), MAX_BODY);
        assert_eq!(bodies.read(body(65, MAX_BODY / 64)).await.unwrap_err(), Unread::Large);
        assert_eq!(bodies.read(slow(1)).await.unwrap_err(), Unread::Slow);
        let commas = Bytes::from(vec![b','; MAX_ELEMENTS + 1]);
        let many = StreamBody::new(stream::iter([Ok::<_, Infallible>(Frame::data(commas))]));
        assert_eq!(bodies.read(many).await.unwrap_err(), Unread::Elements);
        assert_eq!(bodies.here.available_permits(), MAX_OF_CONNECTION, "all is given back");
        assert_eq!(bodies.all.available_permits(), MAX_OF_ALL);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_bodies_of_one_connection_leave_room_for_those_of_others() {
        let all = Bodies::of_all();
        let (loud, quiet) = (Bodies::new(all.clone()), Bodies::new(all.clone()));
        let slow = futures_util::future::join_all((0..16).map(|_| loud.read(slow(MAX_BODY))));
        let other = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            quiet.read(body(1, MAX_BODY)).await.map(|whole| whole.bytes.len())
        };

        let (slow, other) = tokio::join!(slow, other);

        assert_eq!(other, Ok(MAX_BODY));
        let count =
            |what: &Unread| slow.iter().filter(|ended| ended.as_ref().is_err_and(|unread| unread == what)).count();
        assert_eq!((count(&Unread::Slow), count(&Unread::Many)), (2, 14));
        assert_eq!(all.available_permits(), MAX_OF_ALL);
    }
}
