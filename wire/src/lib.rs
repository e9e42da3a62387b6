//! What is on the wire: TLS records, HTTP/1 and HTTP/2. Bytes are parsed where they were read and passed on with as little work as can
//! be; who may send what to whom is for others to say.

mod aside;
mod cut;
pub mod http1;
pub mod http2;
pub mod tls;

pub use aside::client_has_reset;

/// Fields of one head, at most: twice as many as any server is known to have as its own bound. What a head takes of memory grows with them.
pub const MAX_FIELDS: usize = 2_000;
