// SPDX-License-Identifier: Apache-2.0
//! The directory of the file store: `<root>/biplane/instances/`, private to its user.
//!
//! Whoever can write there decides where requests go, and the default root stands in a directory that everybody can write
//! to. So every level is created with mode 0700, and a level that is a symbolic link, belongs to somebody else or can be
//! written by others is refused, each time: a cleaner of temporary files may have removed it in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;

use crate::discovery::record;
use crate::error::{Error, Phase, Result};

/// Names that start so are records that are being written.
pub(super) const TEMPORARY: &str = ".tmp-";

#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    biplane: PathBuf,
    instances: PathBuf,
}

impl Store {
    pub(super) fn new(root: &Path) -> Self {
        // Put together anew, without a trailing slash: behind one, a symbolic link shows as what it points to.
        let root: PathBuf = root.components().collect();
        let biplane = root.join("biplane");
        Self { instances: biplane.join("instances"), biplane, root }
    }

    /// Where the records are.
    pub(super) fn instances(&self) -> &Path {
        &self.instances
    }

    /// Makes what is missing, refuses what is not safe.
    pub(super) fn create(&self) -> Result<()> {
        if let Some(parent) = self.root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
            made.map_err(|error| cannot("create the directory", parent, error))?;
        }
        for level in self.levels() {
            match DirBuilder::new().mode(0o700).create(level) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(cannot("create the directory", level, error));
                }
                Ok(()) | Err(_) => check(level)?,
            };
        }
        Ok(())
    }

    /// Whether it is there; refuses what is not safe.
    pub(super) fn exists(&self) -> Result<bool> {
        for level in self.levels() {
            if !check(level)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn levels(&self) -> [&Path; 3] {
        [&self.root, &self.biplane, &self.instances]
    }

    /// Keeps others from replacing and removing records while it is held; `None` if somebody else had it for all of
    /// `wait`. Reading and renewing need no lock. A process that dies gives it back.
    pub(super) fn lock(&self, wait: Duration) -> Result<Option<File>> {
        let path = self.instances.join(".lock");
        let file = options().read(true).write(true).create(true).open(&path);
        let file = file.map_err(|error| cannot("open the lock", &path, error))?;
        let until = Instant::now() + wait;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(fs::TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(fs::TryLockError::WouldBlock) => return Ok(None),
                Err(fs::TryLockError::Error(error)) => return Err(cannot("lock", &path, error)),
            }
        }
    }

    /// Puts a whole record in place at once: readers see the old one or the new one. `modified` is when it counts as
    /// renewed. Not synced to disk: no record outlives its process, let alone a crash of the system.
    pub(super) fn write(&self, path: &Path, text: &[u8], modified: Option<SystemTime>) -> Result<()> {
        let temporary = self.instances.join(format!("{TEMPORARY}{:016x}", random()?));
        let written = || -> io::Result<()> {
            let mut file = options().write(true).create_new(true).open(&temporary)?;
            file.write_all(text)?;
            if let Some(modified) = modified {
                file.set_modified(modified)?;
            }
            fs::rename(&temporary, path)
        };
        written().map_err(|error| {
            // It may not be there, and if it stays, it is swept later.
            let _ = fs::remove_file(&temporary);
            cannot("write the record", path, error)
        })
    }
}

/// Reads at most one byte more than a record may have, so that the reader of the text sees that it is too large.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    options().read(true).open(path)?.take(record::MAX_SIZE as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Sets the file's time to now.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    options().write(true).open(path)?.set_modified(SystemTime::now())
}

pub(super) fn cannot(what: &str, path: &Path, error: io::Error) -> Error {
    Error::unexpected(format!("discovery cannot {what} {}", path.display()))
        .with_phase(Phase::Discover)
        .with_hint("check the directory that DYN_FILE_KV names, its owner and the space on its disk")
        .with_source(error)
}

fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| Error::unexpected("the system gives no random numbers").with_source(error))
}

/// Never through a symbolic link, and never waiting for the other end of a pipe that somebody put there.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits() as i32);
    options
}

