//! The page of error codes.

use std::fmt::Write as _;

use outrigger_proto::{ErrorCode, grpc_status_name};

/// Every error that the mesh makes: a table to find it, and a section each to act on.
pub(crate) fn page() -> String {
    let mut page = format!(
        "{}\n# Error codes\n\n{INTRODUCTION}\n\n| Code | Token | HTTP | gRPC | Means |\n|---|---|---|---|---|\n",
        crate::GENERATED
    );
    for info in ErrorCode::ALL.iter().map(|code| code.info()) {
        let http = info.http_status.map_or_else(|| "connection closed".to_owned(), |status| status.to_string());
        let (code, token, means) = (info.code, info.token, info.means);
        let anchor = code.to_lowercase();
        let grpc = grpc_name(info.grpc_status);
        let _ = writeln!(page, "| [{code}](#{anchor}) | `{token}` | {http} | {grpc} | {means} |");
    }
    for info in ErrorCode::ALL.iter().map(|code| code.info()) {
        let _ = write!(
            page,
            "\n## {}\n\n`{}`: {}\n\n**Usual causes.** {}\n\n**What to do.** {}\n",
            info.code, info.token, info.means, info.causes, info.next
        );
    }
    page
}

const INTRODUCTION: &str = "\
A response that the mesh makes carries one of these codes: in its `Proxy-Status` header (RFC 9209) as `details`, at the \
start of its one-line body, in the access log, on the span and as the metrics' `reason`. For a gRPC call it is in the \
status message. A response of the app carries none. `outrigger explain E002` prints the same text as this page.";

/// The name that gRPC gives to a status.
fn grpc_name(status: u8) -> String {
    grpc_status_name(status).map_or_else(|| status.to_string(), str::to_owned)
}
