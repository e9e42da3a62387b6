//! What is on the wire: TLS records, HTTP/1 and HTTP/2. Bytes are parsed where they were read and passed on with as little work as can
//! be; who may send what to whom is for others to say.

mod aside;
pub mod http1;
pub mod http2;
pub mod tls;
