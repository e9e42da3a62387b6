//! A bounded buffer in front of a slow output, and the thread that empties it.

use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Takes lines without waiting.
pub(super) struct Writer {
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn start(output: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = shared.clone();
        // It ends with the writer: `Drop` says so.
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || thread.run(output))?;
        Ok(Self { shared })
    }

    /// Appends what `write` writes and a line end.
    pub(super) fn write(&self, write: impl FnOnce(&mut String)) {
        thread_local! {
            static LINE: RefCell<String> = const { RefCell::new(String::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            write(line);
            line.push('\n');
            self.shared.push(line);
        });
    }

    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn flush(&self, limit: Duration) {
        let end = Instant::now() + limit;
        let mut state = self.shared.state.lock();
        while !state.lines.is_empty() || state.writing {
            if self.shared.changed.wait_until(&mut state, end).timed_out() {
                return;
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    writing: bool,
    closed: bool,
}

impl Shared {
    fn push(&self, line: &str) {
        let mut state = self.state.lock();
        if state.lines.len() + line.len() > BUFFER {
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let idle = state.lines.is_empty() && !state.writing;
        state.lines.extend_from_slice(line.as_bytes());
        drop(state);
        if idle {
            self.changed.notify_all();
        }
    }

    fn run(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.state.lock();
            state.writing = false;
            self.changed.notify_all();
            while state.lines.is_empty() {
                if state.closed {
                    return;
                }
                self.changed.wait(&mut state);
            }
            lines.clear();
            std::mem::swap(&mut lines, &mut state.lines);
            state.writing = true;
            drop(state);
            if output.write_all(&lines).and_then(|()| output.flush()).is_err() {
                // Nobody reads any more (a closed pipe). There is no better place to say so than the counter.
                let lost = lines.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
            }
            lines.shrink_to(KEEP);
        }
    }
}

/// What may wait, bytes: about a thousand lines.
const BUFFER: usize = 512 * 1024;
/// What stays allocated between bursts, bytes.
const KEEP: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc;

    use super::*;

    /// An output that takes what a test lets it take.
    struct Gate {
        open: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.open.recv().map_err(io::Error::other)?;
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gate() -> (Writer, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (opener, open) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        (Writer::start(Gate { open, written: written.clone() }).unwrap(), opener, written)
    }

    #[test]
    fn writes_lines_in_order() {
        let (writer, opener, written) = gate();
        (0..2).for_each(|_| opener.send(()).unwrap());

        writer.write(|line| line.push_str("one"));
        writer.write(|line| line.push_str("two"));
        writer.flush(Duration::from_secs(60));

        assert_eq!(*written.lock(), b"one\ntwo\n");
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (writer, opener, written) = gate();
        let line = "x".repeat(1023);
        let lines = 2 * BUFFER / 1024 + 10;

        (0..lines).for_each(|_| writer.write(|to| to.push_str(&line)));
        let dropped = usize::try_from(writer.dropped()).unwrap();
        assert!(dropped >= 10, "{dropped}");

        (0..lines).for_each(|_| opener.send(()).unwrap());
        writer.flush(Duration::from_secs(60));
        assert_eq!(written.lock().len() / 1024, lines - dropped);
    }

    #[test]
    fn an_output_that_is_gone_is_counted() {
        let (writer, opener, _written) = gate();
        drop(opener);

        writer.write(|line| line.push_str("lost"));
        writer.flush(Duration::from_secs(60));

        assert_eq!(writer.dropped(), 1);
    }
}
