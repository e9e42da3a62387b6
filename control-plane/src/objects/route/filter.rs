//! What a rule or a backend does to a request. `type` says which, and the field of that name must be there.

use serde::Deserialize;
use serde::de::{Error, IgnoredAny};

use super::{Cors, Mirror};

/// A filter of a rule or of one backend.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Written")]
pub enum Filter {
    /// Changes request headers.
    RequestHeaders(HeaderModifier),
    /// Changes response headers.
    ResponseHeaders(HeaderModifier),
    /// Answers with a redirect.
    Redirect(Redirect),
    /// Changes host or path.
    Rewrite(UrlRewrite),
    /// Copies requests to another Service.
    Mirror(Box<Mirror>),
    /// Lets pages of other origins in.
    Cors(Box<Cors>),
    /// Valid, but not implemented: the type.
    Unsupported(String),
}

/// Changes to headers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderModifier {
    /// Takes the place of all values.
    #[serde(default)]
    pub set: Vec<Header>,
    /// Comes beside the present values.
    #[serde(default)]
    pub add: Vec<Header>,
    /// Goes with all values.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// A redirect; what is unset stays.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// New host.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathModifier>,
    /// New port.
    pub port: Option<std::num::NonZeroU16>,
    /// 302 when unset.
    pub status_code: Option<u16>,
}

/// A rewrite; what is unset stays.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UrlRewrite {
    /// New host.
    pub hostname: Option<String>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// A new path.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "WrittenPath")]
pub enum PathModifier {
    /// The whole path.
    Full(String),
    /// What the rule's prefix matched.
    Prefix(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(rename = "type")]
    kind: Kind,
    request_header_modifier: Option<HeaderModifier>,
    response_header_modifier: Option<HeaderModifier>,
    request_redirect: Option<Redirect>,
    url_rewrite: Option<UrlRewrite>,
    request_mirror: Option<Box<Mirror>>,
    cors: Option<Box<Cors>>,
    external_auth: Option<IgnoredAny>,
    extension_ref: Option<IgnoredAny>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
enum Kind {
    RequestHeaderModifier,
    ResponseHeaderModifier,
    RequestRedirect,
    #[serde(rename = "URLRewrite")]
    UrlRewrite,
    RequestMirror,
    #[serde(rename = "CORS")]
    Cors,
    ExternalAuth,
    ExtensionRef,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::RequestHeaderModifier => "RequestHeaderModifier",
            Self::ResponseHeaderModifier => "ResponseHeaderModifier",
            Self::RequestRedirect => "RequestRedirect",
            Self::UrlRewrite => "URLRewrite",
            Self::RequestMirror => "RequestMirror",
            Self::Cors => "CORS",
            Self::ExternalAuth => "ExternalAuth",
            Self::ExtensionRef => "ExtensionRef",
        }
    }
}

impl TryFrom<Written> for Filter {
    type Error = serde::de::value::Error;

    fn try_from(w: Written) -> Result<Self, Self::Error> {
        let given = [
            w.request_header_modifier.is_some(),
            w.response_header_modifier.is_some(),
            w.request_redirect.is_some(),
            w.url_rewrite.is_some(),
            w.request_mirror.is_some(),
            w.cors.is_some(),
            w.external_auth.is_some(),
            w.extension_ref.is_some(),
        ];
        if given.iter().filter(|given| **given).count() > 1 {
            return Err(Error::custom(format!("a {} filter has the fields of another type", w.kind.name())));
        }
        let filter = match w.kind {
            Kind::RequestHeaderModifier => w.request_header_modifier.map(Self::RequestHeaders),
            Kind::ResponseHeaderModifier => w.response_header_modifier.map(Self::ResponseHeaders),
            Kind::RequestRedirect => w.request_redirect.map(Self::Redirect),
            Kind::UrlRewrite => w.url_rewrite.map(Self::Rewrite),
            Kind::RequestMirror => w.request_mirror.map(Self::Mirror),
            Kind::Cors => w.cors.map(Self::Cors),
            Kind::ExternalAuth => w.external_auth.map(|_| Self::Unsupported(w.kind.name().into())),
            Kind::ExtensionRef => w.extension_ref.map(|_| Self::Unsupported(w.kind.name().into())),
        };
        filter.ok_or_else(|| Error::custom(format!("a {} filter lacks the field of that name", w.kind.name())))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenPath {
    #[serde(rename = "type")]
    kind: PathKind,
    replace_full_path: Option<String>,
    replace_prefix_match: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum PathKind {
    ReplaceFullPath,
    ReplacePrefixMatch,
}

impl TryFrom<WrittenPath> for PathModifier {
    type Error = serde::de::value::Error;

    fn try_from(w: WrittenPath) -> Result<Self, Self::Error> {
        match (w.kind, w.replace_full_path, w.replace_prefix_match) {
            (PathKind::ReplaceFullPath, Some(path), None) => Ok(Self::Full(path)),
            (PathKind::ReplacePrefixMatch, None, Some(path)) => Ok(Self::Prefix(path)),
            (kind, _, _) => Err(Error::custom(format!("a path of type {kind:?} needs the field of that name only"))),
        }
    }
}
