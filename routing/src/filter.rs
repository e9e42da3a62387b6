//! Filters of a rule or backend: checked and turned round once, so that a request pays for what it changes only.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Response, request};
use outrigger_proto::model::{self, Filter, HeaderModifier, PathModifier};

use crate::cors::{self, Cors};
use crate::path;
use crate::redirect::Redirect;
use crate::target::{UriTooLong, compile_path, host_name};
use crate::{CompileError, Matched};

/// The filters of a rule or of a backend; the default has none.
#[derive(Debug, Default)]
pub struct Filters {
    request: Box<[RequestFilter]>,
    response: Box<[HeaderChange]>,
    redirect: Option<Redirect>,
    cors: Option<Box<Cors>>,
}

impl Filters {
    pub(crate) fn compile(filters: &[Filter]) -> Result<Self, CompileError> {
        let (mut request, mut response, mut redirect) = (Vec::new(), Vec::new(), None);
        let mut cors = None;
        for (index, filter) in filters.iter().enumerate() {
            let at = |e: CompileError| e.within(kind(filter)).within(format_args!("filters[{index}]"));
            let twice = |problem| CompileError::at(kind(filter), problem).within(format_args!("filters[{index}]"));
            match filter {
                Filter::RequestHeaders(headers) => {
                    request.push(RequestFilter::Headers(HeaderChange::compile(headers).map_err(at)?));
                }
                Filter::ResponseHeaders(headers) => response.push(HeaderChange::compile(headers).map_err(at)?),
                Filter::Rewrite(rewrite) => {
                    request.push(RequestFilter::Rewrite(Rewrite::compile(rewrite).map_err(at)?));
                }
                Filter::Redirect(model) => {
                    if redirect.replace(Redirect::compile(model).map_err(at)?).is_some() {
                        return Err(twice("a rule has one at most"));
                    }
                }
                Filter::Cors(model) => {
                    if cors.replace(Box::new(Cors::new(model))).is_some() {
                        return Err(twice("a rule or a backend has one at most"));
                    }
                }
                // It changes neither request nor response: see `crate::mirror`.
                Filter::Mirror(_) => {}
            }
        }
        let rewrites = request.iter().any(|filter| matches!(filter, RequestFilter::Rewrite(_)));
        if rewrites && redirect.is_some() {
            return Err(CompileError::at("filters", "RequestRedirect and URLRewrite exclude each other"));
        }
        Ok(Self { request: request.into(), response: response.into(), redirect, cors })
    }

    pub(crate) fn compile_of_backend(filters: &[Filter]) -> Result<Self, CompileError> {
        let compiled = Self::compile(filters)?;
        if compiled.redirect.is_some() {
            return Err(CompileError::at("filters", "RequestRedirect is not supported on a backend"));
        }
        Ok(compiled)
    }

    pub(crate) fn replaces_prefix(filter: &Filter) -> bool {
        let path = match filter {
            Filter::Rewrite(rewrite) => &rewrite.path,
            Filter::Redirect(redirect) => &redirect.path,
            Filter::RequestHeaders(_) | Filter::ResponseHeaders(_) | Filter::Mirror(_) | Filter::Cors(_) => &None,
        };
        matches!(path, Some(PathModifier::ReplacePrefix(_)))
    }

    /// Says whether they make another path of a request's.
    pub(crate) fn change_path(&self) -> bool {
        let rewrites = |filter: &RequestFilter| matches!(filter, RequestFilter::Rewrite(Rewrite { path: Some(_), .. }));
        self.redirect.is_some() || self.request.iter().any(rewrites)
    }

    /// Returns the redirect that answers in place of a backend.
    #[must_use]
    #[inline]
    pub fn redirect(&self) -> Option<&Redirect> {
        self.redirect.as_ref()
    }

    /// Answers a browser that asks what it may do, in place of a backend.
    #[must_use]
    #[inline]
    pub fn preflight(&self, parts: &request::Parts) -> Option<Response<()>> {
        self.cors.as_ref()?.preflight(parts)
    }

    /// Returns the request's origin when [`Self::apply_response`] wants it.
    #[must_use]
    #[inline]
    pub fn origin(&self, parts: &request::Parts) -> Option<HeaderValue> {
        self.cors.as_ref().and_then(|_| cors::origin(&parts.headers))
    }

    /// Changes a request's head, filter by filter; `matched` follows when the path changes.
    ///
    /// # Errors
    /// When the new path does not fit a URI; the head is then half changed.
    #[inline]
    pub fn apply_request(&self, parts: &mut request::Parts, matched: &mut Matched) -> Result<(), UriTooLong> {
        for filter in &self.request {
            match filter {
                RequestFilter::Headers(change) => change.apply(&mut parts.headers),
                RequestFilter::Rewrite(rewrite) => rewrite.apply(parts, matched)?,
            }
        }
        Ok(())
    }

