//! One line of the access log. Fields have the names that they have in spans. Whatever a stranger sent is escaped to
//! plain ASCII and cut, so that a line stays one line and a terminal stays as it is.

use std::fmt::{self, Display, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};
use outrigger_proto::ErrorCode;

use crate::direction::Direction;
use crate::telemetry::facts::{ErrorType, GrpcStatus, protocol_version};
use crate::trace_context::{SpanId, TraceId};

/// What is told about one request.
pub(crate) struct Entry<'a> {
    pub(crate) time: SystemTime,
    pub(crate) direction: Direction,
    pub(crate) method: &'a Method,
    /// Without the query.
    pub(crate) path: &'a str,
    pub(crate) version: Version,
    pub(crate) status: Option<StatusCode>,
    pub(crate) grpc_status: Option<GrpcStatus>,
    pub(crate) error_type: Option<ErrorType>,
    /// The mesh's own error and its details.
    pub(crate) error: Option<(ErrorCode, &'a str)>,
    pub(crate) duration: Duration,
    pub(crate) response_bytes: u64,
    pub(crate) attempts: u32,
    /// Milliseconds that it was held back on purpose.
    pub(crate) fault_delay: Option<u32>,
    pub(crate) route: Option<&'a dyn Display>,
    pub(crate) backend: Option<&'a dyn Display>,
    /// The endpoint or app that the request went to.
    pub(crate) server: Option<SocketAddr>,
    /// Who sent it (inbound).
    pub(crate) client: Option<SocketAddr>,
    /// The identity that the other side proved.
    pub(crate) peer_identity: Option<&'a str>,
    pub(crate) trace: Option<(TraceId, SpanId)>,
}

/// What is told about a connection that ended with an error before it carried a request.
pub(crate) struct ConnectionEntry<'a> {
    pub(crate) time: SystemTime,
    pub(crate) direction: Direction,
    /// Who opened it.
    pub(crate) peer: SocketAddr,
    pub(crate) code: ErrorCode,
    pub(crate) detail: &'a str,
}

/// What is told about a connection whose bytes were copied.
pub(crate) struct CopiedEntry<'a> {
    pub(crate) time: SystemTime,
    pub(crate) direction: Direction,
    pub(crate) duration: Duration,
    /// Bytes that the workload sent.
    pub(crate) sent: u64,
    /// Bytes that the workload received.
    pub(crate) received: u64,
    pub(crate) route: Option<&'a dyn Display>,
    pub(crate) backend: Option<&'a dyn Display>,
    /// The endpoint or app that it went to.
    pub(crate) server: Option<SocketAddr>,
    /// Who opened it (inbound).
    pub(crate) client: Option<SocketAddr>,
    /// The identity that the other side proved.
    pub(crate) peer_identity: Option<&'a str>,
    /// Why it broke off.
    pub(crate) error: Option<(ErrorCode, &'a std::io::Error)>,
}

/// Something that a line is about.
pub(crate) trait Line {
    fn write_json(&self, line: &mut String);

    /// Writes what people look for first, then `name="value"`.
    fn write_text(&self, line: &mut String);
}

impl Line for Entry<'_> {
    fn write_json(&self, line: &mut String) {
        Json::write(line, |json| self.fields(json));
    }

    fn write_text(&self, line: &mut String) {
        let status = self.status.map_or(0, |status| status.as_u16());
        // A String takes every write.
        let _ = write!(
            line,
            "{} {} {} {} {status:03}",
            Rfc3339(self.time),
            self.direction.as_str(),
            Escaped(&self.method),
            Escaped(&self.path),
        );
        self.rest(&mut Text { line });
    }
}

impl Line for ConnectionEntry<'_> {
    fn write_json(&self, line: &mut String) {
        Json::write(line, |json| {
            when_and_way(json, self.time, self.direction);
            self.rest(json);
        });
    }

    fn write_text(&self, line: &mut String) {
        let _ = write!(line, "{} {} connection", Rfc3339(self.time), self.direction.as_str());
        self.rest(&mut Text { line });
    }
}

impl ConnectionEntry<'_> {
    fn rest(&self, to: &mut impl Fields) {
        address(to, PEER, self.peer);
        failure(to, self.code, &self.detail);
    }
}

impl Line for CopiedEntry<'_> {
    fn write_json(&self, line: &mut String) {
        Json::write(line, |json| {
            when_and_way(json, self.time, self.direction);
            self.rest(json);
        });
    }

    fn write_text(&self, line: &mut String) {
        let _ = write!(line, "{} {} tcp", Rfc3339(self.time), self.direction.as_str());
        self.rest(&mut Text { line });
    }
}

