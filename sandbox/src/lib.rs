//! Network namespaces joined like pods: for the demo, the end-to-end tests and the benchmarks. No root, no `ip` binary.
//!
//! ```text
//! caller ─▶ helper "enter": unshare ─▶ helper "init": pid 1 ─▶ your program: Sandbox::enter()
//!                                                              ├ Network: bridge 10.77.0.1/16, fd77::1/64
//!                                                              └ Namespace "web": eth0 10.77.0.3, fd77::3
//! ```
//! The helper is any binary that calls [`run_helper`] first in `main`. Everything inside ends with the caller, however
//! it ends: the helpers ask for SIGKILL when their parent dies, and a pid namespace dies with its pid 1.

mod helper;
mod namespace;
mod netlink;
mod netns;
mod network;
mod sandbox;
pub mod testing;

pub use helper::run_helper;
pub use namespace::{Namespace, StartError};
pub use netlink::NetlinkError;
pub use network::{Network, NetworkError};
pub use sandbox::{Sandbox, SandboxError};
