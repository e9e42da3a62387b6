//! What a folder holds, and what has changed in it since the last look.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use crate::objects::{self, Object, ObjectId};
use crate::state::{Event, Reading};

/// A folder of YAML files.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<String, File>,
    told: HashMap<ObjectId, Object>,
    errors: Vec<String>,
    reading: Reading,
}

/// One file with its last good objects.
#[derive(Debug, Default)]
struct File {
    stamp: Stamp,
    // Whether it was read long enough after it was written.
    settled: bool,
    text: String,
    objects: Vec<Object>,
    error: Option<String>,
    // Whether it was readable at least once.
    known: bool,
    // Since when it is gone or empty.
    missing: Option<Instant>,
}

/// Tells a changed file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Says whether a change from now on would have another time.
    fn is_old(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).is_ok_and(|now| self.modified.0.saturating_add(COARSE_SECONDS) < now)
    }
}

/// What a look at the folder brought.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) events: Vec<Event>,
    pub(super) again_in: Option<Duration>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, files: BTreeMap::new(), told: HashMap::new(), errors: Vec::new(), reading: Reading::Started }
    }

    /// Reads the folder and tells what differs from what was told before.
    pub(super) fn scan(&mut self, now: Instant) -> Scan {
        let mut errors = Vec::new();
        let mut listed = true;
        match self.list() {
            Ok(names) => {
                for (name, stamp) in &names {
                    self.read(name, *stamp, now);
                }
                for (name, file) in &mut self.files {
                    if !names.contains_key(name) {
                        file.missing.get_or_insert(now);
                    }
                }
            }
            // A folder that cannot be read says nothing about its objects: they stay.
            Err(error) => {
                listed = false;
                errors.push(format!("{}: {error}", self.path.display()));
            }
        }
        self.files.retain(|name, file| {
            let gone = file.missing.is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
            if gone {
                info!(file = name, "file is gone or empty");
            }
            !gone
        });
        errors.extend(self.files.values().filter_map(|file| file.error.clone()));
        let mut events = self.difference(errors);
        let whole = listed && self.files.values().all(|file| file.known);
        let reading = self.reading.max(if whole { Reading::Wholly } else { Reading::Partly });
        if reading != self.reading {
            self.reading = reading;
            events.push(Event::Synced(reading));
        }
        let again_in = self.files.values().any(|file| file.missing.is_some()).then_some(GRACE / 4);
        Scan { events, again_in }
    }

    /// Says whether a file was added, removed or changed, by its times.
    pub(super) fn looks_different(&self) -> bool {
        let Ok(names) = self.list() else { return true };
        let known = self.files.iter().map(|(name, file)| (name, file.stamp));
        !names.iter().map(|(name, stamp)| (name, *stamp)).eq(known)
    }

    fn list(&self) -> std::io::Result<BTreeMap<String, Stamp>> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&self.path)? {
            let Ok(name) = entry?.file_name().into_string() else { continue };
            let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
            if !yaml || name.starts_with('.') {
                continue;
            }
            // Follows links: that is how projected volumes are laid out. Gone again already: as if it were not there.
            let Ok(metadata) = fs::metadata(self.path.join(&name)) else { continue };
            if metadata.is_file() {
                let modified = (metadata.mtime(), metadata.mtime_nsec());
                names.insert(name, Stamp { inode: metadata.ino(), size: metadata.size(), modified });
            }
        }
        Ok(names)
    }

    fn read(&mut self, name: &str, stamp: Stamp, now: Instant) {
        let path = self.path.join(name);
        let file = self.files.entry(name.to_owned()).or_default();
        // Times are coarse: a file that was just written may be written again and look the same.
        if file.stamp == stamp && file.settled && file.error.is_none() && file.missing.is_none() {
            return;
        }
        file.stamp = stamp;
        file.settled = stamp.is_old();
        let text = match stamp.size {
            0..=MAX_FILE => fs::read_to_string(&path).map_err(|error| error.to_string()),
            _ => Err(format!("the file is larger than {MAX_FILE} bytes")),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                file.fail(format!("{name}:1:1: {error}"));
                return;
            }
        };
        // A program that saves in place first cuts the file to nothing: wait whether that was all.
        if text.is_empty() && !file.objects.is_empty() {
            file.missing.get_or_insert(now);
            return;
        }
        file.missing = None;
        if file.known && text == file.text && file.error.is_none() {
            return;
        }
        match objects::read(&text) {
            Ok(document) => {
                for skipped in document.skipped {
                    let objects::Skipped { line, api_version, kind } = skipped;
                    warn!(file = name, line, %api_version, %kind, "this kind is not read");
                }
                file.objects = document.objects;
                file.error = None;
                file.known = true;
            }
            Err(error) => file.fail(format!("{name}:{error}")),
        }
        file.text = text;
    }

    fn difference(&mut self, mut errors: Vec<String>) -> Vec<Event> {
        let mut now: HashMap<ObjectId, (&str, &Object)> = HashMap::with_capacity(self.told.len());
        // Files that are about to go come last: what they said may just have moved to another file.
        let (here, leaving): (Vec<_>, Vec<_>) = self.files.iter().partition(|(_, file)| file.missing.is_none());
        for (name, file) in here.into_iter().chain(leaving) {
            for object in &file.objects {
                let id = object.id();
                match now.get(&id) {
                    Some((first, _)) if file.missing.is_none() => {
                        errors.push(format!("{name}:1:1: {id} is also in {first}, which counts"));
                    }
                    Some(_) => {}
                    None => {
                        now.insert(id, (name, object));
                    }
                }
            }
        }
        let differs = |id: &ObjectId, object: &Object| {
            !self.told.get(id).is_some_and(|told| told.is_same(object) || told == object)
        };
        let mut new: Vec<(&ObjectId, &Object)> =
            now.iter().filter(|(id, (_, object))| differs(id, object)).map(|(id, (_, object))| (id, *object)).collect();
        new.sort_unstable_by_key(|(id, _)| *id);
        let mut removed: Vec<&ObjectId> = self.told.keys().filter(|id| !now.contains_key(id)).collect();
        removed.sort_unstable();
        let mut events: Vec<Event> = new.into_iter().map(|(_, object)| Event::Put(object.clone())).collect();
        events.extend(removed.into_iter().map(|id| Event::Remove(id.clone())));
        self.told = now.into_iter().map(|(id, (_, object))| (id, object.clone())).collect();
        if self.errors != errors {
            events.push(Event::SourceErrors(errors.clone()));
            self.errors = errors;
        }
        events
    }
}

impl File {
    fn fail(&mut self, error: String) {
        if self.error.as_deref() != Some(error.as_str()) {
            warn!(%error, kept = self.objects.len(), "cannot read a file: its last good objects stay in force");
        }
        self.missing = None;
        self.error = Some(error);
    }
}

/// How long a file may be gone or empty before its objects go: editors do that for a moment on every save.
const GRACE: Duration = Duration::from_millis(200);

/// No file system keeps times coarser than this.
const COARSE_SECONDS: i64 = 2;

const MAX_FILE: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
