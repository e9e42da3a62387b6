//! The side that asks. A request's head, and what is at hand of its body, are written where it is sent; only the rest of a body is left to
//! the connection's task.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Response, request};
use http_body::Body;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use super::error::Error;
use super::incoming::Incoming;
use super::link::{Link, Workers};
use super::pump::Pump;
use super::ready::{self, FIRST_STREAM};
use super::send::{Opening, Wrote};
use super::state::{Abandoned, Arrived, Role, Shared};
use super::stream::Key;
use crate::cut::BoxError;

/// Makes a connection of `io`: what sends requests over it, and the future that has to run for it. That ends when the peer goes away or
/// fails, or when every sender was dropped and the last request is done.
pub fn connect<I, B>(
    io: I,
    settings: &Settings,
) -> (Sender<B>, impl Future<Output = Result<(), Error>> + Send + use<I, B>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send,
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: Into<BoxError>,
{
    connect_told(io, settings, |_: &[u8]| {})
}

/// As [`connect`]; `told` is given what the server says with its GOAWAY, as its debug data, as soon as that comes.
pub fn connect_told<I, B, T>(
    io: I,
    settings: &Settings,
    told: T,
) -> (Sender<B>, impl Future<Output = Result<(), Error>> + Send + use<I, B, T>)
where
    T: FnOnce(&[u8]) + Send + 'static,
    I: AsyncRead + AsyncWrite + Unpin + Send,
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: Into<BoxError>,
{
    let shared = Shared::new(Role::Client, settings);
    let bodies = Arc::new(Handed(Mutex::new(Vec::new())));
    let sender = Sender { side: Arc::new(Side { shared: shared.clone(), bodies: bodies.clone() }) };
    let pumps = Pumps { handed: bodies, slots: Vec::new(), wakers: Vec::new(), told: Some(Box::new(told)) };
    let mut link = Link::new(io, shared, settings, pumps);
    (sender, async move { poll_fn(|cx| link.poll(cx)).await })
}

/// Sends requests over a connection.
pub struct Sender<B> {
    side: Arc<Side<B>>,
}

/// Bodies that the connection's task shall take over.
struct Handed<B>(Mutex<Vec<(Key, Pump<B>)>>);

struct Side<B> {
    shared: Arc<Shared>,
    bodies: Arc<Handed<B>>,
}

impl<B> Sender<B> {
    /// Whether the connection takes no more requests: the peer goes away, the ids are used up, or it is broken.
    pub fn is_closed(&self) -> bool {
        self.side.shared.lock().is_closed()
    }

    /// How many streams the peer takes at once; none if the connection takes no more requests.
    pub fn max_streams(&self) -> usize {
        let state = self.side.shared.lock();
        if state.is_closed() { 0 } else { state.peer_streams.min(state.max_streams) }
    }

    /// Waits until the peer has said what it takes.
    ///
    /// # Errors
    /// If the connection ends before.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn settled(&self) -> Result<(), Error> {
        let shared = &self.side.shared;
        let mut waiting = Waiting { shared, ticket: None };
        poll_fn(|cx| {
            shared.with(|state| {
                if let Some(error) = &state.broken {
                    return Poll::Ready(Err(error.clone()));
                }
                if state.input.is_settled() {
                    return Poll::Ready(Ok(()));
                }
                state.wait(&mut waiting.ticket, cx.waker());
                Poll::Pending
            })
        })
        .await
    }
}

impl<B: Body<Data = Bytes> + Unpin> Sender<B>
where
    B::Error: Into<BoxError>,
{
    /// Sends a request, whose head may be used again, and waits for the head of its response; before that, if the peer takes no more streams, for its turn. The body
    /// goes on when the response has begun.
    ///
    /// # Errors
    /// If there is no response; [`Error::is_unprocessed`] says whether the request may be sent again.
    ///
    /// # Cancel safety
    /// When the future is dropped the stream is reset and the body dropped.
    pub async fn send(&self, head: &request::Parts, body: B) -> Result<Response<Incoming>, Error> {
        let shared = &self.side.shared;
        let empty = body.is_end_stream();
        let mut pump = Pump::new(body);
        let mut turn = Turn { shared, empty, ticket: None, opened: false };
        let (key, wrote) = poll_fn(|cx| turn.poll(head, &mut pump, cx)).await?;
        drop(turn);
        let mut incoming = Incoming::new(shared.clone(), key, None);
        if wrote != Wrote::Over {
            self.side.bodies.0.lock().push((key, pump));
            shared.ready.notify();
        }
        let answer = poll_fn(|cx| {
            shared.tell_end(key);
            match shared.with(|state| state.take_head(key, cx.waker())) {
                Some(answer) => Poll::Ready(answer),
                None => Poll::Pending,
            }
        })
        .await?;
        if answer.has_body {
            incoming.expect(answer.length);
        } else {
            incoming.release();
        }
        Ok(answer.response.map(|()| incoming))
    }
}

