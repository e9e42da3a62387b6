//! `outrigger explain CODE`: a row of the error table, or of the table of findings.

use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{API_VERSION, Format, Output, Stream, Style};
use outrigger_proto::{ErrorCode, ErrorInfo, grpc_status_name};
use serde_json::json;

use crate::findings::{self, Finding};

/// `outrigger explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code or the token of an error that the mesh made, as its message, log line or metric shows it; or a code of
    /// `outrigger check`.
    #[arg(value_name = "CODE", required_unless_present = "list")]
    code: Option<String>,
    /// List all codes.
    #[arg(long, conflicts_with = "code")]
    list: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if let Some(finding) = args.code.as_deref().and_then(findings::find) {
        of_check(finding, args.output, output);
    } else if let Some(code) = &args.code {
        let code: ErrorCode = code.trim().parse().map_err(|_| unknown(code))?;
        one(code.info(), args.output, output);
    } else {
        list(args.output, output);
    }
    Ok(Exit::Yes)
}

/// What `outrigger check` found.
fn of_check(finding: &Finding, format: Format, output: &Output) {
    let Finding { code, looks_at, means, next, .. } = finding;
    if format == Format::Json {
        let document = json!({
            "apiVersion": API_VERSION, "kind": "Finding", "code": code, "looksAt": looks_at, "means": means, "next": next,
        });
        return output.json(&document);
    }
    let heading = |word: &str| output.paint(Stream::Stdout, Style::Bold, &format!("{word:<10}"));
    output.data(&output.paint(Stream::Stdout, Style::Bold, &format!("{code} of outrigger check")));
    for (word, text) in [("looks at", looks_at), ("means", means), ("next", next)] {
        output.data(&format!("{}{text}", heading(word)));
    }
}

fn one(info: &ErrorInfo, format: Format, output: &Output) {
    if format == Format::Json {
        return output.json(&document(info));
    }
    let heading = |word: &str| output.paint(Stream::Stdout, Style::Bold, &format!("{word:<8}"));
    let http = info.http_status.map_or_else(|| "connection closed".to_owned(), |status| format!("HTTP {status}"));
    output.data(&output.paint(Stream::Stdout, Style::Bold, &format!("{} {}", info.code, info.token)));
    output.data(&format!("{}{http}, gRPC {}", heading("answer"), grpc_name(info.grpc_status)));
    output.data(&format!("{}{}", heading("means"), info.means));
    output.data(&format!("{}{}", heading("causes"), info.causes));
    output.data(&format!("{}{}", heading("next"), info.next));
}

fn list(format: Format, output: &Output) {
    if format == Format::Json {
        let items: Vec<_> = ErrorCode::ALL.iter().map(|code| document(code.info())).collect();
        return output.json(&json!({"apiVersion": API_VERSION, "kind": "ErrorCodeList", "items": items}));
    }
    for code in ErrorCode::ALL {
        let info = code.info();
        output.data(&format!("{}  {:<26}{}", info.code, info.token, info.means));
    }
}

fn document(info: &ErrorInfo) -> serde_json::Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "ErrorCode",
        "code": info.code,
        "token": info.token,
        "httpStatus": info.http_status,
        "grpcStatus": info.grpc_status,
        "means": info.means,
        "causes": info.causes,
        "next": info.next,
    })
}

fn unknown(asked: &str) -> Failure {
    let names = ErrorCode::ALL.iter().flat_map(|code| [code.code(), code.token()]);
    let asked_lower = asked.to_ascii_lowercase();
    let similar = |name: &str| strsim::jaro_winkler(&asked_lower, &name.to_ascii_lowercase());
    let nearest = names.min_by(|a, b| similar(b).total_cmp(&similar(a))).filter(|name| similar(name) > 0.7);
    let list = "`outrigger explain --list` shows all codes";
    let hint = nearest.map_or_else(|| list.to_owned(), |name| format!("did you mean `{name}`? {list}"));
    Failure::new(format!("no error code `{asked}`"), hint)
}

/// The name of a gRPC status code, as the table of errors and the gRPC documentation spell it.
fn grpc_name(status: u8) -> String {
    format!("{status} {}", grpc_status_name(status).unwrap_or("?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_grpc_statuses() {
        for code in ErrorCode::ALL {
            assert!(!grpc_name(code.info().grpc_status).contains('?'), "{code}");
        }
        assert_eq!(grpc_name(14), "14 UNAVAILABLE");
    }

    #[test]
    fn suggests_the_nearest_code() {
        let hint = |asked| unknown(asked).hint.unwrap();
        assert!(hint("tls_certificate").contains("`tls_certificate_error`"));
        assert!(hint("E0O1").contains("`E001`"));
        assert!(hint("xyzzy").starts_with("`outrigger explain --list`"));
    }
}
