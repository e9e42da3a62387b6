//! Conformance tests of our own for the Gateway API, where the official suite does not look: as tables, one line a case.
//!
//! A [`Group`] has routes and cases. [`namespaces`] runs it in network namespaces, [`cluster`] in Kubernetes; both have the same
//! workloads, `v1`, `v2` and `client` in the namespace `shop` and `o1` in `other`, each with a Service of its name, and the program of
//! `tests/cluster/app` as server and client.
//!
//! ```text
//! routes   == HTTPRoute NAME on web other/far:8080 api#http-alt   what follows are its rules, indented by four
//!          == …, oldest                                            made before the others
//!          == HTTPRoute other/NAME on shop/web                     a route of the namespace `other`
//!          ---                                                     any other object, as it is, with `namespace: shop` or `other`
//! cases    [@other] [v6] [h1|h2] METHOD HOST[:PORT]/PATH [NAME:VALUE]… [body=TEXT] => STATUS BACKEND [FACT]…
//!          grpc web:7070/pkg.Service/Method => OK v1
//!          tcp web:9091 => open v1          tls web:443/ => 200 v1
//!          GET web/ => mixed v1:70 v2:30    shares of 400 requests, by backend or by the status of who has none
//! ```
//! Without `h1` or `h2` a case runs with both. BACKEND is `-` when the mesh answers itself; an answer has a Location exactly when the
//! case says so. The backend must see the method, path, host, body and version of HTTP that were sent, but for what the facts say:
//! `path=` `host=` `seen:NAME=VALUE` `answer:NAME=VALUE` (values of a repeated header joined by `,`; `-`: the header is not there)
//! `location=` `code=E001` `count:v1=3` (requests of this case that a backend got, until it is so) `v2:FACT` (a fact of `v2`'s last one).

mod ask;
mod case;
pub mod cluster;
mod judge;
pub mod namespaces;
mod run;
mod tables;
mod world;
mod yaml;

pub use tables::GROUPS;

/// Routes, and what becomes of requests with them.
#[derive(Debug)]
pub struct Group {
    /// Its name: one word.
    pub name: &'static str,
    /// Services besides those of the workloads, as `NAME[@NAMESPACE][=APP]`: without an app they have no endpoints.
    pub services: &'static str,
    /// Routes and other objects.
    pub routes: &'static str,
    /// One line a case.
    pub cases: &'static str,
}

/// The group of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn group(name: &str) -> &'static Group {
    GROUPS.iter().find(|group| group.name == name).unwrap_or_else(|| panic!("no table is named {name}"))
}
