//! Reads objects: the documents of a YAML text, where one that cannot be read fails the whole text with line and column,
//! and single objects as an API server sends them.

use std::sync::Arc;

use outrigger_proto::model::RouteKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_saphyr::{Error, RenderOptions, SnippetMode};

use super::policy::{WrittenBackend, WrittenTraffic};
use super::route::{Route, WrittenGrpc, WrittenHttp, WrittenTcp, WrittenTls, take_out};
use super::{Kind, Metadata, Namespace, Object, PolicyKind, endpoint_slice, node, pod, policy, service, workload};

/// Reads all documents of a YAML text.
///
/// # Errors
/// When one of them cannot be read.
pub fn read(text: &str) -> Result<Document, ReadError> {
    let mut document = Document::default();
    for part in split(text) {
        let kind: TypeMeta = match parse(&part) {
            Ok(Some(kind)) => kind,
            Ok(None) => continue, // nothing but comments
            Err(error) => return Err(error),
        };
        let group = kind.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        if (group, kind.kind.as_str()) == ("", "List") {
            return Err(part.error(1, 1, "a List is not read: write its items as documents"));
        }
        match Kind::named(group, &kind.kind) {
            Some(kind) => document.objects.push(object(kind, part)?),
            None => {
                document.skipped.push(Skipped { line: part.line + 1, api_version: kind.api_version, kind: kind.kind })
            }
        }
    }
    Ok(document)
}

/// Reads one object of a known kind from JSON. Of a route, what a newer API allows and nobody here understands is left out and
/// noted.
///
/// # Errors
/// When it cannot be read.
pub fn from_json(kind: Kind, value: serde_json::Value) -> Result<Object, serde_json::Error> {
    if let Kind::Policy(kind) = kind {
        return Ok(Object::Policy(Arc::new(policy::from_json(kind, &value)?)));
    }
    let Kind::Route(_) = kind else { return object(kind, value) };
    let mut value = value;
    object(kind, value.clone()).or_else(|_| {
        let unread = take_out(&mut value, |route| object(kind, route));
        Ok(match object(kind, value)? {
            Object::Route(route) => Object::Route(Arc::new(Route { unread, ..Arc::unwrap_or_clone(route) })),
            other => other,
        })
    })
}

fn object<W: Writing>(kind: Kind, writing: W) -> Result<Object, W::Error> {
    Ok(match kind {
        Kind::Namespace => {
            let WrittenNamespace { metadata } = writing.read()?;
            Object::Namespace(Arc::new(Namespace { meta: metadata }))
        }
        Kind::Service => Object::Service(Arc::new(writing.read::<service::Written>()?.into())),
        Kind::EndpointSlice => Object::EndpointSlice(Arc::new(writing.read::<endpoint_slice::Written>()?.into())),
        Kind::Pod => Object::Pod(Arc::new(writing.read::<pod::Pod>()?.0)),
        Kind::Node => Object::Node(Arc::new(writing.read::<node::Written>()?.into())),
        Kind::Workload => Object::Workload(Arc::new(writing.read::<workload::Written>()?.into())),
        Kind::Route(kind) => Object::Route(Arc::new(match kind {
            RouteKind::Http => writing.read::<WrittenHttp>()?.into(),
            RouteKind::Grpc => writing.read::<WrittenGrpc>()?.into(),
            RouteKind::Tls => writing.read::<WrittenTls>()?.into(),
            RouteKind::Tcp => writing.read::<WrittenTcp>()?.into(),
        })),
        Kind::Policy(kind) => Object::Policy(Arc::new(match kind {
            PolicyKind::Traffic => writing.read::<WrittenTraffic>()?.into(),
            PolicyKind::Backend => writing.read::<WrittenBackend>()?.into(),
        })),
    })
}

/// A text that an object is read from.
trait Writing {
    type Error;

    fn read<T: DeserializeOwned>(self) -> Result<T, Self::Error>;
}

impl Writing for Part<'_> {
    type Error = ReadError;

    fn read<T: DeserializeOwned>(self) -> Result<T, ReadError> {
        parse(&self)?.ok_or_else(|| self.error(1, 1, "the document is empty"))
    }
}

