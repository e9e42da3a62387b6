//! The process that the user started. It stays in the host's namespaces: it prints, relays, and cleans up.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use outrigger_console::exit::{Exit, Failure};
use outrigger_console::output::{Output, Style};
use outrigger_sandbox::Sandbox;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinSet;

use super::event::{Event, Finished, Mode};
use super::folder::{Folder, Paths};
use super::relay;
use super::report::Report;

/// `outrigger demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leave the mesh running, show what to try, and stop at Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// With --keep: the host's port that leads to the frontend; any free one if it is taken.
    #[arg(long, value_name = "PORT", default_value_t = 8080)]
    port: u16,
    /// One JSON document on stdout; progress on stderr.
    #[arg(long)]
    json: bool,
    /// Loopback ports, as if namespaces were forbidden.
    #[arg(long, hide = true)]
    no_namespaces: bool,
}

/// Runs the demo to its end.
///
/// # Errors
/// When it cannot run at all.
pub async fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut report = Report::new(output, args.json);
    let mut stage = Stage { folder: Folder::create()?, inner: None, relays: JoinSet::new() };
    let finished = tokio::select! {
        finished = prove(args, &mut stage, &mut report) => finished,
        () = interrupted() => Err(Failure { message: "interrupted".into(), hint: None, exit: Exit::Unknown }.into()),
    };
    let end = match finished {
        Ok(finished) => {
            report.finish(Some(&finished), None);
            let exit = if report.ok() { Exit::Yes } else { Exit::No };
            if args.keep { keep(args, &report, &mut stage).await.map(|()| exit) } else { Ok(exit) }
        }
        Err(error) => {
            report.finish(None, Some(&format!("{error:#}")));
            Err(error)
        }
    };
    stage.clear().await;
    end
}

/// What must be taken down, in this order: processes, then relays, then the folder.
struct Stage {
    folder: Folder,
    inner: Option<Inner>,
    relays: JoinSet<anyhow::Result<()>>,
}

impl Stage {
    async fn clear(mut self) {
        if let Some(inner) = &mut self.inner {
            inner.stop().await;
        }
        self.relays.shutdown().await;
    }
}

async fn prove(args: &Args, stage: &mut Stage, report: &mut Report<'_>) -> anyhow::Result<Finished> {
    let otlp = relay::otlp_answers().await;
    if otlp {
        stage.relays.spawn(relay::to_otlp(stage.folder.paths().otlp_socket()));
    }
    let first = if args.no_namespaces { Mode::Loopback } else { Mode::Namespaces };
    let inner = stage.inner.insert(Inner::start(first, &stage.folder, otlp)?);
    let mut outcome = inner.watch(report).await?;
    if let Outcome::Unsupported(reason) = &outcome
        && first == Mode::Namespaces
    {
        let word = report.paint(Style::Warning, "note:");
        report.line(&format!("{word} {reason}"));
        report.line("      going on without namespaces: explicit loopback ports instead of captured traffic\n");
        inner.stop().await;
        let inner = stage.inner.insert(Inner::start(Mode::Loopback, &stage.folder, otlp)?);
        outcome = inner.watch(report).await?;
    }
    let finished = match outcome {
        Outcome::Finished(finished) => finished,
        Outcome::Unsupported(reason) => {
            return Err(Failure::new(reason, "run as root, or on a kernel with network namespaces").into());
        }
    };
    if finished.forwarded_exports > 0 {
        let id = finished.trace_id.as_deref().unwrap_or_default();
        report.line(&format!("\ntraces are in Jaeger: service frontend   http://127.0.0.1:16686/trace/{id}"));
    }
    Ok(finished)
}

