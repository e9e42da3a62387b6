//! What differs by design between a meshed workload and an unmeshed one. The page docs/reference/transparency.md is made of this list.

/// Something that a program can see of the mesh.
pub(crate) struct Difference {
    /// A short name, unique.
    pub(crate) name: &'static str,
    /// What a program sees, and why it is so: a paragraph of Markdown.
    pub(crate) what: &'static str,
    /// A line of a transcript without it.
    pub(crate) without: fn(&str) -> String,
}

/// What the transcripts are written without (message.rs): every row may show it.
pub(crate) const EVERYWHERE: &[&Difference] = &[&FRAMING];

/// What every row may show where requests may travel as HTTP/2.
pub(crate) const OVER_HTTP2: &[&Difference] = &[&NAMES];

const FRAMING: Difference = Difference {
    name: "Framing of HTTP/1",
    what: "`Connection`, `Keep-Alive`, `TE` and `Transfer-Encoding` are written by each hop, and the sizes of chunks and their extensions are not kept, as \
           [RFC 9112](https://www.rfc-editor.org/rfc/rfc9112#section-7.1) has it. Connections to the application are kept and used \
           again, by requests of several clients in turn.",
    without: str::to_owned,
};

/// What no row may show without saying so: all that the page has besides [`EVERYWHERE`].
pub(crate) const OF_ROWS: &[&Difference] =
    &[&ADDRESSES, &VERSION, &REASON, &CLOSING, &CRUMBS, &H2C, &DOTS, &DEADLINES, &ANSWERS];

pub(crate) const ADDRESSES: Difference = Difference {
    name: "Client addresses",
    what: "An application with a sidecar accepts connections from the address of its own pod, whatever the client's address is. \
           [Kubernetes features](kubernetes.md#client-addresses) lists what depends on it and what to do.",
    without: |line| line.replace("from SERVER", "from CLIENT"),
};

pub(crate) const VERSION: Difference = Difference {
    name: "HTTP/1.0",
    what: "A request of HTTP/1.0 reaches the application as HTTP/1.1, with a `Host` if it had none: the address that was dialled. The \
           answer arrives as HTTP/1.0, and an answer of HTTP/1.0 to a client of HTTP/1.1 as HTTP/1.1. Each hop states its own version \
           ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-2.5)).",
    without: |line| {
        let line = line.replace("HTTP/1.0", "HTTP/1.1").replace(" | host: SERVER", "");
        // As Python tells it.
        line.strip_prefix("10 ").map(|rest| format!("11 {rest}")).unwrap_or(line)
    },
};

pub(crate) const REASON: Difference = Difference {
    name: "Reason phrases",
    what: "Between two sidecars that use HTTP/2, which has no reason phrases, a status of HTTP/1 loses its phrase: the client reads the \
           standard one. Clients ignore the phrase ([RFC 9112](https://www.rfc-editor.org/rfc/rfc9112#section-4)).",
    without: |line| match line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split_once(" |")) {
        Some((status, rest)) => format!("HTTP/1.1 {} |{rest}", &status[..3]),
        // As Python tells it.
        None => line.replace("418 I'm a Teapot", "418 I'm a teapot"),
    },
};

pub(crate) const CLOSING: Difference = Difference {
    name: "Connections that the application closes",
    what: "When an application closes its connection after a complete answer, the client's connection to the sidecar stays open for the \
           next request. An answer without a length, which ends with the connection, arrives with `Transfer-Encoding: chunked`.",
    without: |line| match line {
        "silence" => "the end".to_owned(),
        _ => line.replace(" | transfer-encoding: chunked", "").replace("('transfer-encoding', 'chunked')", ""),
    },
};

pub(crate) const CRUMBS: Difference = Difference {
    name: "Several Cookie fields",
    what: "Between two sidecars that use HTTP/2, several `Cookie` fields of one request become one, joined by `; ` \
           ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113#section-8.2.3)).",
    without: |line| line.replace(" | cookie: ", "; ").replacen("; ", " | cookie: ", 1),
};

pub(crate) const H2C: Difference = Difference {
    name: "Upgrade to HTTP/2",
    what: "An offer to upgrade from HTTP/1.1 to HTTP/2 in plaintext (`Upgrade: h2c`) does not reach the application; the exchange goes on as \
           HTTP/1.1. [RFC 9113](https://www.rfc-editor.org/rfc/rfc9113#section-3.1) withdrew this upgrade, and attackers use it to get past \
           proxies. HTTP/2 with prior knowledge works.",
    without: |line| {
        ["HTTP2-Settings: AAMAAABkAAQAAP__", "http2-settings: AAMAAABkAAQAAP__", "Upgrade: h2c", "upgrade: h2c"]
            .iter()
            .fold(line.to_owned(), |line, field| line.replace(&format!(" | {field}"), ""))
    },
};

pub(crate) const DOTS: Difference = Difference {
    name: "Dot segments in a target",
    what: "Where the rules of a route send `/a/../b` and `/b` to different places, or rewrite paths, `/a/../b` arrives as `/b`. Otherwise the \
           application could serve a path that the rules did not see. Where both are of one rule the target arrives as it was written.",
    without: |line| line.replace("/a/../kept/", "/kept/"),
};

pub(crate) const DEADLINES: Difference = Difference {
    name: "Deadlines",
    what: "A gRPC call may arrive with a smaller `grpc-timeout` than the client wrote: what is left of it, or of the route's timeout. A request that has \
           `traceparent` and a deadline, or is a retry, has one more member in `tracestate`. \
           [Timeouts and retries](timeouts-and-retries.md#from-service-to-service) says what it is for.",
    without: str::to_owned,
};

pub(crate) const ANSWERS: Difference = Difference {
    name: "Answers of the mesh",
    what: "Where an HTTP client's connection would be refused or would break off before an answer, it gets an answer of 502, 503 or 504 with a \
           [code](errors.md) and a `Proxy-Status` field. A client of HTTP/2 gets a gRPC status if it speaks gRPC. A request that \
           two servers could read differently, such as one with tabs in its first line, is answered with 400. A connection that is not HTTP ends \
           as it would without the mesh.",
    without: |_| String::new(),
};

pub(crate) const NAMES: Difference = Difference {
    name: "Names of header fields",
    what: "Between two sidecars that use HTTP/2, and in interim responses (1xx), names of fields arrive in lower case, and fields of \
           different names may change their order. Fields of one name keep theirs. HTTP compares names without regard to case \
           ([RFC 9110](https://www.rfc-editor.org/rfc/rfc9110#section-5.1)), and HTTP/2 has lower case only.",
    without: |line| line.split(" + ").map(in_lower_case).collect::<Vec<_>>().join(" + "),
};

/// A message with its fields by name, in lower case.
fn in_lower_case(message: &str) -> String {
    let mut parts: Vec<String> = message.split(" | ").map(str::to_owned).collect();
    if parts.len() < 3 || !parts[0].contains("HTTP/1.") {
        return message.to_owned();
    }
    let last = parts.len() - 1;
    for field in &mut parts[1..last] {
        if let Some((name, value)) = field.split_once(':') {
            *field = format!("{}: {}", name.to_ascii_lowercase(), value.trim());
        }
    }
    parts[1..last].sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
    parts.join(" | ")
}
