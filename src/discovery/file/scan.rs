// SPDX-License-Identifier: Apache-2.0
//! Reading the directory: which records are good, which of those are alive, and what may be cleared away.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::process::{self, Census};
use super::store::{self, Store, TEMPORARY, cannot};
use crate::discovery::Instance;
use crate::discovery::record::{self, Holder};
use crate::error::{Error, Result};
use crate::target::ServiceName;

/// No record is believed for longer without being renewed, whatever it says of its lease.
pub(super) const MAX_LEASE: Duration = Duration::from_secs(3600);

/// A file is cleared away when its lease has been over for this many leases. Its holder, should it only have been
/// suspended, writes it anew.
const LONG_EXPIRED: u32 = 10;

/// A half-written record whose writer did not finish it in this time is litter.
const LITTER: Duration = Duration::from_secs(60);

/// Files that one scan looks at. A directory with more is misused, and reading it must stay cheap.
const MAX_FILES: usize = 10_000;

/// The live instances by service, each list ordered by instance id.
pub(super) type Listing = HashMap<ServiceName, Arc<[Instance]>>;

/// Reads the directory again and again, and parses only what changed since the last time.
pub(super) struct Scanner {
    store: Arc<Store>,
    /// The lease of a record that does not state its own.
    lease: Duration,
    here: Option<String>,
    // Ordered, so that of two records of one instance always the same one counts.
    known: BTreeMap<OsString, Known>,
    /// Names that were warned of and are still there.
    warned: HashSet<OsString>,
    warned_of_many: bool,
}

struct Known {
    stamp: Stamp,
    /// `None`: garbage.
    record: Option<(Instance, Option<Holder>)>,
}

/// A record is only ever replaced by another file, and renewed by its time.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: SystemTime,
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Serve it.
    Alive,
    /// Do not; it may be renewed yet.
    Expired,
    /// Clear it away.
    Abandoned,
}

impl Scanner {
    pub(super) fn new(store: Arc<Store>, lease: Duration) -> Self {
        Self {
            store,
            lease,
            here: process::host(),
            known: BTreeMap::new(),
            warned: HashSet::new(),
            warned_of_many: false,
        }
    }

    /// What is alive at `now`. An absent directory is an empty one.
    pub(super) fn scan(&mut self, now: SystemTime) -> Result<Listing> {
        self.reread(now)?;
        let mut census = Census::new(self.here.clone());
        let mut alive: Vec<&Instance> = Vec::new();
        let mut abandoned = Vec::new();
        for (file, known) in &self.known {
            let Some((instance, holder)) = &known.record else { continue };
            match verdict(holder.as_ref(), known.stamp.modified, now, self.lease, &mut census) {
                Verdict::Alive => alive.push(instance),
                Verdict::Expired => {}
                Verdict::Abandoned => abandoned.push((self.store.instances().join(file), known.stamp)),
            }
        }
        // Stable: files that hold one instance twice stay in the order of their names.
        alive.sort_by(|a, b| (&a.name, a.instance_id).cmp(&(&b.name, b.instance_id)));
        alive.dedup_by(|b, a| (&a.name, a.instance_id) == (&b.name, b.instance_id));
        let services = alive.chunk_by(|a, b| a.name == b.name);
        let listing = services.filter_map(|service| {
            let name = service.first()?.name.clone();
            Some((name, service.iter().map(|instance| (*instance).clone()).collect()))
        });
        let listing = listing.collect();
        self.clear_away(&abandoned);
        Ok(listing)
    }

    fn reread(&mut self, now: SystemTime) -> Result<()> {
        let directory = self.store.instances();
        let entries = match self.store.exists()? {
            true => Some(fs::read_dir(directory).map_err(|error| cannot("list", directory, error))?),
            false => None,
        };
        let mut old = std::mem::take(&mut self.known);
        let mut names = HashSet::new();
        for entry in entries.into_iter().flatten().flatten() {
            let file = entry.file_name();
            if file.as_encoded_bytes().starts_with(b".") {
                sweep(&entry.path(), &file, now);
                continue;
            }
            if names.len() >= MAX_FILES {
                self.warn_of_many();
                break;
            }
            if let Some(known) = self.look(&file, &entry.path(), old.remove(&file)) {
                self.known.insert(file.clone(), known);
            }
            names.insert(file);
        }
        self.warned.retain(|file| names.contains(file));
        Ok(())
    }

