//! The harness of the end-to-end tests: a real mesh of real processes in network namespaces.
//!
//! ```no_run
//! # use outrigger_tests::{App, Mesh, enter, yaml};
//! let Some(sandbox) = enter() else { return };
//! let mut mesh = Mesh::start(sandbox, &yaml::service("web", "10.96.0.10", 80, 8080));
//! let web = mesh.pod("web-1", "web");
//! let app = App::echo(&web, 8080, "web-1");
//! let client = mesh.pod("client-1", "client");
//! let response = client.get("http://10.96.0.10/");
//! assert_eq!(response.status, 200);
//! ```
//! Each test runs in a sandbox of its own, so tests see nothing of each other and leave nothing behind.

mod app;
pub mod attack;
pub mod client;
pub mod cluster;
pub mod faults;
pub mod gateway;
mod http2;
mod mesh;
pub mod page;
pub mod peers;
mod pod;
mod process;
pub mod wait;
pub mod yaml;

pub use app::{App, Reply, Seen};
pub use client::{Client, Response};
pub use http2::Http2;
pub use mesh::{Mesh, Options, binary, enter};
pub use pod::Pod;
pub use process::Process;
