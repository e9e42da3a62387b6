//! A real mesh in network namespaces. Each test runs in a sandbox of its own; see the harness in `src/`.

mod basics;