    /// `None` if it has vanished meanwhile. A file that cannot be read now counts as it did before.
    fn look(&mut self, file: &OsString, path: &Path, old: Option<Known>) -> Option<Known> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.unreadable(file, path, old, error),
        };
        let stamp = Stamp::of(&metadata);
        if old.as_ref().is_some_and(|old| old.stamp == stamp) {
            return old;
        }
        let record = if metadata.is_file() {
            match store::read(path) {
                Ok(text) => record::decode(&text),
                Err(error) => return self.unreadable(file, path, old, error),
            }
        } else {
            Err(Error::protocol("a discovery record is a file, this is none"))
        };
        if let Err(error) = &record {
            self.warn_of(file, path, error);
        }
        Some(Known { stamp, record: record.ok() })
    }

    fn unreadable(&mut self, file: &OsString, path: &Path, old: Option<Known>, error: io::Error) -> Option<Known> {
        if error.kind() == io::ErrorKind::NotFound {
            return None;
        }
        self.warn_of(file, path, &cannot("read", path, error));
        old
    }

    /// Once per file, as long as it is there.
    fn warn_of(&mut self, file: &OsString, path: &Path, error: &Error) {
        if self.warned.insert(file.clone()) {
            tracing::warn!(target: "biplane::discovery", file = %path.display(), %error, "skipping a record");
        }
    }

    fn warn_of_many(&mut self) {
        if !std::mem::replace(&mut self.warned_of_many, true) {
            let directory = self.store.instances().display();
            tracing::warn!(target: "biplane::discovery", %directory, limit = MAX_FILES, "too many files: the rest is not looked at");
        }
    }

    /// Removes what is still as it was judged. Best effort: what stays is judged again by whoever looks next.
    fn clear_away(&self, abandoned: &[(PathBuf, Stamp)]) {
        if abandoned.is_empty() {
            return;
        }
        // Under the lock nobody puts a new record in the place of the old one between the look and the removal. Whoever
        // has the lock is at work here anyway, so there is no waiting for it.
        let Ok(Some(_lock)) = self.store.lock(Duration::ZERO) else { return };
        for (path, stamp) in abandoned {
            if fs::symlink_metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == *stamp)
                && fs::remove_file(path).is_ok()
            {
                tracing::debug!(target: "biplane::discovery", file = %path.display(), "cleared away an abandoned record");
            }
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        Self { inode: metadata.ino(), size: metadata.len(), modified }
    }
}

/// Whether `path` holds a live record. An unreadable or absent one is none.
pub(super) fn holds_live_record(path: &Path, default_lease: Duration) -> bool {
    let Ok(modified) = fs::symlink_metadata(path).and_then(|metadata| metadata.modified()) else { return false };
    let Some((_, holder)) = store::read(path).ok().and_then(|text| record::decode(&text).ok()) else { return false };
    let mut census = Census::new(process::host());
    verdict(holder.as_ref(), modified, SystemTime::now(), default_lease, &mut census) == Verdict::Alive
}

fn verdict(
    holder: Option<&Holder>,
    modified: SystemTime,
    now: SystemTime,
    default_lease: Duration,
    census: &mut Census,
) -> Verdict {
    if holder.and_then(|holder| holder.process.as_ref()).is_some_and(|process| census.is_gone(process)) {
        return Verdict::Abandoned;
    }
    let lease = holder.map_or(default_lease, |holder| Duration::from_millis(holder.lease_ms)).min(MAX_LEASE);
    let age = age(modified, now);
    if age <= lease {
        Verdict::Alive
    } else if age > lease.saturating_mul(LONG_EXPIRED).max(LITTER) {
        Verdict::Abandoned
    } else {
        Verdict::Expired
    }
}

/// How far `modified` is from `now`, in either direction: a time far ahead is no proof of life, only of a clock that was
/// set back.
fn age(modified: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(modified).unwrap_or_else(|ahead| ahead.duration())
}

/// Removes a half-written record whose writer was killed.
fn sweep(path: &Path, file: &OsString, now: SystemTime) {
    if !file.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
        return;
    }
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    if modified.is_ok_and(|modified| age(modified, now) > LITTER) {
        // Somebody else may have been faster.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