    /// Changes a response's headers, filter by filter; `origin` is the request's.
    #[inline]
    pub fn apply_response(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        for change in &self.response {
            change.apply(headers);
        }
        // Last: what a browser may do is this filter's alone to say.
        if let Some(cors) = &self.cors {
            cors.answer(origin, headers);
        }
    }
}

/// Where a filter's fields are in an object.
fn kind(filter: &Filter) -> &'static str {
    match filter {
        Filter::RequestHeaders(_) => "requestHeaderModifier",
        Filter::ResponseHeaders(_) => "responseHeaderModifier",
        Filter::Redirect(_) => "requestRedirect",
        Filter::Rewrite(_) => "urlRewrite",
        Filter::Mirror(_) => "requestMirror",
        Filter::Cors(_) => "cors",
    }
}

#[derive(Debug)]
enum RequestFilter {
    Headers(HeaderChange),
    Rewrite(Rewrite),
}

/// Set, then add, then remove.
#[derive(Debug)]
struct HeaderChange {
    set: Box<[(HeaderName, HeaderValue)]>,
    add: Box<[(HeaderName, HeaderValue)]>,
    remove: Box<[HeaderName]>,
}

impl HeaderChange {
    fn compile(modifier: &HeaderModifier) -> Result<Self, CompileError> {
        let names =
            |list: &[(HeaderName, HeaderValue)], field| list.iter().try_for_each(|(name, _)| check_name(name, field));
        names(&modifier.set, "set")?;
        names(&modifier.add, "add")?;
        modifier.remove.iter().try_for_each(|name| check_name(name, "remove"))?;
        let remove = modifier.remove.clone().into();
        Ok(Self { set: first_of_each(&modifier.set), add: first_of_each(&modifier.add), remove })
    }

    fn apply(&self, headers: &mut HeaderMap) {
        // The clones are of reference counts or of static names, never of bytes.
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
        for name in &self.remove {
            headers.remove(name);
        }
    }
}

/// Of several entries for one name the first counts (Gateway API).
fn first_of_each(list: &[(HeaderName, HeaderValue)]) -> Box<[(HeaderName, HeaderValue)]> {
    let is_first = |(index, (name, _)): &(usize, &(HeaderName, HeaderValue))| {
        list[..*index].iter().all(|(earlier, _)| earlier != name)
    };
    list.iter().enumerate().filter(is_first).map(|(_, header)| header.clone()).collect()
}

fn check_name(name: &HeaderName, field: &str) -> Result<(), CompileError> {
    if *name == header::HOST {
        return Err(CompileError::at(field, "`host` is changed by the hostname of a URLRewrite, not as a header"));
    }
    // What frames a message or belongs to one connection (RFC 9110 section 7.6.1) is the proxy's own.
    const FRAMING: [HeaderName; 5] =
        [header::CONNECTION, header::CONTENT_LENGTH, header::TE, header::TRANSFER_ENCODING, header::UPGRADE];
    if FRAMING.contains(name) || matches!(name.as_str(), "trailer" | "keep-alive" | "proxy-connection") {
        return Err(CompileError::at(field, format_args!("`{name}` belongs to one connection and cannot be changed")));
    }
    Ok(())
}

#[derive(Debug)]
struct Rewrite {
    host: Option<(HeaderValue, Authority)>,
    path: Option<PathModifier>,
}

impl Rewrite {
    fn compile(rewrite: &model::Rewrite) -> Result<Self, CompileError> {
        let host = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            Ok((value.clone(), host_name(text)?))
        };
        Ok(Self {
            host: rewrite.hostname.as_ref().map(host).transpose()?,
            path: rewrite.path.as_ref().map(compile_path).transpose()?,
        })
    }

    fn apply(&self, parts: &mut request::Parts, matched: &mut Matched) -> Result<(), UriTooLong> {
        let mut authority = None;
        if let Some((host, as_authority)) = &self.host {
            parts.headers.insert(header::HOST, host.clone());
            authority = parts.uri.authority().is_some().then(|| as_authority.clone());
        }
        // Only CONNECT and `OPTIONS *` come without a path that a rule could have matched.
        let path = self.path.as_ref().filter(|_| parts.uri.path().starts_with('/'));
        if authority.is_none() && path.is_none() {
            return Ok(());
        }
        let path_and_query = match path {
            Some(modifier) => {
                let prefix = usize::from(matched.prefix);
                let new = path::modified(modifier, parts.uri.path(), prefix);
                matched.prefix = new_prefix(modifier, &new);
                Some(with_query(new, parts.uri.query())?)
            }
            None => None,
        };
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.authority = authority.or(uri.authority);
        uri.path_and_query = path_and_query.or(uri.path_and_query);
        // Scheme, authority and path stay present or absent as they were, so they still go together.
        parts.uri = Uri::from_parts(uri).map_err(|_| UriTooLong)?;
        Ok(())
    }
}

