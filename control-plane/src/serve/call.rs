//! gRPC calls over HTTP/2: the messages of a request, and the answer to it.
//!
//! Thousands of calls stay open for hours, and what each keeps counts. tonic's server keeps buffers as large as the
//! largest message that the call has ever received and sent; here nothing is kept between two messages.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{BoxStream, Stream, StreamExt as _};
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::{Body, Frame};
use outrigger_wire::http2::Incoming;
use prost::Message;
use tonic::Status;

use super::caller::Caller;
use super::share::Memory;
use super::subscription::MAX_HELD;

/// The messages of a request.
#[derive(Debug)]
pub(super) struct Request<T, B = Incoming> {
    body: B,
    /// What has come of the next message.
    unread: BytesMut,
    /// How large a message may be.
    max_message: usize,
    /// Where a message is counted that is larger than a few.
    memory: Option<Memory>,
    message: PhantomData<fn() -> T>,
}

impl<T, B> Request<T, B>
where
    T: Message + Default,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Unpin,
{
    pub(super) fn new(body: B, max_message: usize) -> Self {
        Self { body, unread: BytesMut::new(), max_message, memory: None, message: PhantomData }
    }

    /// Counts what has come of messages as held for a workload.
    pub(super) fn count(&mut self, memory: Memory) {
        self.memory = Some(memory);
    }

    /// Returns the next message; `None` when the caller sends no more. Nothing is lost when it is dropped before it completes.
    pub(super) async fn message(&mut self) -> Result<Option<T>, Status> {
        loop {
            if let Some(message) = self.whole_message()? {
                return Ok(Some(message));
            }
            match poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx)).await {
                // Trailers say nothing to a server.
                Some(Ok(frame)) => {
                    frame.into_data().iter().for_each(|data| self.unread.extend_from_slice(data));
                    self.account()?;
                }
                Some(Err(error)) => return Err(Status::from_error(Box::new(error))),
                None if self.unread.is_empty() => return Ok(None),
                None => return Err(Status::invalid_argument("the request ends within a message")),
            }
        }
    }

    /// Returns the one message of a request.
    pub(super) async fn only_message(mut self) -> Result<T, Status> {
        let message = self.message().await?;
        message.ok_or_else(|| Status::invalid_argument("the request has no message"))
    }

    fn whole_message(&mut self) -> Result<Option<T>, Status> {
        let Some((&[compressed, a, b, c, d], rest)) = self.unread.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(Status::unimplemented("compressed messages are not read here"));
        }
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if len > self.max_message {
            let limit = self.max_message;
            return Err(Status::resource_exhausted(format!("a message of {len} bytes: at most {limit} are read")));
        }
        let Some(message) = rest.get(..len) else { return Ok(None) };
        if elements(message) > MAX_ELEMENTS {
            return Err(Status::resource_exhausted(format!("a message of more than {MAX_ELEMENTS} elements")));
        }
        let message = T::decode(message).map_err(|error| Status::invalid_argument(error.to_string()))?;
        self.unread.advance(PREFIX + len);
        if self.unread.is_empty() {
            self.unread = BytesMut::new(); // gives the buffer back
        }
        self.account()?;
        Ok(Some(message))
    }

    fn account(&mut self) -> Result<(), Status> {
        let len = self.unread.len();
        match &mut self.memory {
            // What the window lets come anyway is the connection's.
            Some(memory) => Ok(memory.set(if len > SMALL { len } else { 0 })?),
            None => Ok(()),
        }
    }
}

/// Counts what a message has inside, and inside of that: decoded, each element takes tens of bytes, and two on the wire (the
/// Protocol Buffers' encoding: a tag, then a varint, 4 or 8 bytes, or a length and so many). What cannot be read is left to the decoder.
fn elements(message: &[u8]) -> usize {
    let mut rest = message;
    let mut count = 0;
    while let Some(inner) = field(&mut rest) {
        count += 1;
        let mut inner = inner;
        while field(&mut inner).is_some() {
            count += 1;
        }
    }
    count
}

