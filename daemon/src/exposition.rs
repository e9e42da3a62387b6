//! The two text formats in which Prometheus reads metrics, and which of them a client prefers.

use std::fmt::{self, Write};

use hyper::header::{ACCEPT, HeaderMap};

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus text format 0.0.4: for clients that do not list OpenMetrics, such as browsers, curl and `promtool`.
    Text,
}

impl Format {
    /// Picks the format that the client prefers (RFC 9110 section 12.5.1). A client that accepts neither gets the text format, as
    /// from Prometheus' own libraries.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut best = (0, Self::Text);
        let ranges = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for range in ranges.flat_map(|value| value.split(',')) {
            if let Some((quality, format)) = offer(range)
                && quality > best.0
            {
                best = (quality, format);
            }
        }
        best.1
    }

    /// The `Content-Type` of the format.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// What a media range asks for: its quality in thousandths, and the format that it matches.
fn offer(range: &str) -> Option<(u32, Format)> {
    let mut parts = range.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let (mut quality, mut version, mut charset) = (1000, None, None);
    for parameter in parts {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        match name.trim() {
            name if name.eq_ignore_ascii_case("q") => quality = thousandths(value)?,
            name if name.eq_ignore_ascii_case("version") => version = Some(value),
            name if name.eq_ignore_ascii_case("charset") => charset = Some(value),
            _ => {}
        }
    }
    if !charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8")) {
        return None;
    }
    let is = |name: &str| media.eq_ignore_ascii_case(name);
    let format = match version {
        None | Some("1.0.0") if is("application/openmetrics-text") => Format::OpenMetrics,
        None | Some("0.0.4") if is("text/plain") || is("text/*") || is("*/*") => Format::Text,
        _ => return None,
    };
    Some((quality, format))
}

/// `0.5` as 500.
fn thousandths(quality: &str) -> Option<u32> {
    let (whole, fraction) = quality.split_once('.').unwrap_or((quality, ""));
    let is_number = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let fraction = format!("{fraction:0<3}").parse::<u32>().ok().filter(|_| is_number)?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Takes OpenMetrics as it is encoded, and writes it in a format. A line at a time: a page of thousands of series is in memory once.
pub(crate) struct Writer<'a> {
    to: &'a mut String,
    format: Format,
    line: String,
    /// The `# HELP` of the family whose type is still to come.
    help: String,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(format: Format, to: &'a mut String) -> Self {
        Self { to, format, line: String::new(), help: String::new() }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if let Some(help) = line.strip_prefix("# HELP ") {
            self.help.clear();
            self.help.push_str(help);
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            self.family(family);
        } else if line == "# EOF" || line.starts_with("# UNIT ") {
            if line == "# EOF" && self.format == Format::OpenMetrics {
                self.put(&[&line]);
            }
        } else {
            self.put(&[&line]);
        }
        // Its room is kept for the next line.
        self.line = line;
        self.line.clear();
    }

    fn family(&mut self, family: &str) {
        let (name, kind) = family.split_once(' ').unwrap_or((family, "unknown"));
        let help = std::mem::take(&mut self.help);
        let help = help.strip_prefix(name).unwrap_or_default().trim();
        match self.format {
            Format::OpenMetrics => {
                self.put(&["# HELP ", name, " ", help]);
                self.put(&["# TYPE ", name, " ", kind]);
                if let Some(unit) = UNITS.into_iter().find(|unit| ends_with_unit(name, unit)) {
                    self.put(&["# UNIT ", name, " ", unit]);
                }
            }
            Format::Text => {
                // Families of counters and infos have the names of their samples here.
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    kind => ("", kind),
                };
                self.put(&["# HELP ", name, suffix, " ", help]);
                self.put(&["# TYPE ", name, suffix, " ", kind]);
            }
        }
    }

    fn put(&mut self, parts: &[&str]) {
        for part in parts {
            self.to.push_str(part);
        }
        self.to.push('\n');
    }
}

impl Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((line, after)) = rest.split_once('\n') {
            self.line.push_str(line);
            self.end_line();
            rest = after;
        }
        self.line.push_str(rest);
        Ok(())
    }
}

fn ends_with_unit(name: &str, unit: &str) -> bool {
    name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

/// Units that names of metrics end with.
const UNITS: [&str; 2] = ["seconds", "bytes"];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &[&'static str]) -> Format {
        let mut headers = HeaderMap::new();
        for value in accept {
            headers.append(ACCEPT, hyper::header::HeaderValue::from_static(value));
        }
        Format::of(&headers)
    }

    #[test]
    fn gives_each_client_the_format_that_it_prefers() {
        // Prometheus 2.42 and 3.5, curl, a browser.
        let (old, new) = (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        );
        assert_eq!([of(&[old]), of(&[new])], [Format::OpenMetrics; 2]);
        assert_eq!([of(&[]), of(&["*/*"]), of(&["text/html,*/*;q=0.8"])], [Format::Text; 3]);

        let open = "application/openmetrics-text";
        assert_eq!(
            of(&["text/plain;q=0.4", "Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.5"]),
            Format::OpenMetrics
        );
        assert_eq!(of(&["application/openmetrics-text;q=0.2, text/plain;q=0.3"]), Format::Text);
        assert_eq!(of(&[open, "text/plain"]), Format::OpenMetrics, "the first of two that are liked as much");
        for none in [
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;charset=latin1",
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=0.5x",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            ";;q=,,=",
        ] {
            assert_eq!(of(&[none]), Format::Text, "{none}");
        }
    }

    fn written(format: Format, text: &str) -> String {
        let mut page = String::new();
        let mut writer = Writer::new(format, &mut page);
        // In pieces, as encoders write.
        for character in text.chars() {
            writer.write_char(character).unwrap();
        }
        page
    }

    const PAGE: &str = "# HELP outrigger_sent_bytes Bytes sent.\n# TYPE outrigger_sent_bytes counter\noutrigger_sent_bytes_total{a=\"# TYPE x\"} 7\n# HELP target Target.\n# TYPE target info\ntarget_info{a=\"b\"} 1\n# HELP odd Odd.\n# TYPE odd unknown\nodd 1.5\n# EOF\n";

    #[test]
    fn openmetrics_gets_units() {
        let want = PAGE.replace("counter\n", "counter\n# UNIT outrigger_sent_bytes bytes\n");
        assert_eq!(written(Format::OpenMetrics, PAGE), want);
    }

    #[test]
    fn the_text_format_names_families_as_their_samples() {
        assert_eq!(
            written(Format::Text, PAGE),
            "# HELP outrigger_sent_bytes_total Bytes sent.\n# TYPE outrigger_sent_bytes_total counter\noutrigger_sent_bytes_total{a=\"# TYPE x\"} 7\n# HELP target_info Target.\n# TYPE target_info gauge\ntarget_info{a=\"b\"} 1\n# HELP odd Odd.\n# TYPE odd untyped\nodd 1.5\n"
        );
    }
}