/// Shows what to try, and waits for Ctrl-C: an end like any other.
async fn keep(args: &Args, report: &Report<'_>, stage: &mut Stage) -> anyhow::Result<()> {
    let paths: &Paths = stage.folder.paths();
    let listener = relay::listen(args.port).await.context("listen for the frontend's visitors")?;
    let addr = listener.local_addr()?;
    report.line("\nThe mesh goes on until Ctrl-C. Try:");
    report.line(&format!("  curl http://{addr}/items/1        # through six sidecars; v1 or v2 answers"));
    report.line(&format!("  $EDITOR {}", paths.config().join(super::folder::SPLIT_FILE).display()));
    report.line("  outrigger check --demo                  # is every sidecar in step?");
    report.line("  outrigger run --service hello --port 8000 -- python3 -m http.server 8000");
    report.line("  outrigger explain E001");
    let Some(inner) = &mut stage.inner else { return Ok(()) };
    tokio::select! {
        relayed = relay::from_host(listener, paths.frontend_socket()) => Ok(relayed?),
        () = interrupted() => Ok(()),
        died = inner.died() => Err(died),
    }
}

/// Completes at Ctrl-C or SIGTERM.
async fn interrupted() {
    if outrigger_daemon::shutdown_signal().await.is_err() {
        // Without a handler the signal ends the process, and the sandbox with it.
        std::future::pending::<()>().await;
    }
}

/// The process inside.
struct Inner {
    child: Child,
    /// Its end tells the inner process to stop, however this one ends.
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

enum Outcome {
    Finished(Finished),
    Unsupported(String),
}

impl Inner {
    fn start(mode: Mode, folder: &Folder, otlp: bool) -> anyhow::Result<Self> {
        folder.write_config(mode)?;
        let this = std::env::current_exe().context("find the own binary")?;
        let mut command = command(mode, &this);
        command.arg("demo-inside").arg("--folder").arg(folder.paths().root());
        if mode == Mode::Loopback {
            command.arg("--loopback");
        }
        if otlp {
            command.arg("--forward-otlp");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("start {}", this.display()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the inner process has no stdout")?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines() })
    }

    /// Reports what it tells, until it is done.
    async fn watch(&mut self, report: &mut Report<'_>) -> anyhow::Result<Outcome> {
        while let Some(line) = self.lines.next_line().await.context("read from the inner process")? {
            let event = serde_json::from_str(&line).with_context(|| format!("the inner process said {line:?}"))?;
            match event {
                Event::Started { mode, workloads } => report.started(mode, workloads),
                Event::Step(step) => report.step(step),
                Event::Finished(finished) => return Ok(Outcome::Finished(finished)),
                Event::Unsupported { reason } => return Ok(Outcome::Unsupported(reason)),
                Event::Failed { message, hint } => return Err(Failure::new(message, hint).into()),
            }
        }
        let (status, stderr) = self.ended().await?;
        if let Err(forbidden) = Sandbox::check(status.code(), stderr.as_bytes()) {
            return Ok(Outcome::Unsupported(forbidden.to_string()));
        }
        anyhow::bail!("the inner process ended ({status}) before the demo did: {}", stderr.trim())
    }

    async fn died(&mut self) -> anyhow::Error {
        match self.ended().await {
            Ok((status, stderr)) => anyhow::anyhow!("the mesh ended by itself ({status}): {}", stderr.trim()),
            Err(error) => error.into(),
        }
    }

    async fn ended(&mut self) -> io::Result<(std::process::ExitStatus, String)> {
        let status = self.child.wait().await?;
        let mut text = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            stderr.take(MAX_STDERR).read_to_end(&mut text).await?;
        }
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Stops it and waits until the last process inside is gone: none then writes into the folder any more.
    async fn stop(&mut self) {
        drop(self.stdin.take());
        if tokio::time::timeout(STOP_PATIENCE, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let rest = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let _ = tokio::time::timeout(STOP_PATIENCE, rest).await;
    }
}

fn command(mode: Mode, this: &Path) -> Command {
    match mode {
        Mode::Namespaces => Sandbox::command(this, this).into(),
        Mode::Loopback => {
            let mut command = Command::new(this);
            // As in the sandbox: Ctrl-C is for this process, which then stops the inner one in good order.
            command.process_group(0);
            command
        }
    }
}

const MAX_STDERR: u64 = 64 * 1024;
const STOP_PATIENCE: Duration = Duration::from_secs(5);
