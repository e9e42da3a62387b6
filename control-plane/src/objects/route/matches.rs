//! Which requests a rule is for.

use serde::Deserialize;

/// The matches of a rule: any of them; none matches everything.
#[derive(Clone, Debug, PartialEq)]
pub enum Matches {
    /// Of an HTTPRoute.
    Http(Vec<HttpMatch>),
    /// Of a GRPCRoute.
    Grpc(Vec<GrpcMatch>),
    /// TLSRoute and TCPRoute match all connections.
    All,
}

/// All conditions of one match of an HTTPRoute must hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatch {
    /// Path; the prefix `/` when unset.
    #[serde(default)]
    pub path: PathMatch,
    /// Headers.
    #[serde(default)]
    pub headers: Vec<NamedMatch>,
    /// Query parameters.
    #[serde(default)]
    pub query_params: Vec<NamedMatch>,
    /// Method.
    pub method: Option<String>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathMatch {
    /// How to compare.
    #[serde(default, rename = "type")]
    pub kind: PathKind,
    /// With what.
    #[serde(default = "slash")]
    pub value: String,
}

impl Default for PathMatch {
    fn default() -> Self {
        Self { kind: PathKind::default(), value: slash() }
    }
}

fn slash() -> String {
    "/".to_owned()
}

/// How paths are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum PathKind {
    /// The whole path.
    Exact,
    /// By path element.
    #[default]
    PathPrefix,
    /// The whole path.
    RegularExpression,
}

/// All conditions of one match of a GRPCRoute must hold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcMatch {
    /// Service and method.
    pub method: Option<GrpcMethod>,
    /// Metadata.
    #[serde(default)]
    pub headers: Vec<NamedMatch>,
}

/// A gRPC service and method; unset is any.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcMethod {
    /// How to compare.
    #[serde(default, rename = "type")]
    pub kind: StringKind,
    /// `package.Service`.
    #[serde(default)]
    pub service: String,
    /// Method name.
    #[serde(default)]
    pub method: String,
}

/// A condition on a header or a query parameter.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedMatch {
    /// How to compare.
    #[serde(default, rename = "type")]
    pub kind: StringKind,
    /// Name of the header or parameter.
    pub name: String,
    /// With what.
    pub value: String,
}

/// How texts are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
pub enum StringKind {
    /// Equal.
    #[default]
    Exact,
    /// The whole text.
    RegularExpression,
}
