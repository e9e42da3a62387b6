//! A real mesh in network namespaces. Each test runs in a sandbox of its own; see the harness in `src/`.

#![expect(clippy::unwrap_used, reason = "a test ends where something it needs is missing")]

mod basics;
mod chain;
mod cors;
mod drains;
mod ends;
mod foreign;
mod gateway;
mod harmless;
mod health;
mod hostile;
mod identity;
mod idle_race;
mod mirror;
mod opaque;
mod policy;
mod resilience;
mod routing;
mod scrape;
mod session;
mod soak;
mod terminations;
mod traffic;
mod tunnels;
