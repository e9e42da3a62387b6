//! The folder source: every `*.yaml` and `*.yml` of one directory, read again when something changes there.
//!
//! A file that cannot be read is reported as `file:line:column: message`, and what it said before stays in force. The
//! kernel tells of changes; a look at the times of the files every two seconds finds what it missed.

mod folder;

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher};
use outrigger_daemon::Drain;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use crate::state::Event;

use folder::Folder;

/// Reads the folder and goes on until the drain starts or nobody listens.
pub async fn run(path: PathBuf, events: mpsc::Sender<Vec<Event>>, drain: Drain) {
    let (changed, mut changes) = mpsc::channel(1);
    // Kept for as long as the folder is watched.
    let _watcher = watch(&path, changed);
    let mut folder = Folder::new(path);
    loop {
        let Some((scanned, scan)) = scan(folder).await else { return };
        folder = scanned;
        if !scan.events.is_empty() && events.send(scan.events).await.is_err() {
            return;
        }
        let again = scan.again_in.map(|delay| Instant::now() + delay);
        tokio::select! {
            () = drain.started() => return,
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {}
            () = change(&mut changes, &mut folder) => {}
        }
    }
}

/// Completes when the folder should be read again.
async fn change(changes: &mut mpsc::Receiver<()>, folder: &mut Folder) {
    loop {
        tokio::select! {
            Some(()) = changes.recv() => break,
            () = sleep(POLL) => {
                if folder.looks_different() {
                    return;
                }
            }
        }
    }
    // An editor's save is several events; the last one counts. A steady stream of them must not hold it up for long.
    let limit = Instant::now() + DEBOUNCE * 4;
    loop {
        tokio::select! {
            Some(()) = changes.recv() => if Instant::now() >= limit { return },
            () = sleep(DEBOUNCE) => return,
            () = sleep_until(limit) => return,
        }
    }
}

/// Reads the folder off the runtime's threads; `None` only when the runtime shuts down.
async fn scan(mut folder: Folder) -> Option<(Folder, folder::Scan)> {
    let scanning = tokio::task::spawn_blocking(move || {
        let scan = folder.scan(std::time::Instant::now());
        (folder, scan)
    });
    scanning.await.ok()
}

fn watch(path: &Path, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let handler = move |event: notify::Result<notify::Event>| {
        // Our own reading is an event too; it must not wake us.
        let ignored = |kind: &EventKind| match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
            EventKind::Access(_) => true,
            _ => false,
        };
        if !event.is_ok_and(|event| ignored(&event.kind)) {
            let _ = changed.try_send(()); // full: a wake-up is pending already
        }
    };
    let watching = notify::recommended_watcher(handler)
        .and_then(|mut watcher| watcher.watch(path, RecursiveMode::NonRecursive).map(|()| watcher));
    match watching {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            warn!(path = %path.display(), %error, "cannot watch the folder: changes are found within {POLL:?}");
            None
        }
    }
}

const DEBOUNCE: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_secs(2);
