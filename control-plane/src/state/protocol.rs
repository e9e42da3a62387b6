//! What a port carries, by declaration: `appProtocol` first, then the prefix of the port's name.

use outrigger_proto::wire::Protocol;

/// Returns the declared protocol; [`Protocol::Detect`] when nothing is declared or the word is unknown, which is safe:
/// the sidecar then looks at the bytes.
#[must_use]
pub fn declared(app_protocol: Option<&str>, port_name: &str) -> Protocol {
    if let Some(word) = app_protocol.filter(|word| !word.is_empty()) {
        return by_word(&word.to_ascii_lowercase()).unwrap_or(Protocol::Detect);
    }
    let name = port_name.to_ascii_lowercase();
    let prefix = name.split_once('-').map_or(name.as_str(), |(prefix, _)| prefix);
    by_word(&name).or_else(|| by_word(prefix)).unwrap_or(Protocol::Detect)
}

fn by_word(word: &str) -> Option<Protocol> {
    let (_, protocol) = TABLE.iter().find(|(words, _)| words.contains(&word))?;
    Some(*protocol)
}

/// Kubernetes' standard names, the IANA names and what other meshes taught users to write.
const TABLE: [(&[&str], Protocol); 4] = [
    // A WebSocket starts as an HTTP/1.1 request.
    (&["http", "http1", "http1.1", "grpc-web", "ws", "kubernetes.io/ws"], Protocol::Http),
    (&["http2", "h2c", "grpc", "kubernetes.io/h2c"], Protocol::Http2),
    (&["https", "tls", "ssl", "h2", "grpcs", "wss", "kubernetes.io/wss", "ldaps", "imaps", "smtps"], Protocol::Tls),
    (
        &[
            "tcp",
            "opaque",
            "redis",
            "mysql",
            "mongo",
            "mongodb",
            "postgres",
            "postgresql",
            "smtp",
            "imap",
            "pop3",
            "ftp",
            "ssh",
            "ldap",
            "kafka",
            "amqp",
            "mqtt",
            "nats",
            "cassandra",
            "cql",
            "memcache",
            "memcached",
            "zookeeper",
            "mssql",
            "oracle",
            "rtsp",
            "sip",
            "thrift",
            "dns",
        ],
        Protocol::Opaque,
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_app_protocol_in_all_its_forms() {
        for (word, protocol) in [
            ("http", Protocol::Http),
            ("HTTP", Protocol::Http),
            ("kubernetes.io/ws", Protocol::Http),
            ("http2", Protocol::Http2),
            ("grpc", Protocol::Http2),
            ("h2c", Protocol::Http2),
            ("kubernetes.io/h2c", Protocol::Http2),
            ("https", Protocol::Tls),
            ("tls", Protocol::Tls),
            ("kubernetes.io/wss", Protocol::Tls),
            ("tcp", Protocol::Opaque),
            ("redis", Protocol::Opaque),
            ("mysql", Protocol::Opaque),
            ("mongo", Protocol::Opaque),
            ("smtp", Protocol::Opaque),
            ("example.com/own", Protocol::Detect),
        ] {
            assert_eq!(declared(Some(word), ""), protocol, "{word}");
        }
    }

    #[test]
    fn reads_the_port_name_when_there_is_no_app_protocol() {
        for (name, protocol) in [
            ("http", Protocol::Http),
            ("http-web", Protocol::Http),
            ("grpc-web", Protocol::Http),
            ("http2-api", Protocol::Http2),
            ("grpc-orders", Protocol::Http2),
            ("https-web", Protocol::Tls),
            ("tls-x", Protocol::Tls),
            ("tcp-x", Protocol::Opaque),
            ("mysql", Protocol::Opaque),
            ("web", Protocol::Detect),
            ("httpx", Protocol::Detect),
            ("", Protocol::Detect),
        ] {
            assert_eq!(declared(None, name), protocol, "{name}");
        }
        assert_eq!(declared(Some("tcp"), "http"), Protocol::Opaque, "appProtocol has the last word");
        assert_eq!(declared(Some("example.com/own"), "http"), Protocol::Detect);
    }
}