impl CopiedEntry<'_> {
    fn rest(&self, to: &mut impl Fields) {
        to.text("network.transport", &"tcp");
        to.number("duration_ms", &Millis(self.duration));
        to.number("outrigger.sent_bytes", &self.sent);
        to.number("outrigger.received_bytes", &self.received);
        route_and_ends(to, [self.route, self.backend], [self.server, self.client], self.peer_identity);
        if let Some((code, cause)) = self.error {
            failure(to, code, cause);
        }
    }
}

/// Writes what each line begins with.
fn when_and_way(json: &mut Json<'_>, time: SystemTime, direction: Direction) {
    json.text("time", &Rfc3339(time));
    json.text("outrigger.direction", &direction.as_str());
}

/// Writes why it failed.
fn failure(to: &mut impl Fields, code: ErrorCode, detail: &dyn Display) {
    to.text("error.type", &code.token());
    to.text("outrigger.error.code", &code);
    to.text("outrigger.error.detail", detail);
}

/// Writes one side of a connection.
fn address(to: &mut impl Fields, [address, port]: [&'static str; 2], of: SocketAddr) {
    to.text(address, &of.ip());
    to.number(port, &of.port());
}

const PEER: [&str; 2] = ["network.peer.address", "network.peer.port"];
const LOCAL: [&str; 2] = ["network.local.address", "network.local.port"];

/// Writes where it went, and between whom.
fn route_and_ends(
    to: &mut impl Fields,
    [route, backend]: [Option<&dyn Display>; 2],
    [server, client]: [Option<SocketAddr>; 2],
    peer_identity: Option<&str>,
) {
    for (name, value) in [("outrigger.route", route), ("outrigger.backend", backend)] {
        if let Some(value) = value {
            to.text(name, value);
        }
    }
    // The other side is who came, or who was dialled; who came dialled an address here.
    let (peer, local) = if client.is_some() { (client, server) } else { (server, None) };
    for (names, value) in [(PEER, peer), (LOCAL, local)] {
        if let Some(value) = value {
            address(to, names, value);
        }
    }
    if let Some(identity) = peer_identity {
        to.text("outrigger.peer.identity", &identity);
    }
}

impl Entry<'_> {
    fn fields(&self, to: &mut Json<'_>) {
        when_and_way(to, self.time, self.direction);
        to.text("http.request.method", &self.method);
        to.text("url.path", &self.path);
        if let Some(status) = self.status {
            to.number("http.response.status_code", &status.as_u16());
        }
        self.rest(to);
    }

    fn rest(&self, to: &mut impl Fields) {
        if let Some(status) = self.grpc_status {
            to.text("rpc.status_code", &status.name());
        }
        to.number("duration_ms", &Millis(self.duration));
        to.number("http.response.body.size", &self.response_bytes);
        to.text("network.protocol.version", &protocol_version(self.version));
        to.number("outrigger.attempts", &self.attempts);
        if let Some(delay) = self.fault_delay {
            to.number("outrigger.fault.delay_ms", &delay);
        }
        route_and_ends(to, [self.route, self.backend], [self.server, self.client], self.peer_identity);
        if let Some(error) = self.error_type {
            to.text("error.type", &error);
        }
        if let Some((code, detail)) = self.error {
            to.text("outrigger.error.code", &code);
            to.text("outrigger.error.detail", &detail);
        }
        if let Some((trace, span)) = self.trace {
            to.text("trace_id", &trace);
            to.text("span_id", &span);
        }
    }
}

impl fmt::Debug for ConnectionEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionEntry").field("code", &self.code).finish_non_exhaustive()
    }
}

impl fmt::Debug for CopiedEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopiedEntry").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("direction", &self.direction).finish_non_exhaustive()
    }
}

trait Fields {
    fn text(&mut self, name: &str, value: &dyn Display);
    fn number(&mut self, name: &str, value: &dyn Display);
}

struct Json<'a> {
    line: &'a mut String,
    first: bool,
}

impl<'a> Json<'a> {
    fn write(line: &'a mut String, fields: impl FnOnce(&mut Self)) {
        let mut json = Self { line, first: true };
        json.line.push('{');
        fields(&mut json);
        json.line.push('}');
    }

    fn name(&mut self, name: &str) {
        let comma = if self.first { "" } else { "," };
        self.first = false;
        let _ = write!(self.line, "{comma}\"{name}\":");
    }
}

