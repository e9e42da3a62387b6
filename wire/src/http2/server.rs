//! The side that serves: each request's service, and the body of its response, are polled by the connection's own task.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Settings;
use super::error::{Error, Reason};
use super::incoming::Incoming;
use super::link::{Link, Workers};
use super::pump::Pump;
use super::ready::{self, DRAIN, FIRST_STREAM};
use super::send::Wrote;
use super::state::{Abandoned, Arrived, Role, Shared};
use super::stream::Key;
use crate::aside::{Aside, within};
use crate::cut::BoxError;

/// Serves one connection. `service` is called with each request; what its future yields is the response. With a [`Reason`] among its extensions
/// nothing of it is sent: the stream is reset for that reason. All of it runs in the caller's
/// task. When `drain` completes the connection goes away in good order: the peer is told, what it sent until it knew is served, then the
/// connection is closed (RFC 9113 §6.8). One without streams is closed a second later, whatever the peer does.
///
/// # Errors
/// If the connection did not end in good order.
///
/// # Cancel safety
/// When the future is dropped, so are the services' futures, and the connection.
pub async fn serve<I, S, F, B>(
    io: I,
    settings: &Settings,
    service: S,
    drain: impl Future<Output = ()>,
) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let drain = async {
        drain.await;
        b"".as_slice()
    };
    serve_until(io, settings, service, drain).await
}

/// As [`serve`]; what `drain` yields is said with GOAWAY as its debug data.
///
/// # Errors
/// As [`serve`].
///
/// # Cancel safety
/// As [`serve`].
pub async fn serve_until<I, S, F, B>(
    io: I,
    settings: &Settings,
    service: S,
    drain: impl Future<Output = &'static [u8]>,
) -> Result<(), Error>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let shared = Shared::new(Role::Server, settings);
    let drain = Some(pin!(drain));
    let services = Services { service, drain, drain_waker: ready::waker(&shared.ready, DRAIN), slots: Vec::new() };
    let mut link = Link::new(io, shared, settings, services);
    poll_fn(|cx| link.poll(cx)).await
}

/// The services at work, by the slots of their streams.
struct Services<'a, S, F, B, D> {
    service: S,
    drain: Option<Pin<&'a mut D>>,
    drain_waker: Waker,
    slots: Vec<Option<Slot<F, B>>>,
}

struct Slot<F, B> {
    /// `None` if there is no stream: the slot stays for the next.
    key: Option<Key>,
    task: Pin<Box<Task<F, B>>>,
    waker: Waker,
}

pin_project! {
    #[project = TaskProjection]
    enum Task<F, B> {
        Idle,
        Service { #[pin] future: F },
        // The head waits for room.
        Answer { head: Option<response::Parts>, pump: Pump<B> },
    }
}

impl<S, F, B, D> Workers for Services<'_, S, F, B, D>
where
    S: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
    D: Future<Output = &'static [u8]>,
{
    fn start(&mut self, arrived: Arrived, shared: &Arc<Shared>) {
        let Arrived { key, request, has_body, length } = arrived;
        let body = if has_body { Incoming::new(shared.clone(), key, length) } else { Incoming::empty() };
        let future = (self.service)(request.map(|()| body));
        let index = key.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        let slot = self.slots[index].get_or_insert_with(|| Slot {
            key: None,
            task: Box::pin(Task::Idle),
            waker: ready::waker(&shared.ready, FIRST_STREAM + index),
        });
        slot.key = Some(key);
        slot.task.set(Task::Service { future });
    }

    fn collect(&mut self, _: &Arc<Shared>, _: &mut Vec<u32>) {}

    fn poll(&mut self, slot: u32, shared: &Arc<Shared>) {
        let Some(slot) = self.slots.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let Some(key) = slot.key else { return };
        if slot.is_done(key, shared) {
            slot.key = None;
            slot.task.set(Task::Idle);
        }
    }

    fn abandon(&mut self, Abandoned { key, by }: Abandoned) {
        let Some(slot) = self.slots.get_mut(key.index()).and_then(Option::as_mut) else { return };
        if slot.key == Some(key) {
            slot.key = None;
            let mut aside = Aside { broken: by, ..Aside::default() };
            within(&mut aside, || slot.task.set(Task::Idle));
        }
    }

    fn drained(&mut self) -> Option<&'static [u8]> {
        let drain = self.drain.as_mut()?;
        let Poll::Ready(debug) = drain.as_mut().poll(&mut Context::from_waker(&self.drain_waker)) else { return None };
        self.drain = None;
        Some(debug)
    }

    fn told(&mut self, _: &[u8]) {}

    fn rest(&mut self) {
        while self.slots.pop_if(|slot| slot.as_ref().is_none_or(|slot| slot.key.is_none())).is_some() {}
        self.slots.shrink_to_fit();
    }
}

impl<F: Future<Output = Response<B>>, B: Body<Data = Bytes> + Unpin> Slot<F, B>
where
    B::Error: Into<BoxError>,
{
    fn is_done(&mut self, key: Key, shared: &Shared) -> bool {
        let mut cx = Context::from_waker(&self.waker);
        let mut aside = shared.aside(key);
        let response = match self.task.as_mut().project() {
            TaskProjection::Idle => return true,
            TaskProjection::Answer { head, pump } => {
                return within(&mut aside, || answer(head, pump, &mut cx, shared, key)).is_ready();
            }
            TaskProjection::Service { future } => within(&mut aside, || future.poll(&mut cx)),
        };
        shared.inform(key, &mut aside);
        let Poll::Ready(response) = response else { return false };
        if let Some(reason) = response.extensions().get::<Reason>() {
            shared.lock().reset(key, *reason, Error::GivenUp);
            return true;
        }
        let (parts, body) = response.into_parts();
        let (mut head, mut pump) = (Some(parts), Pump::new(body));
        let done = within(&mut aside, || answer(&mut head, &mut pump, &mut cx, shared, key)).is_ready();
        if !done {
            self.task.set(Task::Answer { head, pump });
        }
        done
    }
}

/// Writes an answer as far as there is room for it; ready when the stream needs nothing more.
fn answer<B: Body<Data = Bytes> + Unpin>(
    head: &mut Option<response::Parts>,
    pump: &mut Pump<B>,
    cx: &mut Context<'_>,
    shared: &Shared,
    key: Key,
) -> Poll<()>
where
    B::Error: Into<BoxError>,
{
    let Some(parts) = head else { return pump.poll(cx, shared, key) };
    let gathered = pump.gather(cx);
    let wrote = shared.lock().respond(key, (parts.status, &parts.headers), &mut pump.data, &mut pump.after);
    if wrote == Wrote::Nothing {
        return Poll::Pending;
    }
    *head = None;
    match wrote {
        Wrote::Over => Poll::Ready(()),
        Wrote::All if gathered.is_ready() => pump.poll(cx, shared, key),
        Wrote::All | Wrote::Blocked | Wrote::Nothing => Poll::Pending,
    }
}
