//! What a pod's owner wishes: the annotations under `config.outrigger.io/`.

use serde_json::{Map, Value};

use super::MetricsFrom;
use super::containers::{CPU_REQUEST, MEMORY_LIMIT, MEMORY_REQUEST};

/// What a pod's owner wishes; what is not set is the mesh's default.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wishes<'a> {
    pub(super) cpu_request: Option<&'a str>,
    pub(super) cpu_limit: Option<&'a str>,
    pub(super) memory_request: Option<&'a str>,
    pub(super) memory_limit: Option<&'a str>,
    pub(super) skip_inbound_ports: Option<&'a str>,
    pub(super) skip_outbound_ports: Option<&'a str>,
    pub(super) skip_outbound_cidrs: Option<&'a str>,
    pub(super) access_log: Option<&'a str>,
    pub(super) log_filter: Option<&'a str>,
    pub(super) otlp: Option<&'a str>,
    pub(super) trace_ratio: Option<&'a str>,
    pub(super) drain_timeout: Option<&'a str>,
    pub(super) max_connection_age: Option<&'a str>,
    /// The control plane reads it from the pod, or from the pod's namespace: nothing of it is in the patch.
    inbound: Option<&'a str>,
    pub(super) client_cert_headers: Option<&'a str>,
    pub(super) client_headers: Option<&'a str>,
    pub(super) metrics: Option<&'a str>,
    pub(super) scrape: Option<&'a str>,
}

impl<'a> Wishes<'a> {
    /// Reads them; what is unknown or bad is a warning, and the default stays.
    pub(super) fn read(annotations: &'a Map<String, Value>) -> (Self, Vec<String>) {
        let mut wishes = Self::default();
        let mut warnings = Vec::new();
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PREFIX) else { continue };
            let Some((field, check, form)) = wishes.field(name) else {
                let known: Vec<&str> = ANNOTATIONS.iter().map(|(name, _)| *name).collect();
                warnings.push(format!(
                    "annotation {key} is unknown and ignored; known are {PREFIX}{{{}}}",
                    known.join(",")
                ));
                continue;
            };
            match value.as_str().map(str::trim) {
                Some(value) if check(value) => *field = Some(value),
                _ => warnings.push(format!("annotation {key}: {value} is not {form}; the default is used")),
            }
        }
        let Self { cpu_request, cpu_limit, memory_request, memory_limit, .. } = &mut wishes;
        warnings.extend(agree("cpu", cpu_request, cpu_limit, (CPU_REQUEST, None)));
        warnings.extend(agree("memory", memory_request, memory_limit, (MEMORY_REQUEST, Some(MEMORY_LIMIT))));
        (wishes, warnings)
    }

    fn field(&mut self, name: &str) -> Option<Field<'_, 'a>> {
        const QUANTITY: &str = "a quantity such as 50m or 32Mi";
        const PORTS: &str = "a list of ports such as 25,8000-8100";
        Some(match name {
            "cpu-request" => (&mut self.cpu_request, is_quantity, QUANTITY),
            "cpu-limit" => (&mut self.cpu_limit, is_quantity, QUANTITY),
            "memory-request" => (&mut self.memory_request, is_quantity, QUANTITY),
            "memory-limit" => (&mut self.memory_limit, is_memory_limit, "a quantity of 32Mi or more"),
            "skip-inbound-ports" => (&mut self.skip_inbound_ports, are_ports, PORTS),
            "skip-outbound-ports" => (&mut self.skip_outbound_ports, are_ports, PORTS),
            "skip-outbound-cidrs" => {
                (&mut self.skip_outbound_cidrs, are_cidrs, "a list of networks such as 192.0.2.0/24,2001:db8::/32")
            }
            "access-log" => (&mut self.access_log, is_access_log, "off, errors, all or sample:N"),
            "log-filter" => (&mut self.log_filter, is_log_filter, "a filter such as info,outrigger_sidecar=debug"),
            "otlp" => (&mut self.otlp, is_url, "an address such as http://collector.tracing:4317"),
            "trace-ratio" => (&mut self.trace_ratio, is_ratio, "a number from 0 to 1"),
            "drain-timeout" => (&mut self.drain_timeout, is_duration, "a duration such as 30s"),
            "max-connection-age" => (&mut self.max_connection_age, is_duration, "a duration such as 60m"),
            "inbound" => (&mut self.inbound, is_inbound, "permissive or strict"),
            "client-cert-headers" => (&mut self.client_cert_headers, is_keep_or_remove, "keep or remove"),
            "client-headers" => (&mut self.client_headers, is_none_or_add, "none or add"),
            "metrics" => (&mut self.metrics, is_metrics, "everyone, mesh or off"),
            "scrape" => (&mut self.scrape, are_pages, "a list of pages such as 9090/metrics,8081/actuator/prometheus"),
            _ => return None,
        })
    }
}