impl Fields for Json<'_> {
    fn text(&mut self, name: &str, value: &dyn Display) {
        self.name(name);
        let _ = write!(self.line, "\"{}\"", Escaped(&value));
    }

    fn number(&mut self, name: &str, value: &dyn Display) {
        self.name(name);
        let _ = write!(self.line, "{value}");
    }
}

struct Text<'a> {
    line: &'a mut String,
}

impl Fields for Text<'_> {
    fn text(&mut self, name: &str, value: &dyn Display) {
        let _ = write!(self.line, " {name}=\"{}\"", Escaped(&value));
    }

    fn number(&mut self, name: &str, value: &dyn Display) {
        let _ = write!(self.line, " {name}={value}");
    }
}

/// Text in which only printable ASCII stays as it is; the rest is as JSON writes it.
struct Escaped<'a, T>(&'a T);

impl<T: Display> Display for Escaped<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaper = Escaper { to: f, left: MAX_TEXT };
        // An error here means that the text was long enough.
        let _ = write!(escaper, "{}", self.0);
        Ok(())
    }
}

struct Escaper<'a, 'f> {
    to: &'a mut fmt::Formatter<'f>,
    left: usize,
}

impl Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            match character {
                '"' => self.to.write_str("\\\"")?,
                '\\' => self.to.write_str("\\\\")?,
                ' '..='~' => self.to.write_char(character)?,
                _ => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        write!(self.to, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

struct Millis(Duration);

impl Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_millis(), self.0.subsec_micros() % 1000)
    }
}

/// UTC with milliseconds.
struct Rfc3339(SystemTime);

