//! The task of a connection, the same for both sides: reads, lets the workers of the streams work, and writes what they wrote at once.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::MutexGuard;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Settings;
use super::error::{Error, Fatal, Reason};
use super::frame;
use super::io::{Io, Read};
use super::ready::{DRAIN, FIRST_STREAM, READ, TIMER, WRITE};
use super::state::{ALIVE_PING, Abandoned, Arrived, Leaving, Role, Shared, State, Work};
use super::timer::Timer;

/// What works for the streams: a server's services and the bodies of their responses, a client's bodies of requests.
pub(super) trait Workers {
    /// Serves a request.
    fn start(&mut self, arrived: Arrived, shared: &Arc<Shared>);
    /// Takes over what was handed to the task from elsewhere; pushes the slots that have to be polled.
    fn collect(&mut self, shared: &Arc<Shared>, poll: &mut Vec<u32>);
    /// Lets the worker in `slot` go on.
    fn poll(&mut self, slot: u32, shared: &Arc<Shared>);
    /// The stream needs its worker no longer.
    fn abandon(&mut self, abandoned: Abandoned);
    /// What is said when the connection shall go away, if it shall; asked once its bit is set.
    fn drained(&mut self) -> Option<&'static [u8]>;
    /// The peer goes away, and says so with this.
    fn told(&mut self, debug: &[u8]);
    /// Gives back what a quiet connection needs not.
    fn rest(&mut self);
}

/// A connection with its transport.
#[derive(Debug)]
pub(super) struct Link<I, W> {
    io: Io<I>,
    shared: Arc<Shared>,
    workers: W,
    work: Work,
    timer: Timer,
    pings: bool,
    interval: Duration,
    /// How long a frame, a header block or the first SETTINGS may take to come whole.
    half: Duration,
    timeout: Duration,
    unread: Option<Duration>,
    readable: bool,
    /// So much waits to be written that nothing is read.
    full: bool,
    /// Since when a tick has found that nothing of what waits was taken.
    stuck_since: Option<Instant>,
    /// How it ends, once what waits is written.
    ending: Option<Result<(), Error>>,
    expired: bool,
    /// The timer fired.
    due: bool,
}

impl<I: AsyncRead + AsyncWrite + Unpin, W: Workers> Link<I, W> {
    pub(super) fn new(io: I, shared: Arc<Shared>, settings: &Settings, workers: W) -> Self {
        shared.ready.mark(DRAIN);
        Self {
            io: Io::new(io, &shared.ready),
            timer: Timer::new(&shared.ready),
            shared,
            workers,
            work: Work::default(),
            pings: settings.pings,
            interval: settings.ping_interval,
            half: settings.half,
            timeout: settings.ping_timeout,
            unread: settings.unread,
            readable: true,
            full: false,
            stuck_since: None,
            ending: None,
            expired: false,
            due: false,
        }
    }

    /// Works until there is nothing to do; ready when the connection is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.shared.ready.begin(cx.waker());
        let mut first = true;
        for _ in 0..ROUNDS {
            let bits = self.take_bits();
            let read = self.read();
            // After a pause of the whole process the input may hold what the timer is about.
            if std::mem::take(&mut self.due) {
                self.tick();
            }
            // The first time there may be what handles did while the task slept.
            if bits || read || std::mem::take(&mut first) || !self.work.is_empty() {
                self.run();
                if let Poll::Ready(end) = self.settle() {
                    return Poll::Ready(end);
                }
                continue;
            }
            if self.shared.ready.sleep() {
                return Poll::Pending;
            }
            self.shared.ready.look_again();
            first = true;
        }
        // Other tasks of the thread have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sees which parts have something to do.
    fn take_bits(&mut self) -> bool {
        if !self.shared.ready.take_any() {
            return false;
        }
        let mut any = false;
        let mut word = 0;
        while let Some(mut bits) = self.shared.ready.take(word) {
            any |= bits != 0;
            while bits != 0 {
                let bit = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                match bit {
                    READ => self.readable = true,
                    // What waits is written in any case.
                    WRITE => {}
                    TIMER => self.due = self.timer.is_due(),
                    DRAIN => {
                        if let Some(debug) = self.workers.drained() {
                            self.leave(debug);
                        }
                    }
                    _ => self.work.poll.extend(u32::try_from(bit - FIRST_STREAM)),
                }
            }
            word += 1;
        }
        any
    }