impl Writing for serde_json::Value {
    type Error = serde_json::Error;

    fn read<T: DeserializeOwned>(self) -> Result<T, serde_json::Error> {
        serde_json::from_value(self)
    }
}

/// What one YAML text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// The objects, in their order.
    pub objects: Vec<Object>,
    /// Documents of kinds that are not read.
    pub skipped: Vec<Skipped>,
}

/// A document of a kind that is not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it starts, from 1.
    pub line: usize,
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its `kind`.
    pub kind: String,
}

/// Why a text cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct ReadError {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TypeMeta {
    api_version: String,
    kind: String,
}

#[derive(Deserialize)]
struct WrittenNamespace {
    metadata: Metadata,
}

/// One document and the number of lines before it.
struct Part<'a> {
    text: &'a str,
    line: usize,
}

impl Part<'_> {
    fn error(&self, line: usize, column: usize, message: impl Into<String>) -> ReadError {
        ReadError { line: self.line + line, column, message: message.into() }
    }
}

/// Splits at document markers. In YAML `---` at the start of a line is one wherever it stands, even inside a block
/// scalar, so no parser is needed to find them.
fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let marker = line.strip_prefix("---").or_else(|| line.strip_prefix("..."));
        if marker.is_some_and(|rest| rest.trim_start() != rest || rest.is_empty()) {
            parts.push(Part { text: &text[start..offset], line: start_line });
            // What follows the marker on its line is a comment or the document's first node; both may stay behind it.
            (start, start_line) = (offset + 3, number);
        }
        offset += line.len();
    }
    parts.push(Part { text: &text[start..], line: start_line });
    parts
}

/// Parses one document; `None` when it holds nothing.
fn parse<T: DeserializeOwned>(part: &Part<'_>) -> Result<Option<T>, ReadError> {
    serde_saphyr::from_str::<Option<T>>(part.text).map_err(|error| {
        let at = error.location();
        let (line, column) = at.map_or((1, 1), |at| (at.line().max(1), at.column().max(1)));
        part.error(usize::try_from(line).unwrap_or(1), usize::try_from(column).unwrap_or(1), message(&error))
    })
}

