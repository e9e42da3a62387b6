//! The first byte of a connection that carries bytes between two sidecars, from the accepting one: 0 when the app took the connection, else the
//! number of an error code. Until it is here nothing has been passed on, so that another endpoint can be tried.

use std::io;
use std::net::SocketAddr;

use outrigger_proto::ErrorCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::error::{Fate, ProxyError};

/// The app took the connection.
const OPEN: u8 = 0;

/// Tells the peer whether the app took the connection.
///
/// # Errors
/// When the peer is gone.
pub(crate) async fn tell_status(io: &mut (impl AsyncWrite + Unpin), error: Option<&ProxyError>) -> io::Result<()> {
    io.write_all(&[error.map_or(OPEN, |error| error.code.number())]).await?;
    io.flush().await
}

/// Waits for the peer's word.
pub(super) async fn hear_status(io: &mut (impl AsyncRead + Unpin), peer: SocketAddr) -> Result<(), ProxyError> {
    let mut status = [OPEN];
    if let Err(error) = io.read_exact(&mut status).await {
        let detail = format!("{peer} ended the connection before it said whether the app took it: {error}");
        return Err(ProxyError::new(ErrorCode::ConnectionTerminated, detail));
    }
    let [status] = status;
    if status == OPEN {
        return Ok(());
    }
    let code = ErrorCode::from_number(status).unwrap_or(ErrorCode::ConnectionTerminated);
    let what = code.info().means.trim_end_matches('.');
    let error = ProxyError::new(code, format!("the sidecar of {peer} says {code} {}: {what}", code.token()));
    // Another endpoint would be asked the same by the same caller.
    Err(if code == ErrorCode::RequestDenied { error.fate(Fate::Withheld) } else { error })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(said: &[u8]) -> Result<(), ProxyError> {
        hear_status(&mut &*said, ([10, 0, 0, 1], 80).into()).await
    }

    #[tokio::test]
    async fn what_one_sidecar_tells_the_other_hears() {
        heard(&[OPEN]).await.unwrap();
        for code in ErrorCode::ALL {
            let mut told = Vec::new();
            tell_status(&mut told, Some(&ProxyError::new(*code, "why"))).await.unwrap();
            assert_eq!(heard(&told).await.unwrap_err().code, *code);
        }
        assert_eq!(heard(&[]).await.unwrap_err().code, ErrorCode::ConnectionTerminated);
        assert_eq!(heard(&[255]).await.unwrap_err().code, ErrorCode::ConnectionTerminated);
    }
}
