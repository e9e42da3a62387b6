//! What a folder holds, and what has changed in it since the last look.

mod holders;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{info, warn};

use crate::objects::{self, Object, ObjectId};
use crate::state::{Event, Reading};

use holders::Holders;

/// A folder of YAML files.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    files: BTreeMap<Arc<str>, File>,
    holders: Holders,
    errors: Vec<String>,
    reading: Reading,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    stamp: Stamp,
    // Whether it was read long enough after it was written.
    settled: bool,
    text: String,
    // What it held when it was last readable.
    objects: Vec<ObjectId>,
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
        Self {
            path,
            files: BTreeMap::new(),
            holders: Holders::default(),
            errors: Vec::new(),
            reading: Reading::Started,
        }
    }

    /// Reads the folder and tells what differs from what was told before.
    pub(super) fn scan(&mut self, now: Instant) -> Scan {
        let mut errors = Vec::new();
        // Whose objects may be told now, or by another file than before.
        let mut changed = BTreeSet::new();
        let mut listed = true;
        match self.list() {
            Ok(names) => {
                for (name, stamp) in &names {
                    self.read(name, *stamp, now, &mut changed);
                }
                for (name, file) in &mut self.files {
                    if file.missing.is_none() && !names.contains_key(name) {
                        file.missing = Some(now);
                        changed.extend(file.objects.iter().cloned());
                    }
                }
            }
            // A folder that cannot be read says nothing about its objects: they stay.
            Err(error) => {
                listed = false;
                errors.push(format!("{}: {error}", self.path.display()));
            }
        }
        let holders = &mut self.holders;
        self.files.retain(|name, file| {
            let gone = file.missing.is_some_and(|since| now.saturating_duration_since(since) >= GRACE);
            if gone {
                info!(file = &**name, "file is gone or empty");
                holders.replace(name, &file.objects, Vec::new(), &mut changed);
            }
            !gone
        });
        let leaving = |name: &str| self.files.get(name).is_some_and(|file| file.missing.is_some());
        let mut events = self.holders.tell(changed, leaving);
        errors.extend(self.files.values().filter_map(|file| file.error.clone()));
        errors.extend(self.holders.errors());
        if self.errors != errors {
            events.push(Event::SourceErrors(errors.clone()));
            self.errors = errors;
        }
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

    fn list(&self) -> std::io::Result<BTreeMap<Arc<str>, Stamp>> {
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
                names.insert(name.into(), Stamp { inode: metadata.ino(), size: metadata.size(), modified });
            }
        }
        Ok(names)
    }

    fn read(&mut self, name: &Arc<str>, stamp: Stamp, now: Instant, changed: &mut BTreeSet<ObjectId>) {
        let file = self.files.entry(name.clone()).or_default();
        // Times are coarse: a file that was just written may be written again and look the same.
        if file.stamp == stamp && file.settled && file.error.is_none() && file.missing.is_none() {
            return;
        }
        let path = self.path.join(&**name);
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
        let empty = text.is_empty() && !file.objects.is_empty();
        if empty != file.missing.is_some() {
            file.missing = empty.then_some(now);
            changed.extend(file.objects.iter().cloned());
        }
        if empty {
            return;
        }
        if file.known && text == file.text && file.error.is_none() {
            return;
        }
        match objects::read(&text) {
            Ok(document) => {
                for skipped in document.skipped {
                    let objects::Skipped { line, api_version, kind } = skipped;
                    warn!(file = &**name, line, %api_version, %kind, "this kind is not read");
                }
                let objects = document.objects.iter().map(Object::id).collect();
                self.holders.replace(name, &file.objects, document.objects, changed);
                file.objects = objects;
                file.error = None;
                file.known = true;
            }
            Err(error) => file.fail(format!("{name}:{error}")),
        }
        file.text = text;
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