/// Where a value goes, what is a good one, and that in words.
type Field<'f, 'a> = (&'f mut Option<&'a str>, fn(&str) -> bool, &'static str);

fn is_text(text: &str) -> bool {
    !text.is_empty() && text.len() <= 256 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// A limit below the request would have the API server refuse the pod. What was not asked for gives way to what was.
fn agree<'a>(
    of: &str,
    request: &mut Option<&'a str>,
    limit: &mut Option<&'a str>,
    defaults: (&'static str, Option<&'static str>),
) -> Option<String> {
    let effective = request.unwrap_or(defaults.0);
    let bound = (*limit).or(defaults.1)?;
    if quantity(effective)? <= quantity(bound)? {
        return None;
    }
    match (*request, *limit) {
        (Some(asked), Some(most)) => {
            (*request, *limit) = (None, None);
            Some(format!(
                "annotation {PREFIX}{of}-request: {asked} is more than {of}-limit: {most}; the defaults are used"
            ))
        }
        (None, Some(_)) => {
            *request = *limit;
            None
        }
        (Some(_) | None, None) => {
            *limit = *request;
            None
        }
    }
}

fn is_none_or_add(text: &str) -> bool {
    matches!(text, "none" | "add")
}

fn is_keep_or_remove(text: &str) -> bool {
    matches!(text, "keep" | "remove")
}

fn is_quantity(text: &str) -> bool {
    quantity(text).is_some()
}

/// Below this the kernel ends the sidecar before it is ready, or soon after: it weighs 11 MiB when idle, and what it saves in the
/// volume `outrigger-state` counts too.
fn is_memory_limit(text: &str) -> bool {
    quantity(text).is_some_and(|bytes| bytes >= LEAST_MEMORY)
}

/// The sidecar refuses to start with a filter that it cannot read.
fn is_log_filter(text: &str) -> bool {
    is_text(text) && outrigger_daemon::logging::filter(text).is_ok()
}

/// A decimal number with one of the suffixes of Kubernetes' resource.Quantity, without exponents.
fn quantity(text: &str) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let is_number = digits.len() <= 20 && digits.starts_with(|c: char| c.is_ascii_digit());
    let number = digits.parse::<f64>().ok().filter(|number| is_number && *number > 0.0)?;
    Some(number * unit)
}

fn are_ports(text: &str) -> bool {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    is_text(text)
        && text.split(',').all(|range| match range.split_once('-') {
            Some((first, last)) => port(first).zip(port(last)).is_some_and(|(first, last)| first <= last),
            None => port(range).is_some(),
        })
}

fn are_cidrs(text: &str) -> bool {
    is_text(text)
        && text.split(',').all(|cidr| {
            let (address, bits) = cidr.trim().split_once('/').unwrap_or_else(|| (cidr.trim(), "0"));
            let most = match address.parse() {
                Ok(std::net::IpAddr::V4(_)) => 32,
                Ok(std::net::IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        })
}

fn is_access_log(text: &str) -> bool {
    let sample = |rate: &str| rate.parse::<u32>().is_ok_and(|rate| rate > 0);
    matches!(text, "off" | "errors" | "all") || text.strip_prefix("sample:").is_some_and(sample)
}

fn is_metrics(text: &str) -> bool {
    MetricsFrom::read(text).is_some()
}

/// Each a port and a path, without a query; Kubernetes would take `$(NAME)` for a variable.
fn are_pages(text: &str) -> bool {
    is_text(text)
        && text.split(',').all(|page| {
            let (port, path) = page.find('/').map_or((page, ""), |at| page.split_at(at));
            let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\$".contains(&byte));
            port.parse::<u16>().is_ok_and(|port| port > 0) && !path.is_empty() && is_path
        })
}

fn is_inbound(text: &str) -> bool {
    matches!(text, "permissive" | "strict")
}

fn is_url(text: &str) -> bool {
    let leads_to_a_host =
        |uri: http::Uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty());
    is_text(text) && text.parse().is_ok_and(leads_to_a_host)
}

fn is_ratio(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio))
}

