//! What the program asks of the sidecar that runs beside it: the commands of a pod's lifecycle hooks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

use crate::config::{LeaveArgs, WaitArgs};

/// Waits until a running sidecar is ready. The kubelet starts the application when this ends, and does not look again
/// meanwhile: faster than a probe, which it asks once a second.
pub(crate) fn wait(args: &WaitArgs) -> anyhow::Result<()> {
    let begin = Instant::now();
    loop {
        let answer = ask(args.admin, "GET", "/ready", "");
        if answer.as_ref().is_ok_and(|answer| answer.starts_with(OK)) {
            return Ok(());
        }
        if begin.elapsed() >= args.timeout {
            let waited = args.timeout;
            return Err(answer.err().unwrap_or_else(|| anyhow::anyhow!("its log says what it waits for")))
                .with_context(|| format!("the sidecar on {} is not ready after {waited:?}", args.admin));
        }
        sleep(LOOK_AGAIN);
    }
}

/// Asks a running sidecar to tell its peers that it leaves: what a pod's end begins with.
pub(crate) fn leave(args: &LeaveArgs) -> anyhow::Result<()> {
    let answer = ask(args.admin, "POST", "/leave", "outrigger-action: leave\r\n")?;
    if !answer.starts_with(OK) {
        bail!("the sidecar on {} answered: {}", args.admin, answer.lines().next().unwrap_or_default());
    }
    Ok(())
}

fn ask(admin: SocketAddr, method: &str, path: &str, fields: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(admin)
        .with_context(|| format!("no sidecar answers on {admin}; --admin says where it does"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\ncontent-length: 0\r\n{fields}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).context("read the sidecar's answer")?;
    Ok(answer)
}

const OK: &str = "HTTP/1.1 200";
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn waits_until_the_sidecar_says_that_it_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let args = WaitArgs { admin: listener.local_addr().unwrap(), timeout: Duration::from_secs(60) };
        let sidecar = std::thread::spawn(move || {
            for answer in ["HTTP/1.1 503 x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
                let (mut stream, _) = listener.accept().unwrap();
                // All of it: what is left unread would cut the connection.
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.extend(byte);
                }
                assert!(asked.starts_with(b"GET /ready"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });

        wait(&args).unwrap();
        sidecar.join().unwrap();
    }

    #[test]
    fn says_where_it_waited_in_vain() {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

        let error = wait(&WaitArgs { admin: port, timeout: Duration::ZERO }).unwrap_err();
        let told = format!("{error:#}");
        assert!(told.contains("not ready after 0ns: no sidecar answers"), "{told}");
    }
}