/// Returns how much of the new path a later filter may take for the matched prefix.
fn new_prefix(modifier: &PathModifier, new: &str) -> u16 {
    let prefix = match modifier {
        PathModifier::ReplaceFull(_) => new,
        PathModifier::ReplacePrefix(prefix) => prefix,
    };
    // Longer than that is longer than a URI, which is refused a moment later.
    u16::try_from(prefix.strip_suffix('/').unwrap_or(prefix).len()).unwrap_or(u16::MAX)
}

fn with_query(mut path: String, query: Option<&str>) -> Result<PathAndQuery, UriTooLong> {
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).map_err(|_| UriTooLong)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> Vec<(HeaderName, HeaderValue)> {
        list.iter().map(|(n, v)| (n.to_ascii_lowercase().parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    /// The request headers `x-…` after a modifier, with the lines of one name joined.
    fn changed(modifier: HeaderModifier, present: &[(&'static str, &'static str)]) -> Vec<String> {
        let filters = Filters::compile(&[Filter::RequestHeaders(modifier)]).unwrap();
        let mut parts = Request::get("/").body(()).unwrap().into_parts().0;
        parts.headers.extend(headers(present));
        filters.apply_request(&mut parts, &mut Matched { place: 0, prefix: 0 }).unwrap();
        let joined = |name: &HeaderName| {
            let lines: Vec<&str> = parts.headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
            format!("{name}={}", lines.join(","))
        };
        let mut all: Vec<String> = parts.headers.keys().map(joined).collect();
        all.sort();
        all
    }

    // The cases of MeshHTTPRouteRequestHeaderModifier.
    #[test]
    fn changes_request_headers() {
        let set = || HeaderModifier { set: headers(&[("X-Header-Set", "new")]), ..HeaderModifier::default() };
        let add = || HeaderModifier { add: headers(&[("X-Header-Add", "added")]), ..HeaderModifier::default() };
        let remove = HeaderModifier { remove: vec!["x-header-remove".parse().unwrap()], ..HeaderModifier::default() };
        let all = HeaderModifier {
            set: headers(&[("X-Set-1", "a"), ("X-Set-2", "b"), ("x-set-1", "ignored")]),
            add: headers(&[("X-Add-1", "c"), ("X-Add-2", "d")]),
            remove: vec!["X-Remove-1".parse().unwrap(), "x-remove-2".parse().unwrap()],
        };
        let present =
            [("x-set-1", "old"), ("x-add-1", "old"), ("x-remove-1", "old"), ("x-remove-2", "old"), ("x-kept", "old")];
        let kept = ["x-add-1=old,c", "x-add-2=d", "x-kept=old", "x-set-1=a", "x-set-2=b"];
        for (modifier, present, want) in [
            (set(), &[][..], &["x-header-set=new"][..]),
            (set(), &[("x-header-set", "old"), ("x-header-set", "older")], &["x-header-set=new"]),
            (add(), &[], &["x-header-add=added"]),
            (add(), &[("X-Header-Add", "old")], &["x-header-add=old,added"]),
            (remove, &[("x-header-remove", "old")], &[]),
            (all, &present, &kept),
        ] {
            assert_eq!(changed(modifier.clone(), present), want, "{modifier:?}");
        }
    }

    #[test]
    fn applies_filters_in_order() {
        let set =
            |value| Filter::RequestHeaders(HeaderModifier { set: headers(&[("x-a", value)]), ..Default::default() });
        let filters = Filters::compile(&[set("1"), set("2")]).unwrap();
        let mut parts = Request::get("/").body(()).unwrap().into_parts().0;

        filters.apply_request(&mut parts, &mut Matched { place: 0, prefix: 0 }).unwrap();

        assert_eq!(parts.headers["x-a"], "2");
    }

    #[test]
    fn changes_response_headers_only_by_response_filters() {
        let modifier = HeaderModifier { set: headers(&[("x-a", "1")]), ..Default::default() };
        let mut response = HeaderMap::new();

        Filters::compile(&[Filter::RequestHeaders(modifier.clone())]).unwrap().apply_response(&mut response, None);
        assert!(response.is_empty());

        Filters::compile(&[Filter::ResponseHeaders(modifier)]).unwrap().apply_response(&mut response, None);
        assert_eq!(response["x-a"], "1");
    }

    #[test]
    fn refuses_headers_that_are_the_proxys_own() {
        for name in [
            "connection",
            "content-length",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
        ] {
            let list = || vec![(name.parse().unwrap(), HeaderValue::from_static("x"))];
            for (field, modifier) in [
                ("set", HeaderModifier { set: list(), ..Default::default() }),
                ("add", HeaderModifier { add: list(), ..Default::default() }),
                ("remove", HeaderModifier { remove: vec![name.parse().unwrap()], ..Default::default() }),
            ] {
                for (kind, filter) in [
                    ("requestHeaderModifier", Filter::RequestHeaders(modifier.clone())),
                    ("responseHeaderModifier", Filter::ResponseHeaders(modifier)),
                ] {
                    let error = Filters::compile(&[filter]).unwrap_err();
                    assert_eq!(error.field, format!("filters[0].{kind}.{field}"), "{name}");
                }
            }
        }
    }

    fn rewrite(hostname: Option<&'static str>, path: Option<PathModifier>) -> Filter {
        Filter::Rewrite(model::Rewrite { hostname: hostname.map(HeaderValue::from_static), path })
    }

    fn full(path: &str) -> Option<PathModifier> {
        Some(PathModifier::ReplaceFull(path.into()))
    }

    fn prefix(path: &str) -> Option<PathModifier> {
        Some(PathModifier::ReplacePrefix(path.into()))
    }

    #[test]
    fn rewrites_host_and_path_and_keeps_the_query() {
        // uri, matched prefix, filters; the new uri and Host header. The first two are of MeshHTTPRouteRewritePath.
        for (uri, matched, filters, want, host) in [
            ("/prefix/one/two", "/prefix/one", vec![rewrite(None, prefix("/one"))], "/one/two", "web"),
            ("/strip-prefix/three?q=%20", "/strip-prefix", vec![rewrite(None, prefix("/"))], "/three?q=%20", "web"),
            ("/strip-prefix", "/strip-prefix", vec![rewrite(None, prefix("/"))], "/", "web"),
            ("/full/one/two?", "", vec![rewrite(None, full("/one"))], "/one?", "web"),
            ("/x", "", vec![rewrite(Some("other"), None)], "/x", "other"),
            ("http://web:80/x?y", "", vec![rewrite(Some("other"), None)], "http://other/x?y", "other"),
            ("http://web:80/x?y", "", vec![rewrite(None, full("/z"))], "http://web:80/z?y", "web"),
            ("/a/b", "/a", vec![rewrite(None, prefix("/x/y/")), rewrite(None, prefix("/z"))], "/z/b", "web"),
            ("/a/b", "/a", vec![rewrite(None, full("/x/")), rewrite(None, prefix("/z"))], "/z/", "web"),
            ("*", "", vec![rewrite(Some("other"), full("/z"))], "*", "other"),
        ] {
            let mut parts = Request::get(uri).header("host", "web").body(()).unwrap().into_parts().0;
            let mut matched = Matched { place: 0, prefix: matched.len().try_into().unwrap() };

            Filters::compile(&filters).unwrap().apply_request(&mut parts, &mut matched).unwrap();

            assert_eq!(parts.uri.to_string(), want, "{uri}");
            assert_eq!(parts.headers["host"], host, "{uri}");
        }
    }

    #[test]
    fn refuses_a_rewrite_that_outgrows_a_uri() {
        let filters = Filters::compile(&[rewrite(None, prefix(&format!("/{}", "x".repeat(1000))))]).unwrap();
        let uri = format!("/a/{}", "y".repeat(65_000));
        let mut parts = Request::get(uri).body(()).unwrap().into_parts().0;
        assert_eq!(filters.apply_request(&mut parts, &mut Matched { place: 0, prefix: 2 }), Err(UriTooLong));
    }

    #[test]
    fn refuses_replacements_that_are_not_paths() {
        for text in ["x", "*", "/a?b", "/a#b", "/a b", "/a%2fb", "/a\\b", "/a/../b"] {
            for (path, field) in [(full(text), "replaceFullPath"), (prefix(text), "replacePrefixMatch")] {
                let error = Filters::compile(&[rewrite(None, path)]).unwrap_err();
                assert_eq!(error.field, format!("filters[0].urlRewrite.path.{field}"), "{text}");
            }
        }
        let too_long = &*"a".repeat(254).leak();
        for name in ["a b", "u@b", "b:80", "[::1]", "", too_long] {
            let error = Filters::compile(&[rewrite(Some(name), None)]).unwrap_err();
            assert_eq!(error.field, "filters[0].urlRewrite.hostname", "{name}");
        }
    }

    #[test]
    fn a_rule_has_one_redirect_at_most_and_no_rewrite_beside_it() {
        let redirect = || {
            let status = http::StatusCode::FOUND;
            Filter::Redirect(model::Redirect { scheme: None, hostname: None, path: None, port: None, status })
        };
        assert!(Filters::compile(&[redirect()]).unwrap().redirect().is_some());
        assert!(Filters::compile(&[redirect(), redirect()]).is_err());
        assert!(Filters::compile(&[redirect(), rewrite(Some("other"), None)]).is_err());
        assert!(Filters::compile_of_backend(&[redirect()]).is_err());
    }
}
