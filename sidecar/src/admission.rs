//! Which connections may be there at once: counts by direction, places kept for peers of the mesh, and what is closed when
//! there is no room. Workers share it: a connection takes a place when it is accepted and gives it back when it ends, and
//! requests only read.

mod level;
mod source;
mod tasks;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_proto::ErrorCode;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::ProxyError;
pub(crate) use level::Level;

use crate::direction::Direction;
use crate::limits::Limits;
use source::Source;
use tasks::Tasks;

/// A connection that has shown nothing is not closed for another before it is so old, unless there is no room at all: a peer
/// on a busy machine has had its turn.
const PATIENCE: Duration = Duration::from_secs(1);

/// The places of one sidecar.
pub(crate) struct Admission {
    limits: Limits,
    /// Accepted, by direction.
    open: [AtomicUsize; 2],
    /// Descriptors of accepted and dialled connections, by direction.
    descriptors: [AtomicUsize; 2],
    inbound: Mutex<Inbound>,
    ids: AtomicU64,
    created: Instant,
    /// When the last inbound connection came: milliseconds since `created`.
    latest: AtomicU64,
    /// Closed to make room.
    closed: AtomicU64,
    level: AtomicU8,
    /// Bytes used and the limit; 0: there is none.
    memory: [AtomicU64; 2],
}

/// Inbound connections without an identity.
#[derive(Default)]
struct Inbound {
    /// They have shown nothing yet: no identity, no request, no byte for the app.
    silent: Tasks,
    /// They have sent a request, or bytes for the app.
    strangers: Tasks,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There are as many as there may be.
    Connections,
    /// Memory is short.
    Memory,
}

