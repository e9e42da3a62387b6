//! `grpc-timeout`: how long a gRPC client waits for its call, in at most eight digits and a unit.

use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// What a value may have.
const DIGITS: usize = 8;

/// The first number that has one digit more.
const TOO_MANY: u128 = 100_000_000;

/// A call that has lost less than this since its client wrote the header keeps what the client wrote.
const WORTH_WRITING: Duration = Duration::from_millis(1);

/// Units and their nanoseconds, the finest first.
const UNITS: [(u8, u64); 6] =
    [(b'n', 1), (b'u', 1_000), (b'm', 1_000_000), (b'S', NANOS), (b'M', 60 * NANOS), (b'H', 3_600 * NANOS)];

const NANOS: u64 = 1_000_000_000;

/// Reads the header, unless it is not exactly well-formed: an app that reads it otherwise gets it as it came.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let mut values = headers.get_all(&GRPC_TIMEOUT).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { parse(value.as_bytes()) }
}

/// Writes what is left, where that is less than the client wrote; never more, and never 0, which is no value.
pub(super) fn reduce(headers: &mut HeaderMap, left: Duration) {
    let Some(written) = read(headers) else { return };
    if left.saturating_add(WORTH_WRITING) > written {
        return;
    }
    if let Ok(value) = HeaderValue::try_from(text(left)) {
        headers.insert(GRPC_TIMEOUT, value);
    }
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let (_, nanos) = UNITS.iter().find(|(known, _)| known == unit)?;
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    // Eight digits of hours are more than 64 bits of nanoseconds.
    let (seconds, rest) = (nanos / NANOS, nanos % NANOS);
    Some(Duration::from_secs(number * seconds).saturating_add(Duration::from_nanos(number * rest)))
}

/// In the finest unit that has room for it, rounded down.
fn text(left: Duration) -> String {
    let nanos = left.as_nanos().max(1);
    let units = UNITS.iter().map(|(unit, size)| (unit, nanos / u128::from(*size)));
    let (unit, number) = units.into_iter().find(|(_, number)| *number < TOO_MANY).unwrap_or((&b'H', TOO_MANY - 1));
    format!("{number}{}", char::from(*unit))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_the_protocol_allows_and_nothing_else() {
        for (value, expected) in [
            ("1n", Some(Duration::from_nanos(1))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("100m", Some(Duration::from_millis(100))),
            ("0m", Some(Duration::ZERO)),
            ("7S", Some(Duration::from_secs(7))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("100000000n", None),
            ("", None),
            ("m", None),
            ("5", None),
            ("5s", None),
            ("5 m", None),
            ("-5m", None),
            ("+5m", None),
            ("5mm", None),
            ("1.5S", None),
        ] {
            assert_eq!(parse(value.as_bytes()), expected, "{value}");
        }
    }

    fn reduced(written: &str, left: Duration) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(GRPC_TIMEOUT, written.parse().unwrap());
        reduce(&mut headers, left);
        headers["grpc-timeout"].to_str().unwrap().to_owned()
    }

    #[test]
    fn is_reduced_to_what_is_left_and_never_raised() {
        for (written, left, expected) in [
            ("100m", Duration::from_micros(99_900), "100m"),
            ("100m", Duration::from_millis(99), "99000000n"),
            ("100m", Duration::from_millis(200), "100m"),
            ("10S", Duration::from_micros(2_500_000), "2500000u"),
            ("1H", Duration::from_secs(600), "600000m"),
            ("99999999H", Duration::from_secs(400_000_000), "6666666M"),
            ("1S", Duration::ZERO, "1n"),
            ("0m", Duration::ZERO, "0m"),
            ("soon", Duration::ZERO, "soon"),
        ] {
            assert_eq!(reduced(written, left), expected, "{written} with {left:?} left");
        }
    }

    #[test]
    fn a_call_without_one_gets_none_and_one_with_two_keeps_them() {
        let mut headers = HeaderMap::new();
        reduce(&mut headers, Duration::from_millis(1));
        assert!(headers.is_empty());
        for value in ["1S", "2S"] {
            headers.append(GRPC_TIMEOUT, HeaderValue::from_static(value));
        }
        reduce(&mut headers, Duration::from_millis(1));
        assert_eq!(headers.get_all("grpc-timeout").iter().collect::<Vec<_>>(), ["1S", "2S"]);
    }

    proptest! {
        #[test]
        fn whatever_is_left_is_written_as_a_value_that_is_no_more(nanos: u64, seconds in 0..400_000_000_000_u64) {
            for left in [Duration::from_nanos(nanos), Duration::from_secs(seconds)] {
                let value = text(left);
                prop_assert!(value.len() <= DIGITS + 1);
                let read = parse(value.as_bytes()).unwrap();
                prop_assert!(read <= left.max(Duration::from_nanos(1)) && !read.is_zero(), "{value} for {left:?}");
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(value: Vec<u8>) {
            let _ = parse(&value);
        }
    }
}
