//! A handle on one network namespace, and threads that run in it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::thread;

use nix::sched::{self, CloneFlags};

/// A network namespace; it lives while a handle, a process or a socket of it does.
#[derive(Debug, Clone)]
pub(crate) struct NetNs {
    file: Arc<File>,
    id: OsString,
}

impl NetNs {
    /// The calling thread's.
    pub(crate) fn current() -> io::Result<Self> {
        let file = Arc::new(File::open(PATH)?);
        Ok(Self { file, id: fs::read_link(PATH)?.into_os_string() })
    }

    /// A new one, with nothing in it but a loopback that is down.
    pub(crate) fn create() -> io::Result<Self> {
        on_new_thread("netns", || {
            sched::unshare(CloneFlags::CLONE_NEWNET)?;
            Self::current()
        })?
    }

    /// `net:[4026532008]`.
    pub(crate) fn id(&self) -> &OsStr {
        &self.id
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Moves the calling thread in, for good.
    pub(crate) fn join(&self) -> io::Result<()> {
        Ok(sched::setns(&*self.file, CloneFlags::CLONE_NEWNET)?)
    }

    /// Runs `work` inside, on a thread of its own, and waits for it.
    pub(crate) fn run<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        on_new_thread(name, || self.join().map(|()| work()))?
    }
}

/// Namespaces belong to threads: what changes one must not be a thread that goes on to do something else.
fn on_new_thread<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work)?;
        thread.join().map_err(|panic| std::panic::resume_unwind(panic))
    })
}

const PATH: &str = "/proc/thread-self/ns/net";