impl<B> Clone for Sender<B> {
    fn clone(&self) -> Self {
        Self { side: self.side.clone() }
    }
}

impl<B> fmt::Debug for Sender<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<B> Drop for Side<B> {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.senders_gone = true;
            state.stirred = true;
        });
    }
}

/// Somebody who waits for the peer's SETTINGS.
struct Waiting<'a> {
    shared: &'a Shared,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.with(|state| state.stop_waiting(ticket, true));
        }
    }
}

/// A request that waits for a stream.
struct Turn<'a> {
    shared: &'a Shared,
    /// There is no body.
    empty: bool,
    ticket: Option<u64>,
    opened: bool,
}

impl Turn<'_> {
    fn poll<B>(
        &mut self,
        parts: &request::Parts,
        pump: &mut Pump<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(Key, Wrote), Error>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        // What the body has not ready yet goes after the head.
        let _ = pump.gather(cx);
        let opening = self.shared.with(|state| {
            let opening = state.open(parts, self.empty, &mut pump.data, &mut pump.after);
            if matches!(opening, Opening::Wait) {
                state.wait(&mut self.ticket, cx.waker());
            }
            opening
        });
        match opening {
            Opening::Opened(key, wrote) => {
                self.opened = true;
                Poll::Ready(Ok((key, wrote)))
            }
            Opening::Closed => Poll::Ready(Err(Error::Unsent)),
            Opening::TooLarge { size, most } => Poll::Ready(Err(Error::HeadTooLarge { size, most })),
            Opening::Wait => Poll::Pending,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.with(|state| state.stop_waiting(ticket, self.opened));
        }
    }
}

/// The bodies on their way, by the slots of their streams.
struct Pumps<B> {
    handed: Arc<Handed<B>>,
    slots: Vec<Option<(Key, Pump<B>)>>,
    wakers: Vec<Option<Waker>>,
    told: Option<Told>,
}

/// Hears what the server says with its GOAWAY.
type Told = Box<dyn FnOnce(&[u8]) + Send>;

impl<B: Body<Data = Bytes> + Unpin> Workers for Pumps<B>
where
    B::Error: Into<BoxError>,
{
    fn start(&mut self, _: Arrived, _: &Arc<Shared>) {}

    fn collect(&mut self, shared: &Arc<Shared>, poll: &mut Vec<u32>) {
        let handed = std::mem::take(&mut *self.handed.0.lock());
        for (key, pump) in handed {
            if !shared.lock().hand_over(key) {
                continue;
            }
            let index = key.index();
            if index >= self.slots.len() {
                self.slots.resize_with(index + 1, || None);
                self.wakers.resize(index + 1, None);
            }
            self.slots[index] = Some((key, pump));
            poll.push(key.slot);
        }
    }

    fn poll(&mut self, slot: u32, shared: &Arc<Shared>) {
        let index = slot as usize;
        let Some((key, pump)) = self.slots.get_mut(index).and_then(Option::as_mut) else { return };
        let waker = self.wakers[index].get_or_insert_with(|| ready::waker(&shared.ready, FIRST_STREAM + index));
        if pump.poll(&mut Context::from_waker(waker), shared, *key).is_ready() {
            self.slots[index] = None;
        }
    }

    fn abandon(&mut self, Abandoned { key, .. }: Abandoned) {
        if let Some(slot) = self.slots.get_mut(key.index())
            && slot.as_ref().is_some_and(|(held, _)| *held == key)
        {
            *slot = None;
        }
    }

    fn drained(&mut self) -> Option<&'static [u8]> {
        None
    }

    fn told(&mut self, debug: &[u8]) {
        if let Some(told) = self.told.take() {
            told(debug);
        }
    }

    fn rest(&mut self) {
        while self.slots.pop_if(|slot| slot.is_none()).is_some() {}
        self.wakers.truncate(self.slots.len());
        self.slots.shrink_to_fit();
        self.wakers.shrink_to_fit();
    }
}
