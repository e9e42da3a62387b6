//! What a CORS filter asks for.

use serde::Deserialize;

/// What pages of other origins may do (GEP-1767).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cors {
    /// Origins, `*` for any.
    #[serde(default)]
    pub allow_origins: Vec<String>,
    /// Cookies and the like may come along.
    #[serde(default)]
    pub allow_credentials: bool,
    /// Methods, `*` for any.
    #[serde(default)]
    pub allow_methods: Vec<String>,
    /// Request headers, `*` for any.
    #[serde(default)]
    pub allow_headers: Vec<String>,
    /// Response headers that a page may read, `*` for all.
    #[serde(default)]
    pub expose_headers: Vec<String>,
    /// How many seconds an answer to a preflight holds.
    #[serde(default = "five")]
    pub max_age: u32,
}

fn five() -> u32 {
    5
}