/// Takes the next field off; returns what it contains, nothing for a number.
fn field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let tag = varint(rest)?;
    let len = match tag & 7 {
        0 => return varint(rest).map(|_| &[][..]),
        // A group: what is in it is counted as if it stood alone.
        3 | 4 => return Some(&[]),
        1 => 8,
        2 => usize::try_from(varint(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(if tag & 7 == 2 { content } else { &[] })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(rest).ok()
}

/// The response to a call. `guard` is kept until the response has ended.
pub(super) fn response(answer: Result<Answer, Status>, guard: Arc<Caller>) -> http::Response<Answer> {
    match answer {
        Ok(answer) => {
            let mut response = http::Response::new(Answer { guard: Some(guard), ..answer });
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(status) => status.into_http(),
    }
}

/// The messages of a response, and its end.
#[derive(Default)]
pub(crate) struct Answer {
    rest: Rest,
    guard: Option<Arc<Caller>>,
}

#[derive(Default)]
enum Rest {
    /// As they come; the answer ends well when there are no more.
    Stream(BoxStream<'static, Result<Encoded, Status>>),
    One(Encoded),
    Status(Status),
    #[default]
    Nothing,
}

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
        Self::of(Rest::One(Encoded::new(message)))
    }

    /// Makes an answer whose messages come one after the other: the next is made when the connection is ready for it. An
    /// error is the last.
    pub(super) fn stream(messages: impl Stream<Item = Result<Encoded, Status>> + Send + 'static) -> Self {
        Self::of(Rest::Stream(messages.boxed()))
    }

    fn of(rest: Rest) -> Self {
        Self { rest, guard: None }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let status = match &mut self.rest {
            Rest::Stream(messages) => match ready!(messages.poll_next_unpin(cx)) {
                Some(Ok(Encoded(message))) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Some(Err(status)) => status,
                None => Status::ok(""),
            },
            Rest::One(Encoded(message)) => {
                let message = std::mem::take(message);
                self.rest = Rest::Status(Status::ok(""));
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            Rest::Status(status) => status.clone(),
            Rest::Nothing => return Poll::Ready(None),
        };
        self.rest = Rest::Nothing;
        drop(self.guard.take());
        let mut trailers = http::HeaderMap::new();
        // Fails for metadata that is no header, and ours has none.
        let _ = status.add_header(&mut trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.rest, Rest::Nothing)
    }
}

/// What comes before each message: whether it is compressed, and how long it is.
const PREFIX: usize = 5;

/// A Hello of a sidecar with all subscriptions and what it holds is below 3 MiB.
pub(super) const MAX_MESSAGE: usize = 4 * 1024 * 1024;

/// That Hello's subscriptions and held resources, and what a newer sidecar may add.
const MAX_ELEMENTS: usize = 2 * MAX_HELD;

/// A message that is not counted.
const SMALL: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use http_body_util::StreamBody;
    use outrigger_proto::wire::Ack;
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::UnboundedReceiverStream;

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

    fn ack() -> Ack {
        Ack { resources: vec![outrigger_proto::wire::Held { key: "k".into(), version: 0 }] }
    }

    /// A request whose bytes come in pieces of this size.
    fn request(bytes: &[u8], piece: usize) -> Request<Ack, impl Body<Data = Bytes, Error = Infallible> + Unpin> {
        let frames: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        Request::new(StreamBody::new(futures_util::stream::iter(frames)), MAX_MESSAGE)
    }

    #[tokio::test]
    async fn messages_are_read_however_their_bytes_come_and_leave_nothing_behind() {
        let Encoded(one) = Encoded::new(&ack());
        let Encoded(empty) = Encoded::new(&Ack::default());
        let bytes = [&one[..], &empty[..], &one[..]].concat();
        for piece in 1..=bytes.len() {
            let mut request = request(&bytes, piece);

            assert_eq!(request.message().await.unwrap(), Some(ack()));
            assert_eq!(request.message().await.unwrap(), Some(Ack::default()));
            assert_eq!(request.message().await.unwrap(), Some(ack()));
            assert_eq!(request.unread.capacity(), 0);
            assert_eq!(request.message().await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        let too_long = u32::try_from(MAX_MESSAGE + 1).unwrap().to_be_bytes();
        let cases: [(&[u8], tonic::Code); 4] = [
            (b"\0\0\0\0\x05\x0a\x03\x0a\x01", tonic::Code::InvalidArgument), // ends within the message
            (b"\x01\0\0\0\0", tonic::Code::Unimplemented),                   // compressed
            (&[&[0], &too_long[..]].concat(), tonic::Code::ResourceExhausted),
            (b"\0\0\0\0\x01\x0a", tonic::Code::InvalidArgument), // a field without its value
        ];
        for (bytes, code) in cases {
            assert_eq!(request(bytes, 64).message().await.unwrap_err().code(), code, "{bytes:?}");
        }
        assert_eq!(request(b"", 1).only_message().await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn a_message_that_would_be_many_times_as_large_in_memory_is_refused_unread() {
        let many = |count: usize| [0x0a, 0x00].repeat(count); // as many `Held` of nothing
        let framed = |hello: &[u8]| {
            let mut message = vec![0x0a];
            prost::encoding::encode_varint(hello.len() as u64, &mut message);
            message.extend_from_slice(hello);
            let len = u32::try_from(message.len()).unwrap().to_be_bytes();
            [&[0], &len[..], &message].concat()
        };
        // A group of an unknown field hides nothing.
        let group = [0x7b, 0x7c];

        assert!(request(&framed(&many(MAX_ELEMENTS - 1)), 1 << 16).message().await.is_ok());
        for hello in [many(MAX_ELEMENTS), [&group[..], &many(MAX_ELEMENTS)].concat()] {
            let status = request(&framed(&hello), 1 << 16).message().await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::ResourceExhausted);
            assert!(status.message().contains("elements"), "{status:?}");
        }
    }

    #[tokio::test]
    async fn what_comes_of_a_large_message_counts_until_it_is_read() {
        let share = Arc::new(crate::serve::share::Share::new("shop/web-1".into()));
        let stream = share.stream().unwrap();
        let key = "k".repeat(200_000);
        let Encoded(bytes) = Encoded::new(&Ack { resources: vec![outrigger_proto::wire::Held { key, version: 0 }] });
        let mut whole = request(&bytes, 1000);
        whole.count(stream.memory());
        whole.message().await.unwrap();
        assert_eq!(share.bytes(), 0);

        let mut all = stream.memory();
        all.set(crate::serve::share::MAX_BYTES - 100_000).unwrap();
        let mut too_much = request(&bytes, 1000);
        too_much.count(stream.memory());
        let status = too_much.message().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().starts_with("shop/web-1: at most"), "{status:?}");
    }

    #[test]
    fn messages_come_with_their_length_and_the_status_comes_last() {
        let (messages, made) = mpsc::unbounded_channel();
        let mut answer = Answer::stream(UnboundedReceiverStream::new(made));

        messages.send(Ok(Encoded::new(&ack()))).unwrap();
        let (frames, status) = read(&mut answer);
        assert_eq!(frames, [&b"\0\0\0\0\x05\x0a\x03\x0a\x01k"[..]]);
        assert!(status.is_none() && !answer.is_end_stream());

        messages.send(Err(Status::unavailable("gone: 100%"))).unwrap();
        let (frames, status) = read(&mut answer);
        let status = status.unwrap();
        assert_eq!((status.code(), status.message()), (tonic::Code::Unavailable, "gone: 100%"));
        assert!(frames.is_empty() && answer.is_end_stream());
    }

    #[test]
    fn an_answer_to_which_nothing_is_added_any_more_ends_well() {
        let mut answer = Answer::stream(futures_util::stream::empty());
        assert_eq!(read(&mut answer).1.unwrap().code(), tonic::Code::Ok);

        let (frames, status) = read(&mut Answer::one(&Ack::default()));
        assert_eq!((frames.len(), status.unwrap().code()), (1, tonic::Code::Ok));
    }

    #[test]
    fn a_call_holds_its_caller_until_it_has_ended() {
        let caller = Arc::new(Caller::new(([127, 0, 0, 1], 1).into(), None).unwrap());
        let (messages, made) = mpsc::unbounded_channel();
        let answer = Answer::stream(UnboundedReceiverStream::new(made));
        let mut answer = response(Ok(answer), caller.clone()).into_body();

        messages.send(Ok(Encoded::new(&ack()))).unwrap();
        assert!(read(&mut answer).1.is_none());
        assert_eq!(Arc::strong_count(&caller), 2);

        drop(messages);
        assert!(read(&mut answer).1.is_some());
        assert_eq!(Arc::strong_count(&caller), 1);
    }

    #[test]
    fn a_call_that_is_refused_says_so_in_its_head() {
        let caller = Caller::new(([127, 0, 0, 1], 1).into(), None).unwrap();
        let response = response(Err(Status::unimplemented("no such call")), Arc::new(caller));

        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_end_stream());
    }
}
