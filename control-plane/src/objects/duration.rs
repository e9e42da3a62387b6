//! Durations as Gateway API writes them (GEP-2257): `1h30m`, `500ms`, at most four parts of at most five digits.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// Reads a duration.
pub(super) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    let Some(text) = text else { return Ok(None) };
    parse(&text).map(Some).ok_or_else(|| {
        Error::invalid_value(Unexpected::Str(&text), &"a duration such as `10s`, `1m30s` or `250ms` (GEP-2257)")
    })
}

/// Reads a duration that must be there.
pub(super) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    optional(deserializer)?.ok_or_else(|| Error::custom("a duration such as `10s` is missing"))
}

fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    for _ in 0..4 {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        total += match &rest[..unit] {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        rest = &rest[unit..];
        if rest.is_empty() {
            return Some(total);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_gep_2257_allows() {
        for (text, millis) in [
            ("0s", 0),
            ("10s", 10_000),
            ("1h30m", 5_400_000),
            ("1s500ms", 1_500),
            ("30s1m", 90_000),
            ("99999ms", 99_999),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        for text in ["", "1", "s", "1.5s", "-1s", "1d", "100000s", "1h1m1s1ms1s", "1 s", "1us", "1s "] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
