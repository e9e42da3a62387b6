//! gRPC calls over HTTP/2: the messages of a request, and the answer to it.
//!
//! Thousands of calls stay open for hours, and what each keeps counts. tonic's server keeps a buffer as large as the
//! largest message that the call has ever sent; here an answer keeps nothing.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HeaderValue};
use hyper::body::{Body, Frame, Incoming};
use outrigger_proto::Codec;
use prost::Message;
use tokio::sync::mpsc;
use tonic::codec::Codec as _;
use tonic::{Status, Streaming};

/// Returns the messages of a request.
pub(super) fn messages<T: Message + Default + 'static>(body: Incoming) -> Streaming<T> {
    Streaming::new_request(Codec::<T, T>::default().decoder(), body, None, Some(MAX_MESSAGE))
}

/// Returns the one message of a request.
pub(super) async fn message<T: Message + Default + 'static>(body: Incoming) -> Result<T, Status> {
    let message = messages(body).message().await?;
    message.ok_or_else(|| Status::invalid_argument("the request has no message"))
}

/// The response to a call.
pub(super) fn response(answer: Result<Answer, Status>) -> http::Response<Answer> {
    match answer {
        Ok(answer) => {
            let mut response = http::Response::new(answer);
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The messages of a response, and its end.
#[derive(Debug)]
pub(crate) struct Answer(Rest);

#[derive(Debug)]
enum Rest {
    /// As they come; the answer ends well when nobody sends any more.
    Stream(mpsc::Receiver<Next>),
    One(Encoded),
    Status(Status),
    Nothing,
}

/// The next message of a stream, or how the stream ends. Boxed: tokio's channel has room for 32 of them from the start.
pub(super) type Next = Box<Result<Encoded, Status>>;

/// A message as a response carries it.
#[derive(Debug)]
pub(crate) struct Encoded(Bytes);

impl Encoded {
    /// Encodes a message.
    pub(super) fn new(message: &impl Message) -> Self {
        let len = message.encoded_len();
        let mut bytes = BytesMut::with_capacity(PREFIX + len);
        bytes.put_u8(0); // not compressed
        // What we send is limited far below 4 GiB.
        bytes.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
        message.encode_raw(&mut bytes);
        Self(bytes.freeze())
    }
}

impl Answer {
    /// Makes an answer of one message.
    pub(super) fn one(message: &impl Message) -> Self {
        Self(Rest::One(Encoded::new(message)))
    }

    /// Makes an answer whose messages come one after the other: the next is taken when the connection is ready for it.
    pub(super) fn stream() -> (mpsc::Sender<Next>, Self) {
        // One slot: what is not yet taken by the connection is not yet made.
        let (messages, rest) = mpsc::channel(1);
        (messages, Self(Rest::Stream(rest)))
    }
}

impl Default for Answer {
    fn default() -> Self {
        Self(Rest::Nothing)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let status = match &mut self.0 {
            Rest::Stream(messages) => match ready!(messages.poll_recv(cx)).map(|next| *next) {
                Some(Ok(Encoded(message))) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Some(Err(status)) => status,
                None => Status::ok(""),
            },
            Rest::One(Encoded(message)) => {
                let message = std::mem::take(message);
                self.0 = Rest::Status(Status::ok(""));
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            Rest::Status(status) => status.clone(),
            Rest::Nothing => return Poll::Ready(None),
        };
        self.0 = Rest::Nothing;
        let mut trailers = http::HeaderMap::new();
        // Fails for metadata that is no header, and ours has none.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Rest::Nothing)
    }
}

/// What comes before each message: whether it is compressed, and how long it is.
const PREFIX: usize = 5;

/// A Hello of a sidecar with all subscriptions and what it holds is below 2 MiB.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::poll_fn};
    use outrigger_proto::wire::Ack;

    use super::*;

    /// What is there of an answer: the messages and, when it has ended, its status.
    fn read(answer: &mut Answer) -> (Vec<Bytes>, Option<Status>) {
        let (mut messages, mut status) = (Vec::new(), None);
        while let Some(Some(Ok(frame))) = poll_fn(|cx| Pin::new(&mut *answer).poll_frame(cx)).now_or_never() {
            match frame.into_data() {
                Ok(data) => messages.push(data),
                Err(trailers) => status = Status::from_header_map(trailers.trailers_ref().unwrap()),
            }
        }
        (messages, status)
    }

    #[test]
    fn messages_come_with_their_length_and_the_status_comes_last() {
        let (messages, mut answer) = Answer::stream();
        let ack = Ack { resources: vec![outrigger_proto::wire::Held { key: "k".into(), version: 0 }] };

        messages.try_send(Box::new(Ok(Encoded::new(&ack)))).unwrap();
        let (frames, status) = read(&mut answer);
        assert_eq!(frames, [&b"\0\0\0\0\x05\x0a\x03\x0a\x01k"[..]]);
        assert!(status.is_none() && !answer.is_end_stream());

        messages.try_send(Box::new(Err(Status::unavailable("gone: 100%")))).unwrap();
        let (frames, status) = read(&mut answer);
        let status = status.unwrap();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "gone: 100%"));
        assert!(frames.is_empty() && answer.is_end_stream());
    }

    #[test]
    fn an_answer_to_which_nothing_is_added_any_more_ends_well() {
        let (messages, mut answer) = Answer::stream();
        drop(messages);
        assert_eq!(read(&mut answer).1.unwrap().code(), tonic::Code::Ok);

        let (frames, status) = read(&mut Answer::one(&Ack::default()));
        assert_eq!((frames.len(), status.unwrap().code()), (1, tonic::Code::Ok));
    }

    #[test]
    fn a_call_that_is_refused_says_so_in_its_head() {
        let response = response(Err(Status::unimplemented("no such call")));

        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_end_stream());
    }
}