fn is_duration(text: &str) -> bool {
    let number = ["ms", "s", "m"].iter().find_map(|unit| text.strip_suffix(unit));
    number.is_some_and(|number| {
        !number.is_empty() && number.len() <= 6 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

const LEAST_MEMORY: f64 = 32.0 * 1024.0 * 1024.0;
const PREFIX: &str = "config.outrigger.io/";

/// The annotations under `config.outrigger.io/` and what each is for.
pub const ANNOTATIONS: [(&str, &str); 18] = [
    ("cpu-request", "CPU that the sidecar asks for"),
    ("cpu-limit", "CPU that the sidecar may use at most; none by default"),
    ("memory-request", "memory that the sidecar asks for"),
    ("memory-limit", "memory at which the kernel ends the sidecar"),
    ("skip-inbound-ports", "ports of the pod that are not captured"),
    ("skip-outbound-ports", "ports elsewhere to which connections are not captured"),
    ("skip-outbound-cidrs", "networks to which connections are not captured"),
    ("access-log", "which requests are logged: off, errors, all, sample:N"),
    ("log-filter", "what the sidecar logs of itself"),
    ("otlp", "where its traces go, OTLP over gRPC"),
    ("trace-ratio", "share of the traces that the sidecar starts itself, 0 to 1"),
    ("drain-timeout", "longest wait for requests in flight when the pod ends"),
    ("max-connection-age", "age at which an inbound HTTP connection is to be replaced"),
    ("inbound", "permissive: mutual TLS and plaintext are accepted; strict: mutual TLS only"),
    ("client-cert-headers", "whether x-forwarded-client-cert and l5d-client-id reach the application: keep or remove"),
    (
        "client-headers",
        "whether requests name their sender in outrigger-client-id and outrigger-client-address: none or add",
    ),
    ("metrics", "who may read the sidecar's metrics: everyone, mesh, off"),
    ("scrape", "pages of the application that scrapers outside the mesh may GET in strict mode, PORT/PATH"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_annotation_of_the_table_is_read_and_no_other() {
        for (name, _) in ANNOTATIONS {
            assert!(Wishes::default().field(name).is_some(), "{name}");
        }
        assert!(Wishes::default().field("cpu").is_none());
    }

    #[test]
    fn good_values_are_taken_and_bad_ones_are_named() {
        for (name, good, bad) in [
            ("cpu-request", &["10m", "1", "0.5"][..], &["", "m", "-1", "10x", "1e3e3", "inf", "NaN"][..]),
            ("memory-request", &["250Mi", "1Gi", "1000000"], &["0", "Mi", "12 Mi"]),
            ("memory-limit", &["250Mi", "32Mi", "33554432"], &["0", "Mi", "1Mi", "31Mi", "1000m"]),
            ("skip-inbound-ports", &["25", "25,8000-8100"], &["0", "70000", "a", "25,,26", "", "9300-9200"]),
            ("log-filter", &["debug", "info,outrigger_sidecar=debug"], &["foo=bar=baz", "", "a=b"]),
            ("skip-outbound-cidrs", &["10.0.0.0/8", "2001:db8::/32,192.0.2.1"], &["10.0.0.0/33", "example.com"]),
            ("access-log", &["off", "sample:100"], &["sample:0", "some"]),
            ("otlp", &["http://collector.tracing:4317"], &["collector:4317", "https://x", "http://", "http://@:4317"]),
            ("trace-ratio", &["0", "0.1", "1"], &["1.1", "-0.1", "NaN"]),
            ("drain-timeout", &["30s", "500ms", "2m"], &["30", "s", "1h", "-1s"]),
            ("max-connection-age", &["30s", "60m"], &["30", "m", "1h", "-1s"]),
            ("client-cert-headers", &["keep", "remove"], &["", "true", "Keep"]),
            ("client-headers", &["none", "add"], &["", "true", "Add"]),
            ("metrics", &["everyone", "mesh", "off"], &["", "on", "Mesh"]),
            (
                "scrape",
                &["9090/metrics", "9090/a,81/b/c"],
                &["9090", "/metrics", "0/a", "9090/a?b", "9090/a 81/b", "9090/a,", "9090/$(A)"],
            ),
        ] {
            for (values, taken) in [(good, true), (bad, false)] {
                for value in values {
                    let annotations = Map::from_iter([(format!("{PREFIX}{name}"), Value::from(*value))]);
                    let (mut wishes, warnings) = Wishes::read(&annotations);
                    assert_eq!(*wishes.field(name).unwrap().0, taken.then_some(*value), "{name}={value}");
                    assert_eq!(warnings.is_empty(), taken, "{name}={value}: {warnings:?}");
                }
            }
        }
    }

    #[test]
    fn requests_and_limits_agree() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| (format!("{PREFIX}{name}"), Value::from(*value)));
            let annotations = Map::from_iter(pairs);
            let (wishes, warnings) = Wishes::read(&annotations);
            let owned = |wish: Option<&str>| wish.map(str::to_owned);
            (owned(wishes.memory_request), owned(wishes.memory_limit), warnings.len())
        };
        let some = |text: &str| Some(text.to_owned());

        assert_eq!(read(&[("memory-limit", "8Mi")]), (None, None, 1));
        assert_eq!(read(&[("memory-request", "1Gi")]), (some("1Gi"), some("1Gi"), 0));
        assert_eq!(read(&[("memory-request", "64Mi")]), (some("64Mi"), None, 0));
        assert_eq!(read(&[("memory-request", "64Mi"), ("memory-limit", "0.1Gi")]), (some("64Mi"), some("0.1Gi"), 0));
        assert_eq!(read(&[("memory-request", "1Gi"), ("memory-limit", "64Mi")]), (None, None, 1));
    }

    #[test]
    fn an_unknown_annotation_is_a_warning_that_names_the_known_ones() {
        let annotations = Map::from_iter([(format!("{PREFIX}cpu"), Value::from("1")), ("other/x".into(), "y".into())]);
        let (wishes, warnings) = Wishes::read(&annotations);
        assert_eq!((wishes, warnings.len()), (Wishes::default(), 1));
        assert!(warnings[0].contains("config.outrigger.io/cpu is unknown") && warnings[0].contains("cpu-request"));
    }
}
