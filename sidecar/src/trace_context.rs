//! Trace context in headers: W3C `traceparent`, and B3 in one header or several. It comes from strangers: what is not
//! exactly well-formed is as good as absent, and is replaced.

use std::fmt;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use crate::random::random;

/// A trace's id, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TraceId(u128);

/// A span's id, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SpanId(u64);

/// What a request's headers say about its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Incoming {
    trace: Option<(TraceId, SpanId)>,
    /// `None`: B3 leaves the decision to us, or nobody has decided.
    sampled: Option<bool>,
    /// W3C level 2: the id's lower part is random.
    random: bool,
    forms: Forms,
}

impl Incoming {
    /// Reads the headers; W3C counts before B3, and B3 in one header before B3 in several.
    pub(crate) fn read(headers: &HeaderMap) -> Self {
        let forms = Forms {
            w3c: headers.contains_key(&TRACEPARENT),
            b3: headers.contains_key(&B3),
            b3_multi: headers.contains_key(&B3_TRACE) || headers.contains_key(&B3_SAMPLED),
        };
        let found = if forms.w3c { w3c(headers) } else { None };
        let found = found.or_else(|| if forms.b3 { b3_single(headers) } else { None });
        let found = found.or_else(|| if forms.b3_multi { b3_multi(headers) } else { None });
        Self { forms, ..found.unwrap_or_default() }
    }
}

/// Returns the id of the trace that a request belongs to, in whatever form it says so.
pub(crate) fn trace_id(headers: &HeaderMap) -> Option<TraceId> {
    Incoming::read(headers).trace.map(|(trace, _)| trace)
}

/// Says whether a request belongs to a trace by W3C's header.
pub(crate) fn has_trace_parent(headers: &HeaderMap) -> bool {
    w3c(headers).is_some()
}

/// The forms of context that came in, so that the same go out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Forms {
    w3c: bool,
    b3: bool,
    b3_multi: bool,
}

/// A span's place in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceContext {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    /// Whether spans are recorded.
    pub(crate) sampled: bool,
    incoming: Incoming,
}

impl TraceContext {
    /// Returns the context of one more span beside this one: the next attempt.
    #[must_use]
    pub(crate) fn sibling(&self) -> Self {
        Self { span_id: SpanId::random(), ..*self }
    }

    /// Says whether the trace is anybody else's, or has spans of ours.
    pub(crate) fn is_known(&self) -> bool {
        self.sampled || self.incoming.trace.is_some()
    }

    /// Writes the context, in the forms that came in; `tracestate` and `baggage` go on as they came.
    pub(crate) fn inject(&self, headers: &mut HeaderMap) {
        let Incoming { trace, random, forms, .. } = self.incoming;
        if !self.sampled {
            // No span of ours stands between. Whoever left the decision open leaves it to the app, not to us.
            return;
        }
        let none = forms == Forms::default();
        if forms.w3c || none {
            headers.insert(TRACEPARENT, self.traceparent(random));
            if trace.is_none() {
                // It belonged to a trace that ends here (W3C Trace Context section 4.3).
                headers.remove(&TRACESTATE);
            }
        }
        if forms.b3 {
            headers.insert(B3, text(format_args!("{}-{}-1", self.trace_id.b3(), self.span_id)));
        }
        if forms.b3_multi {
            headers.insert(B3_TRACE, text(format_args!("{}", self.trace_id.b3())));
            headers.insert(B3_SPAN, text(format_args!("{}", self.span_id)));
            match self.parent {
                Some(parent) => headers.insert(B3_PARENT, text(format_args!("{parent}"))),
                None => headers.remove(&B3_PARENT),
            };
            headers.insert(B3_SAMPLED, HeaderValue::from_static("1"));
        }
    }

    fn traceparent(&self, random: bool) -> HeaderValue {
        let flags = 1 | u8::from(random) << 1;
        text(format_args!("00-{}-{}-{flags:02x}", self.trace_id, self.span_id))
    }
}

/// Decides which traces are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    threshold: u64,
}

impl Sampler {
    /// Makes a sampler that records `ratio` of the traces that it starts; others' decisions are theirs.
    pub(crate) fn new(ratio: f64) -> Self {
        // 2^63 is exact in floating point; NaN is no share at all.
        let threshold = if ratio >= 1.0 { 1 << 63 } else { (ratio.max(0.0) * (1_u64 << 63) as f64) as u64 };
        Self { threshold }
    }

    /// Continues the caller's trace. Starts one if `starts`: where a request enters the mesh, and not again at its other end.
    pub(crate) fn begin(self, incoming: &Incoming, starts: bool) -> TraceContext {
        let (trace_id, parent) = match incoming.trace {
            Some((trace, span)) => (trace, Some(span)),
            None => (TraceId::random(), None),
        };
        // By the id, so that sidecars which must decide about one trace decide alike.
        let drawn = (starts || parent.is_some()) && (trace_id.0 as u64 >> 1) < self.threshold;
        let sampled = incoming.sampled.unwrap_or(drawn);
        TraceContext { trace_id, span_id: SpanId::random(), parent, sampled, incoming: *incoming }
    }
}