impl Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs();
        let (year, month, day) = civil(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        let millis = since.subsec_millis();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years, from 0000-03-01 on, so that a leap day is a year's last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The longest value, characters.
const MAX_TEXT: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(path: &'a str, method: &'a Method) -> Entry<'a> {
        Entry {
            time: UNIX_EPOCH + Duration::from_millis(1_795_346_671_042),
            direction: Direction::Outbound,
            method,
            path,
            version: Version::HTTP_11,
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            grpc_status: None,
            error_type: Some(ErrorType::Mesh(ErrorCode::DestinationUnavailable)),
            error: Some((ErrorCode::DestinationUnavailable, "no endpoint for shop/web:80: 0 known")),
            duration: Duration::from_micros(12_034),
            response_bytes: 87,
            attempts: 2,
            fault_delay: None,
            route: Some(&"HTTPRoute/shop/web/0"),
            backend: Some(&"shop/web:80"),
            server: Some(([10, 0, 0, 7], 8080).into()),
            client: None,
            peer_identity: Some("spiffe://mesh.local/ns/shop/sa/web"),
            trace: None,
        }
    }

    fn json(entry: &Entry<'_>) -> String {
        let mut line = String::new();
        entry.write_json(&mut line);
        line
    }

    #[test]
    fn a_json_line_has_typed_fields_named_as_in_spans() {
        assert_eq!(
            json(&entry("/items", &Method::GET)),
            concat!(
                r#"{"time":"2026-11-22T11:24:31.042Z","outrigger.direction":"outbound","http.request.method":"GET","#,
                r#""url.path":"/items","http.response.status_code":503,"duration_ms":12.034,"http.response.body.size":87,"#,
                r#""network.protocol.version":"1.1","outrigger.attempts":2,"outrigger.route":"HTTPRoute/shop/web/0","#,
                r#""outrigger.backend":"shop/web:80","network.peer.address":"10.0.0.7","network.peer.port":8080,"#,
                r#""outrigger.peer.identity":"spiffe://mesh.local/ns/shop/sa/web","error.type":"destination_unavailable","#,
                r#""outrigger.error.code":"E002","outrigger.error.detail":"no endpoint for shop/web:80: 0 known"}"#,
            )
        );
    }

    #[test]
    fn a_text_line_starts_with_what_people_look_for() {
        let mut line = String::new();
        let entry =
            Entry { route: None, backend: None, peer_identity: None, error: None, ..entry("/items", &Method::GET) };
        entry.write_text(&mut line);
        assert_eq!(
            line,
            concat!(
                r#"2026-11-22T11:24:31.042Z outbound GET /items 503 duration_ms=12.034 http.response.body.size=87 "#,
                r#"network.protocol.version="1.1" outrigger.attempts=2 network.peer.address="10.0.0.7" network.peer.port=8080 "#,
                r#"error.type="destination_unavailable""#,
            )
        );
    }

    #[test]
    fn who_came_and_where_to_are_two_sides() {
        let entry = Entry {
            direction: Direction::Inbound,
            client: Some(([10, 0, 0, 9], 4711).into()),
            grpc_status: Some(GrpcStatus(14)),
            ..entry("/", &Method::POST)
        };
        let read: serde_json::Value = serde_json::from_str(&json(&entry)).unwrap();
        let of = |name: &str| {
            (read[format!("network.{name}.address")].clone(), read[format!("network.{name}.port")].clone())
        };
        assert_eq!(of("peer"), ("10.0.0.9".into(), 4711.into()));
        assert_eq!(of("local"), ("10.0.0.7".into(), 8080.into()));
        assert_eq!(read["rpc.status_code"], "UNAVAILABLE");
    }

    #[test]
    fn a_failed_connection_has_a_line_of_its_own() {
        let entry = ConnectionEntry {
            time: UNIX_EPOCH,
            direction: Direction::Inbound,
            peer: ([10, 0, 0, 9], 4711).into(),
            code: ErrorCode::TlsProtocol,
            detail: "10.0.0.9:4711 came without mesh TLS",
        };
        let (mut json, mut text) = (String::new(), String::new());
        entry.write_json(&mut json);
        entry.write_text(&mut text);
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["outrigger.error.code"], "E007");
        assert_eq!((&read["network.peer.address"], &read["network.peer.port"]), (&"10.0.0.9".into(), &4711.into()));
        assert!(
            text.starts_with(r#"1970-01-01T00:00:00.000Z inbound connection network.peer.address="10.0.0.9" "#),
            "{text}"
        );
    }

    #[test]
    fn a_copied_connection_has_a_line_with_its_bytes() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let entry = CopiedEntry {
            time: UNIX_EPOCH,
            direction: Direction::Outbound,
            duration: Duration::from_millis(1500),
            sent: 7,
            received: 9,
            route: Some(&"TCPRoute/shop/db/all"),
            backend: Some(&"shop/db:5432"),
            server: Some(([10, 0, 0, 7], 5432).into()),
            client: None,
            peer_identity: Some("spiffe://mesh.local/ns/shop/sa/db"),
            error: Some((ErrorCode::ConnectionTerminated, &broken)),
        };
        let (mut json, mut text) = (String::new(), String::new());
        entry.write_json(&mut json);
        entry.write_text(&mut text);
        assert_eq!(
            json,
            concat!(
                r#"{"time":"1970-01-01T00:00:00.000Z","outrigger.direction":"outbound","network.transport":"tcp","#,
                r#""duration_ms":1500.000,"outrigger.sent_bytes":7,"outrigger.received_bytes":9,"#,
                r#""outrigger.route":"TCPRoute/shop/db/all","outrigger.backend":"shop/db:5432","#,
                r#""network.peer.address":"10.0.0.7","network.peer.port":5432,"outrigger.peer.identity":"spiffe://mesh.local/ns/shop/sa/db","#,
                r#""error.type":"connection_terminated","outrigger.error.code":"E005","#,
                r#""outrigger.error.detail":"connection reset"}"#,
            )
        );
        assert!(text.starts_with("1970-01-01T00:00:00.000Z outbound tcp network.transport="), "{text}");
    }

    #[test]
    fn what_strangers_send_stays_in_its_field() {
        let hostile = "/a\"}\n{\"x\":\"\\\r\u{1b}[2J\u{7f}\u{9b}\u{202e}é😀\u{2028}";
        let line = json(&entry(hostile, &Method::GET));
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["url.path"], hostile);

        let mut text = String::new();
        entry(hostile, &Method::GET).write_text(&mut text);
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
    }

    #[test]
    fn long_values_are_cut() {
        let line = json(&entry(&"é".repeat(100_000), &Method::GET));
        assert!(line.len() < 5_000, "{}", line.len());
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }

    #[test]
    fn names_the_trace() {
        let headers = http::HeaderMap::new();
        let context =
            crate::trace_context::Sampler::new(1.0).begin(&crate::trace_context::Incoming::read(&headers), true);
        let line = json(&Entry { trace: Some((context.trace_id, context.span_id)), ..entry("/", &Method::GET) });
        assert!(line.contains(&format!(r#""trace_id":"{}","span_id":"{}"}}"#, context.trace_id, context.span_id)));
    }

    #[test]
    fn knows_the_calendar() {
        for (days, want) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_513, (2026, 3, 1)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), want, "{days}");
        }
    }
}