impl Refused {
    /// All, in the order of their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Connections, Self::Memory];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Memory => "memory",
        }
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: Default::default(),
            descriptors: Default::default(),
            inbound: Mutex::default(),
            ids: AtomicU64::new(0),
            created: Instant::now(),
            latest: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            level: AtomicU8::new(Level::Normal as u8),
            memory: Default::default(),
        }
    }

    /// Takes a place for a connection from `peer`; it is free again when the answer is dropped.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn enter(self: &Arc<Self>, direction: Direction, peer: IpAddr) -> Result<Held, Refused> {
        let side = side(direction);
        if direction == Direction::Inbound {
            if self.level() >= Level::Full {
                return Err(Refused::Memory);
            }
            self.latest.store(self.created.elapsed().as_millis() as u64, Ordering::Relaxed);
            self.make_room();
        }
        // Taken first, and given back if that was too much: workers accept at the same time.
        if self.open[side].fetch_add(1, Ordering::Relaxed) >= self.limits.each || !self.take_descriptor(side) {
            self.open[side].fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Connections);
        }
        Ok(Held(Arc::new(Place {
            admission: self.clone(),
            direction,
            source: Source::of(peer),
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            standing: AtomicU8::new(SILENT),
            released: AtomicBool::new(false),
        })))
    }

    /// How long ago the last inbound connection came.
    pub(crate) fn since_latest(&self) -> Duration {
        self.created.elapsed().saturating_sub(Duration::from_millis(self.latest.load(Ordering::Relaxed)))
    }

    /// Takes a descriptor for a connection that is dialled; `None` when the direction has had its share.
    pub(crate) fn dial(self: &Arc<Self>, direction: Direction) -> Option<Dialled> {
        let side = side(direction);
        if direction == Direction::Inbound && self.reached(|limit| limit) {
            self.close_silent(1, Duration::ZERO);
        }
        self.take_descriptor(side).then(|| Dialled { admission: self.clone(), side })
    }

    fn take_descriptor(&self, side: usize) -> bool {
        let other = self.descriptors[1 - side].load(Ordering::Relaxed);
        let own = self.descriptors[side].fetch_add(1, Ordering::Relaxed) + 1;
        let taken = own <= self.limits.share && own + other <= self.limits.together;
        if !taken {
            self.descriptors[side].fetch_sub(1, Ordering::Relaxed);
        }
        taken
    }

    /// Whether inbound connections, or all descriptors, have reached what `of` makes of their limits.
    fn reached(&self, of: impl Fn(usize) -> usize) -> bool {
        let [inbound, outbound] = &self.descriptors;
        let inbound = inbound.load(Ordering::Relaxed);
        self.open(Direction::Inbound) >= of(self.limits.each)
            || inbound >= of(self.limits.share)
            || inbound + outbound.load(Ordering::Relaxed) >= of(self.limits.together)
    }

    /// Whether descriptors are left for a peer without an identity: the last eighth of the share is for the mesh. Others that
    /// have shown nothing, more than `own`, make room.
    fn has_descriptors_for_strangers(&self, own: usize) -> bool {
        let most = self.limits.share - self.limits.share / 8;
        let over = || (self.descriptors[side(Direction::Inbound)].load(Ordering::Relaxed) + 1).saturating_sub(most);
        if over() > 0 && self.silent() > own {
            self.close_silent(over(), Duration::ZERO);
        }
        over() == 0
    }

    /// Whether few places are left for inbound connections.
    pub(crate) fn is_crowded(&self) -> bool {
        self.reached(Limits::crowded)
    }

    fn make_room(&self) {
        if self.reached(|limit| limit) {
            self.close_silent(1, Duration::ZERO);
        } else if self.is_crowded() || self.level() >= Level::Hard {
            self.close_silent(1, PATIENCE);
        }
    }

    /// Closes up to `count` connections that have shown nothing for `age`.
    pub(crate) fn close_silent(&self, count: usize, age: Duration) {
        self.close(count, age, |inbound| &mut inbound.silent);
    }

    /// Closes up to `count` connections that run and have no identity.
    pub(crate) fn close_strangers(&self, count: usize) {
        self.close(count, Duration::ZERO, |inbound| &mut inbound.strangers);
    }

    fn close(&self, count: usize, age: Duration, of: impl Fn(&mut Inbound) -> &mut Tasks) {
        let mut ended = Vec::new();
        {
            let mut inbound = self.inbound.lock();
            while ended.len() < count {
                let Some((place, task)) = of(&mut inbound).take_one(age) else { break };
                // Its place is free at once; the task ends when it comes to its turn.
                place.release();
                ended.push(task);
            }
        }
        self.closed.fetch_add(ended.len() as u64, Ordering::Relaxed);
        // Not under the lock, which the end of a task takes.
        ended.iter().for_each(AbortHandle::abort);
    }

    /// Connections that have shown nothing yet.
    pub(crate) fn silent(&self) -> usize {
        self.inbound.lock().silent.len()
    }

    /// Connections that run and have no identity.
    pub(crate) fn strangers(&self) -> usize {
        self.inbound.lock().strangers.len()
    }

    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// How short memory is.
    pub(crate) fn level(&self) -> Level {
        Level::from_u8(self.level.load(Ordering::Relaxed))
    }

    /// Memory that is used, and its limit if there is one, bytes.
    pub(crate) fn set_memory(&self, usage: Option<(u64, u64)>) {
        let (used, limit) = usage.unwrap_or_default();
        self.memory[0].store(used, Ordering::Relaxed);
        self.memory[1].store(limit, Ordering::Relaxed);
    }

    pub(crate) fn memory(&self) -> Option<(u64, u64)> {
        let [used, limit] = [0, 1].map(|which| self.memory[which].load(Ordering::Relaxed));
        (limit > 0).then_some((used, limit))
    }

    /// Whether a peer without an identity is to leave after its present request.
    fn is_tight(&self) -> bool {
        self.level() >= Level::Tight || self.is_crowded()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn open(&self, direction: Direction) -> usize {
        self.open[side(direction)].load(Ordering::Relaxed)
    }

    /// How many were closed to make room.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("limits", &self.limits).field("open", &self.open).finish_non_exhaustive()
    }
}

