//! Whether an answer is what a case says.

use std::collections::BTreeMap;

use super::ask::{Answer, Seen};
use super::case::{Case, Fact, Outcome};

/// What is wrong with the answer to a case.
pub(super) fn answer(case: &Case, client: &str, got: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    let mut same = |what: &str, got: &str, wanted: &str| {
        if got != wanted {
            faults.push(format!("{what} is `{got}`, not `{wanted}`"));
        }
    };
    match &case.outcome {
        Outcome::Status(status) => same("the status", &got.status.to_string(), &status.to_string()),
        Outcome::Grpc(status) => {
            same("the status of HTTP", &got.status.to_string(), "200");
            same("the status of gRPC", &got.grpc, &status.to_string());
        }
        Outcome::Closed => same("what the server said", &got.body, ""),
        Outcome::Open | Outcome::Mixed(_) => same("the error", &got.error, ""),
    }
    same("the backend", &app(got), case.backend.unwrap_or("-"));
    same("the Location", &text(got.header("location")), case.fact("location").unwrap_or("-"));
    if let Some(code) = case.fact("code") {
        let status = text(got.header("proxy-status"));
        same("the code", if status.contains(code) { code } else { &status }, code);
    }
    for Fact { key, value } in &case.facts {
        if let Some(name) = key.strip_prefix("answer:") {
            same(&format!("the answer's {name}"), &text(got.header(name)), value);
        }
    }
    if let Some(seen) = got.seen().filter(|_| case.backend.is_some()) {
        let sent = [("method", case.method), ("path", case.target), ("host", case.authority)];
        for (what, sent) in sent {
            same(what, &value(&seen, what), case.fact(what).unwrap_or(sent));
        }
        if client != "grpc" {
            same("body", &seen.start, case.body);
        }
        let version = if matches!(client, "h1" | "tls") { "HTTP/1.1" } else { "HTTP/2.0" };
        same("the version", &seen.proto, version);
        for Fact { key, value: wanted } in case.facts.iter().filter(|fact| fact.key.starts_with("seen:")) {
            same(key, &value(&seen, key), wanted);
        }
    } else if case.backend.is_some() && !matches!(case.outcome, Outcome::Open) && case.method != "HEAD" {
        faults.push("the backend does not say what it saw".to_owned());
    }
    faults
}

/// What is wrong with what a backend has got, by one fact.
pub(super) fn told(fact: &Fact, requests: &[Seen]) -> Option<String> {
    let got = match (fact.key, requests.last()) {
        ("count", _) => requests.len().to_string(),
        (key, Some(seen)) => value(seen, key),
        (_, None) => "nothing".to_owned(),
    };
    (got != fact.value).then(|| format!("{} is `{got}`, not `{}`", fact.key, fact.value))
}

/// What is wrong with how many requests ended where.
pub(super) fn shares(wanted: &[(&str, u32)], answers: &[Answer]) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for answer in answers {
        let app = app(answer);
        let who = if app != "-" {
            app
        } else if answer.error.is_empty() {
            answer.status.to_string()
        } else {
            answer.error.clone()
        };
        *counts.entry(who).or_default() += 1;
    }
    let near = |(who, percent): &(&str, u32)| {
        let wanted = answers.len() * *percent as usize / 100;
        counts.get(*who).is_some_and(|count| count.abs_diff(wanted) <= answers.len() / 10)
    };
    if counts.len() == wanted.len() && wanted.iter().all(near) {
        Vec::new()
    } else {
        vec![format!("shares are {counts:?}")]
    }
}

/// The app that answered.
fn app(answer: &Answer) -> String {
    let pod = answer.pod();
    pod.and_then(|pod| Some(pod.split_once('-')?.0.to_owned())).unwrap_or_else(|| "-".to_owned())
}

/// What a fact is about, as the backend saw it.
fn value(seen: &Seen, key: &str) -> String {
    match key {
        "method" => seen.method.clone(),
        "path" => seen.target.clone(),
        "host" => seen.host.clone(),
        "body" => seen.start.clone(),
        _ => text(key.strip_prefix("seen:").and_then(|name| seen.header(name))),
    }
}

fn text(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// Requests of which shares are taken: ten points are four standard deviations and more.
pub(super) const MANY: usize = 400;