/// `00-<trace>-<span>-<flags>`; later versions may append fields (W3C Trace Context section 3.2).
fn w3c(headers: &HeaderMap) -> Option<Incoming> {
    let value = only(headers, &TRACEPARENT)?;
    let (head, rest) = value.split_at_checked(55)?;
    let mut parts = head.split(|byte| *byte == b'-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let version = lower_hex(version, 2)?;
    if parts.next().is_some() || version == 0xff || (version == 0 && !rest.is_empty()) {
        return None;
    }
    if rest.first().is_some_and(|byte| *byte != b'-') {
        return None;
    }
    let trace = TraceId::new(lower_hex(trace, 32)?)?;
    let span = SpanId::new(lower_hex(span, 16)? as u64)?;
    let flags = lower_hex(flags, 2)?;
    let (sampled, random) = (Some(flags & 1 != 0), flags & 2 != 0);
    Some(Incoming { trace: Some((trace, span)), sampled, random, forms: Forms::default() })
}

/// `<trace>-<span>[-<state>[-<parent>]]`, or the state alone.
fn b3_single(headers: &HeaderMap) -> Option<Incoming> {
    let value = only(headers, &B3)?;
    if value.len() <= 1 {
        return Some(Incoming { sampled: Some(b3_state(value)?), ..Incoming::default() });
    }
    let mut parts = value.split(|byte| *byte == b'-');
    let (trace, span) = (b3_trace(parts.next()?)?, b3_span(parts.next()?)?);
    let sampled = match parts.next() {
        Some(state) => Some(b3_state(state)?),
        None => None,
    };
    if let Some(parent) = parts.next() {
        b3_span(parent)?;
    }
    let ended = parts.next().is_none();
    ended.then_some(Incoming { trace: Some((trace, span)), sampled, ..Incoming::default() })
}

fn b3_multi(headers: &HeaderMap) -> Option<Incoming> {
    let debug = only(headers, &B3_FLAGS).is_some_and(|flags| flags == b"1");
    let sampled = match only(headers, &B3_SAMPLED) {
        _ if debug => Some(true),
        Some(state) => Some(b3_state(state)?),
        None => None,
    };
    let trace = match (only(headers, &B3_TRACE), only(headers, &B3_SPAN)) {
        (Some(trace), Some(span)) => Some((b3_trace(trace)?, b3_span(span)?)),
        (None, None) => None,
        _ => return None,
    };
    Some(Incoming { trace, sampled, ..Incoming::default() })
}

fn b3_state(state: &[u8]) -> Option<bool> {
    match state {
        b"1" | b"d" | b"true" => Some(true),
        b"0" | b"false" => Some(false),
        _ => None,
    }
}

/// 64 or 128 bits.
fn b3_trace(text: &[u8]) -> Option<TraceId> {
    let id = if text.len() == 16 { any_hex(text, 16) } else { any_hex(text, 32) };
    TraceId::new(id?)
}

fn b3_span(text: &[u8]) -> Option<SpanId> {
    SpanId::new(any_hex(text, 16)? as u64)
}

/// A header's value when it came once: of two contexts neither can be trusted.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { Some(first.as_bytes()) }
}

fn lower_hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.iter().any(u8::is_ascii_uppercase) { None } else { any_hex(text, digits) }
}

fn any_hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0, |value, byte| Some(value << 4 | u128::from(char::from(*byte).to_digit(16)?)))
}

/// A header value from short ASCII text, with one allocation.
fn text(value: fmt::Arguments<'_>) -> HeaderValue {
    let mut bytes = [0_u8; 64];
    let mut rest = &mut bytes[..];
    // The longest, a B3 single header, has 51 characters.
    let _ = std::io::Write::write_fmt(&mut rest, value);
    let unused = rest.len();
    let used = bytes.len() - unused;
    HeaderValue::from_bytes(&bytes[..used]).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

impl TraceId {
    fn new(id: u128) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    fn random() -> Self {
        Self(u128::from(random()) << 64 | u128::from(random() | 1))
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// 64-bit ids go on as they came: their programs cannot read longer ones.
    fn b3(self) -> impl fmt::Display {
        let wide = self.0 >> 64 != 0;
        fmt::from_fn(move |f| if wide { write!(f, "{:032x}", self.0) } else { write!(f, "{:016x}", self.0) })
    }
}

impl SpanId {
    fn new(id: u64) -> Option<Self> {
        (id != 0).then_some(Self(id))
    }

    fn random() -> Self {
        Self(random().max(1))
    }

    pub(crate) fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const B3: HeaderName = HeaderName::from_static("b3");
const B3_TRACE: HeaderName = HeaderName::from_static("x-b3-traceid");
const B3_SPAN: HeaderName = HeaderName::from_static("x-b3-spanid");
const B3_PARENT: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const B3_SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const B3_FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

#[cfg(test)]
#[path = "trace_context_tests.rs"]
mod tests;