/// The place of one connection, as long as it is open.
pub(crate) struct Held(Arc<Place>);

impl Held {
    pub(crate) fn place(&self) -> &Arc<Place> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let place = &self.0;
        if place.direction == Direction::Outbound {
            return place.release();
        }
        let mut inbound = place.admission.inbound.lock();
        // Of one kind or none.
        inbound.silent.remove(place);
        inbound.strangers.remove(place);
        place.release();
    }
}

/// The descriptor of a dialled connection, as long as it is open.
pub(crate) struct Dialled {
    admission: Arc<Admission>,
    side: usize,
}

impl Drop for Dialled {
    fn drop(&mut self) {
        self.admission.descriptors[self.side].fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a connection's place knows of it. Requests keep it for longer than the connection lives.
pub(crate) struct Place {
    admission: Arc<Admission>,
    direction: Direction,
    source: Source,
    id: u64,
    /// Of an inbound connection; changes while `inbound` is locked.
    standing: AtomicU8,
    /// Given back; changes while `inbound` is locked.
    released: AtomicBool,
}

/// Nothing was shown yet.
const SILENT: u8 = 0;
/// It has sent a request, or bytes for the app, and has no identity.
const STRANGER: u8 = 1;
/// It has proved an identity of the mesh.
const MESHED: u8 = 2;

impl Place {
    /// From now on `task`, which serves it, may be ended to make room, until it has shown something.
    pub(crate) fn is_served_by(self: &Arc<Self>, task: AbortHandle) {
        if self.direction == Direction::Inbound {
            self.admission.inbound.lock().silent.insert(self.clone(), task);
        }
    }

    /// The peer has proved who it is.
    pub(crate) fn meshed(&self) {
        let mut inbound = self.admission.inbound.lock();
        self.standing.store(MESHED, Ordering::Relaxed);
        inbound.silent.remove(self);
    }

    /// A peer without an identity sends a request, or bytes for the app: asked each time.
    ///
    /// # Errors
    /// E010 when there is no room for it.
    pub(crate) fn stranger(self: &Arc<Self>) -> Result<(), ProxyError> {
        let admission = &*self.admission;
        if admission.level() >= Level::Hard {
            let detail = "the sidecar is short of memory and refuses peers without an identity";
            return Err(ProxyError::new(ErrorCode::ConnectionLimit, detail));
        }
        let known = self.standing.load(Ordering::Relaxed) == STRANGER;
        if !admission.has_descriptors_for_strangers(usize::from(!known)) {
            let detail = "descriptors are short, and the last are for peers with an identity";
            return Err(ProxyError::new(ErrorCode::ConnectionLimit, detail));
        }
        if known {
            return Ok(());
        }
        let mut inbound = admission.inbound.lock();
        let limit = admission.limits.strangers;
        let task = if inbound.strangers.len() < limit { inbound.silent.remove(self) } else { None };
        // None as well when it is being closed to make room.
        let Some(task) = task else {
            let detail = format!("{limit} inbound connections without an identity are open, which is the limit");
            return Err(ProxyError::new(ErrorCode::ConnectionLimit, detail));
        };
        self.standing.store(STRANGER, Ordering::Relaxed);
        inbound.strangers.insert(self.clone(), task);
        Ok(())
    }

    /// Whether a peer without an identity is to leave after its present request.
    pub(crate) fn is_tight(&self) -> bool {
        self.admission.is_tight()
    }

    fn release(&self) {
        if self.released.swap(true, Ordering::Relaxed) {
            return;
        }
        let side = side(self.direction);
        self.admission.open[side].fetch_sub(1, Ordering::Relaxed);
        self.admission.descriptors[side].fetch_sub(1, Ordering::Relaxed);
    }
}

fn side(direction: Direction) -> usize {
    match direction {
        Direction::Inbound => 0,
        Direction::Outbound => 1,
    }
}

#[cfg(test)]
pub(crate) mod tests;
