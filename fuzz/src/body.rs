//! Bodies that the fuzzer makes up.

use std::pin::Pin;
use std::task::{Context, Poll};

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

/// How a body is made.
#[derive(Arbitrary, Clone, Debug)]
pub struct Plan {
    parts: Vec<Part>,
    trailers: Option<Vec<(u8, u8)>>,
    /// It says how long it is.
    announced: bool,
    /// It fails after its last part.
    fails: bool,
}

#[derive(Arbitrary, Clone, Debug)]
enum Part {
    Data(Vec<u8>),
    /// So many bytes, which are many.
    Large(u16),
    /// Nothing yet.
    Wait,
}

/// The body of a plan.
#[derive(Debug)]
pub struct Made {
    parts: std::vec::IntoIter<Part>,
    trailers: Option<HeaderMap>,
    announced: bool,
    fails: bool,
    left: u64,
}

impl Plan {
    /// All of its data.
    #[must_use]
    pub fn data(&self) -> Vec<u8> {
        self.parts.iter().flat_map(|part| part.data()).collect()
    }

    /// Its trailers.
    #[must_use]
    pub fn trailers(&self) -> Option<HeaderMap> {
        let fields = self.trailers.as_ref()?.iter();
        Some(
            fields
                .map(|(name, value)| (TRAILERS[usize::from(*name) % TRAILERS.len()].clone(), plain(*value)))
                .collect(),
        )
    }

    /// Whether it fails.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.fails
    }

    /// Makes the body.
    #[must_use]
    pub fn body(&self) -> Made {
        let left = self.data().len() as u64;
        let Self { announced, fails, .. } = *self;
        Made { parts: self.parts.clone().into_iter(), trailers: self.trailers(), announced, fails, left }
    }
}

impl Part {
    fn data(&self) -> Vec<u8> {
        match self {
            Self::Data(data) => data.clone(),
            Self::Large(length) => (0..*length).map(|at| at.to_be_bytes()[1]).collect(),
            Self::Wait => Vec::new(),
        }
    }
}

/// Names that may and that must not be those of trailers.
static TRAILERS: [HeaderName; 4] = [
    HeaderName::from_static("x-sum"),
    HeaderName::from_static("grpc-status"),
    http::header::CONTENT_LENGTH,
    http::header::TRANSFER_ENCODING,
];

fn plain(byte: u8) -> HeaderValue {
    HeaderValue::from(u16::from(byte))
}

impl http_body::Body for Made {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(part) = self.parts.next() {
            if matches!(part, Part::Wait) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let data = Bytes::from(part.data());
            self.left -= data.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        if std::mem::take(&mut self.fails) {
            return Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.announced && self.left == 0 && !self.fails && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.announced { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}