    /// Begins to go away. A peer that has nothing under way is not waited for as long as one that has.
    fn leave(&mut self, debug: &'static [u8]) {
        let mut state = self.shared.lock();
        state.leave(debug);
        let idle = state.streams.open() == 0;
        drop(state);
        if idle && self.ending.is_none() {
            self.timer.set(LINGER);
        }
    }

    /// Reads once, if that may bring something.
    fn read(&mut self) -> bool {
        if !self.readable || self.full || self.ending.is_some() {
            return false;
        }
        let (shared, work) = (&self.shared, &mut self.work);
        let read = self.io.poll_read(|input| {
            let mut state = shared.lock();
            let received = state.receive(input);
            state.add_work(work);
            received
        });
        match read {
            Poll::Pending => {
                self.readable = false;
                return false;
            }
            Poll::Ready(Ok(Read::Input)) => {}
            Poll::Ready(Ok(Read::Offence(fatal))) => {
                lock(&self.shared, &mut self.io).offend(fatal);
                self.end(Err(fatal.into()));
            }
            Poll::Ready(Ok(Read::End)) => {
                let mut state = lock(&self.shared, &mut self.io);
                let clean = state.streams.open() == 0;
                state.fail(&Error::Ended);
                drop(state);
                self.end(if clean { Ok(()) } else { Err(Error::Ended) });
                self.expired = true;
            }
            Poll::Ready(Err(error)) => self.break_off(&error),
        }
        true
    }

    /// Lets everybody work who has something to do.
    fn run(&mut self) {
        let Self { work, workers, shared, .. } = self;
        work.wakes.drain(..).for_each(Waker::wake);
        if let Some(debug) = work.told.take() {
            workers.told(&debug);
        }
        workers.collect(shared, &mut work.poll);
        for abandoned in work.abandon.drain(..) {
            workers.abandon(abandoned);
        }
        for arrived in work.arrived.drain(..) {
            let slot = arrived.key.slot;
            workers.start(arrived, shared);
            work.poll.push(slot);
        }
        for slot in work.poll.drain(..) {
            workers.poll(slot, shared);
        }
    }

    /// Takes what the workers and handles wrote, and writes it.
    fn settle(&mut self) -> Poll<Result<(), Error>> {
        loop {
            let mut state = lock(&self.shared, &mut self.io);
            let taken = self.io.is_written();
            if taken {
                state.take_output(&mut self.io.out);
            }
            self.full = !taken && state.is_full();
            state.workers_rested();
            state.add_work(&mut self.work);
            let over = state.is_over() && self.ending.is_none();
            if over && state.role == Role::Client {
                frame::go_away(state.out.frames(), 0, Reason::NO_ERROR, b"");
                state.fail(&Error::Ended);
            }
            let awaited = state.streams.open() > 0 || state.input.half_since().is_some();
            let leaving = state.leaving == Leaving::Announced;
            drop(state);
            if !self.timer.is_on() && (awaited || leaving) {
                self.timer.set(if awaited { self.interval.min(self.half) } else { LINGER });
            }
            if over {
                self.end(Ok(()));
            }
            match self.io.poll_write() {
                // What came together while this was being written is the next.
                Poll::Ready(Ok(())) if !taken => continue,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.break_off(&error.into()),
                Poll::Pending if self.expired => {}
                Poll::Pending => {
                    if !self.timer.is_on() {
                        self.timer.set(self.interval);
                    }
                    return Poll::Pending;
                }
            }
            if self.ending.is_none() {
                return Poll::Pending;
            }
            if !self.expired && !self.shared.lock().out.is_empty() {
                continue;
            }
            return self.finish();
        }
    }