/// Whether `level` is there; an error if it is not ours alone to write to.
fn check(level: &Path) -> Result<bool> {
    let found = match fs::symlink_metadata(level) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot("look at the directory", level, error)),
    };
    let (me, mode) = (rustix::process::geteuid().as_raw(), found.permissions().mode() & 0o7777);
    let refused = |why: String, hint: &'static str| {
        Err(Error::config(format!("the discovery directory {} {why}", level.display()))
            .with_phase(Phase::Discover)
            .with_hint(hint))
    };
    if found.is_symlink() {
        return refused("is a symbolic link".into(), "set DYN_FILE_KV to the directory itself");
    }
    if !found.is_dir() {
        return refused("is no directory".into(), "set DYN_FILE_KV to a directory of your own");
    }
    if found.uid() != me {
        return refused(
            format!("belongs to user {}, not to user {me} who runs this", found.uid()),
            "set DYN_FILE_KV to a directory of your own",
        );
    }
    if mode & 0o022 != 0 {
        return refused(format!("has mode {mode:04o}, so that others can write to it"), "chmod it to 0700");
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::ErrorKind;

    fn refusal(root: &Path) -> String {
        let store = Store::new(root);
        let error = store.create().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(store.exists().unwrap_err().kind(), ErrorKind::Config);
        error.to_string()
    }

    #[test]
    fn every_level_is_private() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(&home.path().join("a/b"));
        assert!(!store.exists().unwrap());
        store.create().unwrap();
        store.create().unwrap();
        assert!(store.exists().unwrap());
        for level in store.levels() {
            assert_eq!(fs::metadata(level).unwrap().permissions().mode() & 0o777, 0o700, "{}", level.display());
        }
    }

    #[test]
    fn a_symbolic_link_is_refused_at_every_level_and_behind_a_slash() {
        let home = tempfile::tempdir().unwrap();
        let (target, link) = (home.path().join("target"), home.path().join("link"));
        Store::new(&target).create().unwrap();
        symlink(&target, &link).unwrap();
        assert!(refusal(&link).contains("is a symbolic link"));
        assert!(refusal(&home.path().join("link/")).contains("is a symbolic link"));
        for level in ["biplane", "biplane/instances"] {
            let root = tempfile::tempdir_in(home.path()).unwrap();
            fs::create_dir_all(root.path().join(level).parent().unwrap()).unwrap();
            symlink(target.join(level), root.path().join(level)).unwrap();
            assert!(refusal(root.path()).contains("is a symbolic link"), "{level}");
        }
    }

    #[test]
    fn what_others_could_write_to_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let open = home.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(refusal(&open).contains("mode 0777"));
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&file).contains("no directory"));
    }

    #[test]
    fn what_belongs_to_somebody_else_is_refused() {
        // The root of the file system is root's; as root, any directory can be given away.
        let home = tempfile::tempdir().unwrap();
        let theirs = if rustix::process::geteuid().is_root() {
            let theirs = home.path().join("theirs");
            fs::create_dir(&theirs).unwrap();
            std::os::unix::fs::chown(&theirs, Some(65_534), None).unwrap();
            theirs
        } else {
            PathBuf::from("/")
        };
        assert!(refusal(&theirs).contains("belongs to user"));
    }

    #[test]
    fn a_lock_is_held_by_one_and_waited_for_no_longer_than_asked() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(home.path());
        store.create().unwrap();
        let held = store.lock(Duration::ZERO).unwrap();
        assert!(held.is_some());
        assert!(store.lock(Duration::from_millis(5)).unwrap().is_none());
        drop(held);
        assert!(store.lock(Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(home.path());
        store.create().unwrap();
        let occupied = store.instances().join("occupied");
        fs::create_dir(&occupied).unwrap();
        assert_eq!(store.write(&occupied, b"text", None).unwrap_err().kind(), ErrorKind::Unexpected);
        assert_eq!(fs::read_dir(store.instances()).unwrap().count(), 1);
    }
}
