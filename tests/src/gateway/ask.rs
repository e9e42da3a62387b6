//! What `test-app ask` reads and prints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A request to send.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Question {
    pub(super) client: &'static str,
    pub(super) method: String,
    pub(super) dial: String,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) proto: String,
    headers: Option<Headers>,
    pub(super) body: String,
    pub(super) grpc: String,
    pub(super) error: String,
}

impl Answer {
    /// A header's values, joined; `None` when it is not there.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        joined(self.headers.as_ref()?, name)
    }

    /// The name of the pod that answered.
    pub(super) fn pod(&self) -> Option<String> {
        self.header("x-pod").or_else(|| Some(self.body.strip_prefix("220 ")?.split(' ').next()?.to_owned()))
    }

    /// What the backend saw, by what it says.
    pub(super) fn seen(&self) -> Option<Seen> {
        serde_json::from_str(&self.body).ok()
    }
}

/// A request as a backend saw it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) proto: String,
    headers: Headers,
    pub(super) start: String,
}

impl Seen {
    /// A header's values, joined; `None` when it is not there.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        joined(&self.headers, name)
    }
}

type Headers = BTreeMap<String, Vec<String>>;

fn joined(headers: &Headers, name: &str) -> Option<String> {
    let (_, values) = headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name))?;
    Some(values.join(",").replace(", ", ","))
}