/// The error without the place, which stands before it in our own form.
fn message(error: &Error) -> String {
    let mut options = RenderOptions::default();
    options.snippets = SnippetMode::Off;
    let text = error.render_with_options(options);
    let place = error.location().map(|at| format!(" at line {}, column {}", at.line(), at.column()));
    place.and_then(|place| text.strip_suffix(&place).map(str::to_owned)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{Filter, IntOrName, Kind};

    fn refusal(text: &str) -> String {
        read(text).expect_err("the text was accepted").to_string()
    }

    const ROUTE: &str = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\nspec:\n";

    #[test]
    fn names_line_and_column_in_the_whole_file() {
        let text = format!("# shop\n---\n{ROUTE}  parentRef: []\n");

        let refusal = refusal(&text);

        assert!(refusal.starts_with("7:3: unknown field `parentRef`"), "{refusal}");
        assert!(!refusal.contains("at line"), "{refusal}");
    }

    #[test]
    fn refuses_unknown_fields_of_routes_at_every_depth() {
        for (spec, field) in [
            ("  rules: [{matchs: []}]", "matchs"),
            ("  rules: [{matches: [{paths: {}}]}]", "paths"),
            ("  rules: [{backendRefs: [{name: a, wieght: 1}]}]", "wieght"),
            ("  rules: [{timeouts: {requests: 1s}}]", "requests"),
            ("  rules: [{retry: {tries: 1}}]", "tries"),
            ("  rules: [{filters: [{type: URLRewrite, urlRewrite: {host: a}}]}]", "host"),
            ("  rules: [{filters: [{type: CORS, cors: {origins: []}}]}]", "origins"),
        ] {
            let refusal = refusal(&format!("{ROUTE}{spec}\n"));
            assert!(refusal.contains(&format!("unknown field `{field}`")), "{refusal}");
        }
    }

    #[test]
    fn refuses_values_that_mean_nothing() {
        for spec in [
            "  rules: [{timeouts: {request: 5}}]",
            "  rules: [{backendRefs: [{name: a, weight: -1}]}]",
            "  rules: [{backendRefs: [{name: a, port: 70000}]}]",
            "  rules: [{filters: [{type: Mirror}]}]",
            "  rules: [{filters: [{type: URLRewrite, requestRedirect: {}}]}]",
            "  rules: [{filters: [{type: URLRewrite, urlRewrite: {}, requestRedirect: {}}]}]",
        ] {
            assert!(read(&format!("{ROUTE}{spec}\n")).is_err(), "{spec}");
        }
    }

    #[test]
    fn keeps_valid_filters_that_are_not_implemented() {
        let text = format!("{ROUTE}  rules: [{{filters: [{{type: ExtensionRef, extensionRef: {{name: a}}}}]}}]\n");

        let Object::Route(route) = read(&text).unwrap().objects.remove(0) else { panic!("not a route") };

        assert_eq!(route.rules[0].filters, [Filter::Unsupported("ExtensionRef".to_owned())]);
    }

    #[test]
    fn is_lenient_with_what_kubernetes_owns() {
        let text = "apiVersion: v1\nkind: Service\nmetadata: {name: a, uid: x, labels: null, creationTimestamp: null}\n\
                    spec:\n  clusterIP: 10.0.0.1\n  clusterIPs: [10.0.0.1, 'fd00::1']\n  sessionAffinity: None\n  \
                    selector: {version: 1}\n  ports: [{port: 53, protocol: UDP}, {port: 80, targetPort: web}, \
                    {port: 81, targetPort: '8080', nodePort: 1}]\n";

        let Object::Service(service) = read(text).unwrap().objects.remove(0) else { panic!("not a service") };

        assert_eq!(service.addresses.len(), 2);
        assert_eq!(service.selector["version"], "1");
        assert_eq!(service.ports.len(), 2, "UDP is not for the mesh");
        assert_eq!(service.ports[0].target_port, Some(IntOrName::Name("web".into())));
        assert_eq!(service.ports[1].target_port, Some(IntOrName::Number(8080.try_into().unwrap())));
    }

    #[test]
    fn reads_a_workload_with_its_defaults() {
        let text = "apiVersion: outrigger.io/v1alpha1\nkind: Workload\nmetadata: {name: web-1, namespace: shop}\n\
                    spec: {address: 10.1.0.1}\n";

        let Object::Workload(workload) = read(text).unwrap().objects.remove(0) else { panic!("not a workload") };

        assert_eq!(&*workload.service_account, "default");
        assert!(workload.meshed);
        assert!(refusal(&text.replace("address", "adress")).contains("unknown field `adress`"));
    }

    #[test]
    fn refuses_names_that_no_key_could_carry() {
        for name in ["Web", "a/b", "a..b", "-a", "''", "a_b", ".."] {
            let text = format!("apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n");
            assert!(read(&text).is_err(), "{name} was accepted");
        }
    }

    #[test]
    fn skips_kinds_that_it_does_not_know_and_empty_documents() {
        let document = read("# nothing\n---\n---\napiVersion: apps/v1\nkind: Deployment\nspec: {a: b}\n---\n").unwrap();

        assert_eq!(document.objects, []);
        assert_eq!((document.skipped[0].line, document.skipped[0].kind.as_str()), (3, "Deployment"));
    }

    #[test]
    fn tells_objects_apart_by_kind() {
        let text = format!(
            "{ROUTE}  rules: []\n---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n--- # c\n{}  rules: []\n",
            ROUTE.replace("HTTPRoute", "TCPRoute")
        );

        let kinds: Vec<Kind> = read(&text).unwrap().objects.iter().map(|object| object.id().kind).collect();

        use outrigger_proto::model::RouteKind::{Http, Tcp};
        assert_eq!(kinds, [Kind::Route(Http), Kind::Namespace, Kind::Route(Tcp)]);
    }
}
