//! Turns filters into wire form, or says why they cannot be kept.

use outrigger_proto::model::RouteKind;
use outrigger_proto::wire;

use crate::objects::{
    BackendRef, Cors, Filter, Fraction, Header, HeaderModifier, Matches, Mirror, PathKind, PathModifier, Redirect,
    Rule, UrlRewrite,
};

/// Turns a rule's filters into wire form.
pub(super) fn of_rule(kind: RouteKind, rule: &Rule) -> Result<Vec<wire::Filter>, String> {
    let redirects = rule.filters.iter().any(|filter| matches!(filter, Filter::Redirect(_)));
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
        Filter::RequestHeaders(headers) => Ok(wire::filter::Filter::RequestHeaders(header_modifier(headers))),
        Filter::ResponseHeaders(headers) => Ok(wire::filter::Filter::ResponseHeaders(header_modifier(headers))),
        Filter::Redirect(_) | Filter::Rewrite(_) if kind != RouteKind::Http => {
            Err(format!("a {} can neither redirect nor rewrite", kind.as_str()))
        }
        Filter::Cors(_) if kind != RouteKind::Http => Err(format!("a {} has no CORS", kind.as_str())),
        Filter::Cors(cors) => Ok(wire::filter::Filter::Cors(self::cors(cors))),
        Filter::Redirect(redirect) => Ok(wire::filter::Filter::Redirect(self::redirect(redirect))),
        Filter::Rewrite(rewrite) => Ok(wire::filter::Filter::Rewrite(self::rewrite(rewrite))),
        Filter::Mirror(mirror) => self::mirror(mirror).map(wire::filter::Filter::Mirror),
        Filter::Unsupported(name) => Err(format!("the filter {name} is not supported")),
    }
}

fn header_modifier(headers: &HeaderModifier) -> wire::HeaderModifier {
    let header = |header: &Header| wire::Header { name: header.name.clone(), value: header.value.clone() };
    wire::HeaderModifier {
        set: headers.set.iter().map(header).collect(),
        add: headers.add.iter().map(header).collect(),
        remove: headers.remove.clone(),
    }
}

fn redirect(redirect: &Redirect) -> wire::Redirect {
    wire::Redirect {
        scheme: redirect.scheme.clone().unwrap_or_default(),
        hostname: redirect.hostname.clone().unwrap_or_default(),
        path: redirect.path.as_ref().map(path_modifier),
        port: redirect.port.map_or(0, |port| port.get().into()),
        status: redirect.status_code.unwrap_or(302).into(),
    }
}

fn rewrite(rewrite: &UrlRewrite) -> wire::Rewrite {
    wire::Rewrite {
        hostname: rewrite.hostname.clone().unwrap_or_default(),
        path: rewrite.path.as_ref().map(path_modifier),
    }
}

fn path_modifier(modifier: &PathModifier) -> wire::PathModifier {
    let path = match modifier {
        PathModifier::Full(path) => wire::path_modifier::Path::ReplaceFull(path.clone()),
        PathModifier::Prefix(path) => wire::path_modifier::Path::ReplacePrefix(path.clone()),
    };
    wire::PathModifier { path: Some(path) }
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
