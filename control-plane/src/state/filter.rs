//! Turns filters into wire form, or says why they cannot be kept.

use outrigger_proto::model::RouteKind;
use outrigger_proto::wire;

use super::path;
use crate::objects::{
    BackendRef, Cors, Filter, Fraction, Header, HeaderModifier, Matches, Mirror, PathKind, PathModifier, Redirect,
    Rule, UrlRewrite,
};

/// Turns a rule's filters into wire form.
pub(super) fn of_rule(kind: RouteKind, rule: &Rule) -> Result<Vec<wire::Filter>, String> {
    let redirects = rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
    if redirects && rule.filters.iter().any(|filter| matches!(filter, Filter::Rewrite(_))) {
        return Err("RequestRedirect and URLRewrite exclude each other".to_owned());
    }
    if redirects && !rule.backends.is_empty() {
        return Err("a rule with a RequestRedirect can have no backendRefs".to_owned());
    }
    if needs_prefix(rule) && !matches_one_prefix(&rule.matches) {
        return Err("replacePrefixMatch needs exactly one match, of type PathPrefix".to_owned());
    }
    list(kind, &rule.filters)
}

/// Turns a backend's filters into wire form.
pub(super) fn of_backend(kind: RouteKind, backend: &BackendRef) -> Result<Vec<wire::Filter>, String> {
    if backend.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_))) {
        return Err(format!("backend {}: RequestRedirect is not supported on a backend", backend.name));
    }
    list(kind, &backend.filters).map_err(|reason| format!("backend {}: {reason}", backend.name))
}

/// Returns where a list's mirrors lead, in the order in which they come in it.
pub(super) fn mirrors(filters: &[Filter]) -> Vec<BackendRef> {
    let reference = |filter: &Filter| match filter {
        Filter::Mirror(mirror) => Some(mirror.backend_ref.clone()),
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Redirect(_)
        | Filter::Rewrite(_)
        | Filter::Cors(_)
        | Filter::Unsupported(_) => None,
    };
    filters.iter().filter_map(reference).collect()
}

/// Says whether a filter replaces the path prefix that the rule matched.
pub(super) fn needs_prefix(rule: &Rule) -> bool {
    let mut filters = rule.filters.iter().chain(rule.backends.iter().flat_map(|backend| &backend.filters));
    filters.any(|filter| match filter {
        Filter::Redirect(redirect) => matches!(redirect.path, Some(PathModifier::Prefix(_))),
        Filter::Rewrite(rewrite) => matches!(rewrite.path, Some(PathModifier::Prefix(_))),
        Filter::RequestHeaders(_)
        | Filter::ResponseHeaders(_)
        | Filter::Mirror(_)
        | Filter::Cors(_)
        | Filter::Unsupported(_) => false,
    })
}

fn matches_one_prefix(matches: &Matches) -> bool {
    match matches {
        Matches::Http(matches) => match &matches[..] {
            [] => true, // the default is the prefix `/`
            [only] => only.path.kind == PathKind::PathPrefix,
            _ => false,
        },
        Matches::Grpc(_) | Matches::All => false,
    }
}

fn list(kind: RouteKind, filters: &[Filter]) -> Result<Vec<wire::Filter>, String> {
    let mut seen = Vec::new();
    let mut list = Vec::with_capacity(filters.len());
    for filter in filters {
        if seen.contains(&std::mem::discriminant(filter)) && !matches!(filter, Filter::Mirror(_)) {
            return Err("a filter type is given twice".to_owned());
        }
        seen.push(std::mem::discriminant(filter));
        list.push(wire::Filter { filter: Some(one(kind, filter)?) });
    }
    Ok(list)
}

fn one(kind: RouteKind, filter: &Filter) -> Result<wire::filter::Filter, String> {
    match filter {
        Filter::RequestHeaders(headers) => header_modifier(headers).map(wire::filter::Filter::RequestHeaders),
        Filter::ResponseHeaders(headers) => header_modifier(headers).map(wire::filter::Filter::ResponseHeaders),
        Filter::Redirect(_) | Filter::Rewrite(_) if kind != RouteKind::Http => {
            Err(format!("a {} can neither redirect nor rewrite", kind.as_str()))
        }
        Filter::Cors(_) if kind != RouteKind::Http => Err(format!("a {} has no CORS", kind.as_str())),
        Filter::Cors(cors) => Ok(wire::filter::Filter::Cors(self::cors(cors))),
        Filter::Redirect(redirect) => self::redirect(redirect).map(wire::filter::Filter::Redirect),
        Filter::Rewrite(rewrite) => self::rewrite(rewrite).map(wire::filter::Filter::Rewrite),
        Filter::Mirror(mirror) => self::mirror(mirror).map(wire::filter::Filter::Mirror),
        Filter::Unsupported(name) => Err(format!("the filter {name} is not supported")),
    }
}

