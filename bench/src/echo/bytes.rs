//! No protocol that a proxy knows: the first byte says what the connection is for.

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Every message comes back.
pub(crate) const ECHO: u8 = 1;
/// All that comes is read and forgotten.
pub(crate) const UPLOAD: u8 = 2;
/// Bytes are sent as long as they are taken.
pub(crate) const DOWNLOAD: u8 = 3;
/// Bytes of a message.
pub(crate) const MESSAGE: usize = 64;
/// What bulk is counted in.
pub(crate) const MIB: usize = 1 << 20;

/// Serves one connection.
pub(super) async fn serve(mut io: TcpStream) -> Result<()> {
    match io.read_u8().await? {
        ECHO => {
            let mut message = [0; MESSAGE];
            loop {
                io.read_exact(&mut message).await?;
                io.write_all(&message).await?;
            }
        }
        UPLOAD => {
            let mut buffer = vec![0; 256 << 10];
            while io.read(&mut buffer).await? > 0 {}
            Ok(())
        }
        DOWNLOAD => {
            let chunk = vec![b'x'; 256 << 10];
            loop {
                io.write_all(&chunk).await?;
            }
        }
        other => bail!("a connection for {other}"),
    }
}
