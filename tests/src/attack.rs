//! Hostile clients as data: what they write, and what an app may see of it. For `tests/netns/hostile`, which holds the mesh to it,
//! and for `cargo xtask attack`, which compares it with other proxies.

pub mod desync;
pub mod floods;
pub mod http1;
pub mod http2;
pub mod intruder;
pub mod neighbour;
pub mod origin;
pub mod proxies;
pub mod slow;
pub mod strict;
pub mod websocket;
