//! Accepting: what every accept loop does about errors. An error of one connection is that connection's; out of descriptors
//! is everybody's, and neither fills the log nor keeps a core busy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};

use crate::Occasions;

/// Between two attempts when nothing can be accepted: soon after a descriptor is free again, and next to no work.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Without an error for so long, accepting works again.
const RECOVERED: Duration = Duration::from_secs(5);

/// The connections that come to one listener.
#[derive(Debug)]
pub struct Incoming {
    listener: TcpListener,
    /// Whose connections, for the log: `inbound`, `admin`.
    of: &'static str,
    failures: Occasions,
}

impl Incoming {
    /// Takes a listener; `of` names it in the log.
    #[must_use]
    pub fn new(listener: TcpListener, of: &'static str) -> Self {
        Self { listener, of, failures: Occasions::default() }
    }

    /// Returns the next connection. Errors are waited out: logged when they begin, then now and then with their number, and
    /// when they are over.
    ///
    /// # Cancel safety
    /// No connection is lost when the future is dropped.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => {
                    if let Some(failures) = self.failures.over(RECOVERED) {
                        info!(listener = self.of, failures, "accepting connections again");
                    }
                    return accepted;
                }
                // Its peer has left already.
                Err(error) if of_one_connection(&error) => {}
                Err(error) => {
                    if let Some(failures) = self.failures.happened() {
                        warn!(listener = self.of, %error, failures, "accept failed; retrying");
                    }
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            }
        }
    }
}

/// Whether an error concerns nothing but the connection that would have been accepted. All others (EMFILE, ENFILE, ENOBUFS,
/// ENOMEM) meet the next attempt as well.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_left_is_no_reason_to_wait_and_no_descriptors_is() {
        const ECONNABORTED: i32 = 103;
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOBUFS: i32 = 105;
        assert!(of_one_connection(&io::Error::from_raw_os_error(ECONNABORTED)));
        for all in [ENFILE, EMFILE, ENOBUFS] {
            assert!(!of_one_connection(&io::Error::from_raw_os_error(all)), "{all}");
        }
    }
}