    fn finish(&mut self) -> Poll<Result<(), Error>> {
        if self.io.poll_shutdown().is_pending() && !self.expired {
            return Poll::Pending;
        }
        Poll::Ready(self.ending.take().unwrap_or(Ok(())))
    }

    /// The connection ends when what waits is written, but no later than the timer says.
    fn end(&mut self, result: Result<(), Error>) {
        if self.ending.is_none() {
            self.ending = Some(result);
            self.timer.set(LINGER);
        }
    }

    /// The transport is of no use any more.
    fn break_off(&mut self, error: &Error) {
        let mut state = lock(&self.shared, &mut self.io);
        state.fail(error);
        drop(state);
        self.end(Err(error.clone()));
        self.expired = true;
    }

    /// The timer fired: is the peer there, and is there anything to wait for?
    fn tick(&mut self) {
        if self.ending.is_some() {
            self.expired = true;
            return;
        }
        let now = Instant::now();
        if !self.io.is_stuck() {
            self.stuck_since = None;
        } else if self.unread.is_some_and(|most| now - *self.stuck_since.get_or_insert(now) >= most) {
            self.break_off(&Error::Unread);
            return;
        }
        let mut state = lock(&self.shared, &mut self.io);
        if state.leaving == Leaving::Announced {
            // The peer does not answer, and was told long ago.
            state.leave_for_good();
        }
        state.give_streams();
        // Once in an interval, whether it is quiet or not: streams may be open for hours.
        state.rest();
        self.work.rest();
        self.workers.rest();
        self.io.rest();
        let half = state.input.half_since().map(|since| self.half.saturating_sub(now - since));
        if half == Some(Duration::ZERO) {
            let fatal = Fatal::calm("frame or header block did not come whole in time");
            state.offend(fatal);
            drop(state);
            self.end(Err(fatal.into()));
            return;
        }
        let wait = match self.ask_peer(&mut state, now) {
            Ok(wait) => wait,
            Err(error) => {
                drop(state);
                self.break_off(&error);
                return;
            }
        };
        match [wait, half, self.stuck_since.map(|_| self.interval)].into_iter().flatten().min() {
            Some(wait) => self.timer.set(wait),
            None => self.timer.stop(),
        }
    }

    /// Finds out whether the peer is there, if streams are open; returns when to look again.
    fn ask_peer(&self, state: &mut State, now: Instant) -> Result<Option<Duration>, Error> {
        let heard = std::mem::take(&mut state.heard);
        if state.streams.open() == 0 {
            state.pinged = None;
            return Ok(std::mem::take(&mut state.used).then_some(self.interval));
        }
        if heard || !self.pings {
            state.pinged = None;
            return Ok(Some(self.interval));
        }
        let Some(pinged) = state.pinged else {
            state.pinged = Some(now);
            frame::ping(state.out.frames(), 0, ALIVE_PING);
            return Ok(Some(self.timeout));
        };
        match self.timeout.saturating_sub(now - pinged) {
            Duration::ZERO => Err(Error::Silent),
            left => Ok(Some(left)),
        }
    }
}

impl<I, W> Drop for Link<I, W> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared, &mut self.io);
        state.fail(&Error::Ended);
        let work = std::mem::take(&mut state.work);
        drop(state);
        self.shared.ready.end();
        work.wakes.into_iter().for_each(Waker::wake);
        std::mem::take(&mut self.work).wakes.into_iter().for_each(Waker::wake);
    }
}

/// Locks the state, which then knows what was sent: that decides which requests may be sent again.
fn lock<'a, I>(shared: &'a Shared, io: &mut Io<I>) -> MutexGuard<'a, State> {
    let mut state = shared.lock();
    if io.take_wrote() {
        state.sent();
    }
    state
}

/// After so many rounds other tasks have their turn.
const ROUNDS: usize = 32;
/// How long a peer has to take what says why the connection ends.
const LINGER: Duration = Duration::from_secs(1);
