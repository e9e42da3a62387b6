//! `outrigger run`: one program as a workload of the mesh that `outrigger demo --keep` runs.

use std::collections::BTreeMap;

use anyhow::Context as _;
use outrigger_console::exit::Exit;
use outrigger_console::output::{Output, Stream};
use outrigger_demo::ask::{Answer, Connection, Program, Question};
use outrigger_demo::relay;

/// `outrigger run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The name of the service that the program is.
    #[arg(long, value_name = "NAME", value_parser = service_name)]
    service: String,
    /// The port that the program listens on, in a network of its own.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The host's port that leads to the service; any free one if it is taken or not given.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    publish: u16,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs until the program ends, or Ctrl-C.
pub(crate) async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut connection = Connection::open().await?;
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let program = Program {
        service: args.service.clone(),
        port: args.port,
        command: args.command.clone(),
        directory: std::env::current_dir().context("find the current directory")?,
        variables,
    };
    let Answer::Started { workload, address, socket } = connection.ask(&Question::Run(program)).await? else {
        anyhow::bail!("the demo did not say that the program runs; is it of another version?");
    };
    let listener = relay::listen(args.publish).await.context("listen for the service's visitors")?;
    let here = listener.local_addr()?;
    output.line(Stream::Stderr, &format!("{workload} runs; the mesh reaches it at {address}, this machine at {here}"));
    tokio::select! {
        exit = print(&mut connection, output) => exit,
        led = relay::from_host(listener, socket) => Err(led.err().map_or_else(|| anyhow::anyhow!("the relay ended"), Into::into)),
        signal = outrigger_daemon::shutdown_signal() => signal.map(|_| Exit::Yes).context("listen for Ctrl-C"),
    }
}

async fn print(connection: &mut Connection, output: &Output) -> anyhow::Result<Exit> {
    loop {
        match connection.next().await? {
            Answer::Stdout(line) => output.data(&line),
            Answer::Stderr(line) => output.line(Stream::Stderr, &line),
            Answer::Ended(Some(0)) => return Ok(Exit::Yes),
            Answer::Ended(code) => {
                let how = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with exit code {code}"));
                output.error(&format!("the program ended {how}"), None);
                return Ok(Exit::No);
            }
            other => anyhow::bail!("the demo said {other:?}; is it of another version?"),
        }
    }
}

/// It becomes part of names in the mesh (RFC 1123).
fn service_name(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let fits = text.len() <= 50 && text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().last());
    if fits { Ok(text.to_owned()) } else { Err("lower-case letters, digits and `-`, at most 50".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names_are_dns_labels() {
        assert!(service_name("web-2").is_ok());
        for wrong in ["", "-web", "web-", "Web", "we b", "a/b", "a.b", &"x".repeat(51)] {
            assert!(service_name(wrong).is_err(), "{wrong:?}");
        }
    }
}
