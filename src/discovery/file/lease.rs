// SPDX-License-Identifier: Apache-2.0
//! Writing records: publishing, renewing, withdrawing, and changing a weight.
//!
//! A renewal changes nothing but the file's time, so that it cannot undo what somebody else wrote into the record.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::process;
use super::scan::{MAX_LEASE, holds_live_record};
use super::store::{self, Store, cannot};
use crate::discovery::Instance;
use crate::discovery::mem::already_published;
use crate::discovery::record::{self, Holder};
use crate::error::{Error, Phase, Result, Retry};
use crate::target::ServiceName;

/// How long a writer waits for the others. Each holds the lock for a few system calls.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// How long a withdrawal waits: it runs where a guard is dropped, which must not stall. The lock only keeps a weight that
/// is being changed at that moment from bringing the record back; if it came back, it would die with its lease.
const WITHDRAW_WAIT: Duration = Duration::from_millis(100);

/// A published record. Drop withdraws it.
#[derive(Debug)]
pub(super) struct Published {
    store: Arc<Store>,
    path: PathBuf,
    /// What the file was last seen to hold; `None` once withdrawn. The lock keeps a renewal that is under way from
    /// bringing back what a withdrawal removes.
    text: Mutex<Option<Vec<u8>>>,
}

/// Publishes `instance` under a lease; to keep it alive, [`Published::renew`] it several times per lease.
pub(super) fn publish(store: Arc<Store>, instance: &Instance, lease: Duration) -> Result<Published> {
    let lease = lease.min(MAX_LEASE);
    let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
    let text = record::encode(instance, Some(Holder { lease_ms, process: process::current() }))?.into_bytes();
    store.create()?;
    let path = store.instances().join(file_name(&instance.name, instance.instance_id));
    let lock = locked(&store)?;
    if holds_live_record(&path, lease) {
        return Err(already_published(instance));
    }
    store.write(&path, &text, None)?;
    drop(lock);
    Ok(Published { store, path, text: Mutex::new(Some(text)) })
}

impl Published {
    /// Says that the holder lives. A record that is gone, because its holder was suspended for long or the directory was
    /// cleaned, is written again.
    pub(super) fn renew(&self) -> Result<()> {
        let mut text = self.text.lock();
        let Some(seen) = text.as_mut() else { return Ok(()) };
        match store::touch(&self.path) {
            Ok(()) => {
                // Its weight may have been changed; that must survive, too, should the file get lost.
                if let Ok(now) = store::read(&self.path) {
                    *seen = now;
                }
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.store.create()?;
                self.store.write(&self.path, seen, None)
            }
            Err(error) => Err(cannot("renew the record", &self.path, error)),
        }
    }

    /// Takes the record back. Does what little it does (an unlink, at worst a short wait) where it is called: at the end
    /// of a process no other thread or task can be relied on.
    pub(super) fn withdraw(&self) {
        if self.text.lock().take().is_none() {
            return;
        }
        let _lock = self.store.lock(WITHDRAW_WAIT);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let error = cannot("remove the record", &self.path, error);
                tracing::warn!(target: "biplane::discovery", %error, "the record stays until its lease ends");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Changes the weight of the record of an instance, whoever holds it. False if there is none.
pub(super) fn set_weight(store: &Store, name: &ServiceName, instance_id: u64, weight: u8) -> Result<bool> {
    record::check_weight(weight)?;
    if !store.exists()? {
        return Ok(false);
    }
    let _lock = locked(store)?;
    let mut changed = false;
    // All files, because one that was written by hand may have any name.
    let entries = fs::read_dir(store.instances()).map_err(|error| cannot("list", store.instances(), error))?;
    for path in entries.flatten().filter(|entry| !is_hidden(entry)).map(|entry| entry.path()) {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let Some(text) = metadata.is_file().then(|| store::read(&path).ok()).flatten() else { continue };
        let Ok((instance, _)) = record::decode(&text) else { continue };
        if instance.name == *name && instance.instance_id == instance_id {
            // With the old time: who changes a weight does not speak for the holder's life.
            store.write(&path, &record::with_weight(&text, weight)?, metadata.modified().ok())?;
            changed = true;
        }
    }
    Ok(changed)
}

fn is_hidden(entry: &fs::DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

fn locked(store: &Store) -> Result<fs::File> {
    store.lock(LOCK_WAIT)?.ok_or_else(|| {
        Error::overloaded(format!("another process has held the lock of {} for too long", store.instances().display()))
            .with_phase(Phase::Discover)
            .with_retry(Retry::Safe)
            .with_hint("see who has .lock open there (fuser .lock): a suspended process keeps it")
    })
}

/// One file per service and instance. Only a key: what counts is what the file holds.
fn file_name(name: &ServiceName, instance_id: u64) -> String {
    /// What a file system takes is 255 bytes, the id and the ending take 22 of them.
    const LONGEST: usize = 200;
    let name = name.to_string();
    match name.get(..LONGEST) {
        None => format!("{name}-{instance_id:016x}.json"),
        Some(start) => format!("{start}~{:016x}-{instance_id:016x}.json", fnv1a(name.as_bytes())),
    }
}

/// The same in every process and release, which the standard library's hashes do not promise.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
