//! The tables, by what they are about.

mod attachment;
mod backends;
mod filters;
mod grpc;
mod matching;
mod official;
mod redirects;
mod time;

use super::Group;

/// All of them.
pub const GROUPS: &[Group] = &[
    official::ROUTING,
    official::FILTERS,
    matching::PATHS,
    matching::CONDITIONS,
    matching::PRECEDENCE,
    attachment::PARENTS,
    attachment::CONSUMERS,
    attachment::KINDS,
    backends::BACKENDS,
    redirects::REDIRECTS,
    filters::REWRITES,
    filters::HEADERS,
    filters::MIRRORS,
    filters::CORS,
    time::TIMEOUTS,
    time::RETRIES,
    grpc::GRPC,
];