fn header_modifier(headers: &HeaderModifier) -> Result<wire::HeaderModifier, String> {
    let written = headers.set.iter().chain(&headers.add).map(|header| &header.name);
    for name in written.chain(&headers.remove) {
        // What frames a message or belongs to one connection is the proxy's own (RFC 9110 section 7.6.1).
        match name.to_ascii_lowercase().as_str() {
            "host" => return Err("`Host` is changed by a URLRewrite's hostname, not as a header".to_owned()),
            "connection" | "content-length" | "te" | "transfer-encoding" | "upgrade" | "trailer" | "keep-alive"
            | "proxy-connection" => {
                return Err(format!("the header `{name}` belongs to one connection and cannot be changed"));
            }
            _ => {}
        }
    }
    let header = |header: &Header| wire::Header { name: header.name.clone(), value: header.value.clone() };
    Ok(wire::HeaderModifier {
        set: headers.set.iter().map(header).collect(),
        add: headers.add.iter().map(header).collect(),
        remove: headers.remove.clone(),
    })
}

fn redirect(redirect: &Redirect) -> Result<wire::Redirect, String> {
    let scheme = redirect.scheme.clone().unwrap_or_default();
    if !matches!(scheme.as_str(), "" | "http" | "https") {
        return Err(format!("scheme `{scheme}` is neither http nor https"));
    }
    Ok(wire::Redirect {
        scheme,
        hostname: hostname(redirect.hostname.as_deref())?,
        path: redirect.path.as_ref().map(path_modifier).transpose()?,
        port: redirect.port.map_or(0, |port| port.get().into()),
        status: redirect.status_code.unwrap_or(302).into(),
    })
}

fn rewrite(rewrite: &UrlRewrite) -> Result<wire::Rewrite, String> {
    Ok(wire::Rewrite {
        hostname: hostname(rewrite.hostname.as_deref())?,
        path: rewrite.path.as_ref().map(path_modifier).transpose()?,
    })
}

fn path_modifier(modifier: &PathModifier) -> Result<wire::PathModifier, String> {
    let (PathModifier::Full(text) | PathModifier::Prefix(text)) = modifier;
    path::check_replacement(text)?;
    let path = match modifier {
        PathModifier::Full(path) => wire::path_modifier::Path::ReplaceFull(path.clone()),
        PathModifier::Prefix(path) => wire::path_modifier::Path::ReplacePrefix(path.clone()),
    };
    Ok(wire::PathModifier { path: Some(path) })
}

/// Everything but where it leads, which is looked up later.
fn mirror(mirror: &Mirror) -> Result<wire::Mirror, String> {
    let (numerator, denominator) = match (mirror.percent, mirror.fraction) {
        (Some(_), Some(_)) => return Err("a RequestMirror has a percent or a fraction, not both".to_owned()),
        (Some(percent), None) => (percent, 100),
        (None, Some(Fraction { numerator, denominator })) => (numerator, denominator.get()),
        (None, None) => (1, 1),
    };
    if numerator > denominator {
        return Err(format!("a RequestMirror of {numerator} of {denominator} requests: that is more than all"));
    }
    let to = wire::mirror::To::Invalid("not looked up".to_owned());
    Ok(wire::Mirror { to: Some(to), numerator, denominator })
}

fn cors(cors: &Cors) -> wire::Cors {
    wire::Cors {
        allow_origins: cors.allow_origins.clone(),
        allow_credentials: cors.allow_credentials,
        allow_methods: cors.allow_methods.clone(),
        allow_headers: cors.allow_headers.clone(),
        expose_headers: cors.expose_headers.clone(),
        max_age_s: cors.max_age,
    }
}

/// A host goes into a header or an address as it is: nothing but host characters may pass.
fn hostname(name: Option<&str>) -> Result<String, String> {
    let name = name.unwrap_or_default();
    if name.len() > 253 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err(format!("`{name}` is not a host name"));
    }
    Ok(name.to_owned())
}
