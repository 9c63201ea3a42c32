// SPDX-License-Identifier: Apache-2.0
//! Reading the configuration again while the gateway runs: on SIGHUP, and when the file has changed.
//!
//! The file is looked at every second, through symbolic links, so that an atomic replacement and a swapped directory (as
//! orchestrators do it) are seen on every file system. It is read once it has stayed the same for one look, so that a file
//! that is being written is not read by halves. Files with secrets are read again with it, and on SIGHUP.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use biplane::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::config::{GatewayConfig, Inputs, load};

mod difference;

pub use difference::{Change, Effect, UpstreamChange, difference};

/// Between two looks at the file. A look is one system call.
const LOOK: Duration = Duration::from_secs(1);

/// What became of reading the configuration again.
#[derive(Debug)]
pub enum Reloaded {
    /// It is another one; this is what differs.
    Changed(Arc<GatewayConfig>, Change),
    /// It says the same as before.
    Same,
    /// It has mistakes, and what held before still holds. The error has all of them.
    Kept(Error),
}

/// Watches over the configuration of a running gateway.
#[derive(Debug)]
pub struct Reload {
    inputs: Inputs,
    current: Arc<GatewayConfig>,
    /// What the file was when it was read last.
    read: Stamp,
    /// What it was at the last look.
    seen: Stamp,
    hangup: Option<Signal>,
}

/// What tells one state of a file from another.
type Stamp = Option<(SystemTime, u64, u64)>;

impl Reload {
    /// Watches over what `inputs` gave: the arguments stay what they were, the file is read again.
    pub fn new(inputs: Inputs, current: Arc<GatewayConfig>) -> Self {
        let read = inputs.file.as_deref().and_then(stamp);
        Self { inputs, current, read, seen: read, hangup: None }
    }

    /// Reads again on SIGHUP too, which ends the process no more from now on. For programs.
    ///
    /// # Errors
    /// `Unexpected` if the system gives no signals. Must be called within a Tokio runtime.
    pub fn on_hangup(mut self) -> Result<Self> {
        let hangup = signal(SignalKind::hangup());
        self.hangup =
            Some(hangup.map_err(|error| Error::unexpected("SIGHUP cannot be waited for").with_source(error))?);
        Ok(self)
    }

    /// What holds now.
    pub fn current(&self) -> &Arc<GatewayConfig> {
        &self.current
    }

    /// What was read last could not be put into effect: `config` still holds, and what is read next is compared with that.
    pub fn keeps(&mut self, config: Arc<GatewayConfig>) {
        self.current = config;
    }

    /// Waits for a reason to read again, and reads. Cancel-safe: a reason that was seen is seen again.
    pub async fn changed(&mut self) -> Reloaded {
        loop {
            let is_told = tokio::select! {
                () = told(&mut self.hangup) => true,
                () = sleep(LOOK), if self.inputs.file.is_some() => false,
            };
            if is_told || self.has_settled().await {
                return self.reread().await;
            }
        }
    }

    /// Reads now.
    pub async fn reread(&mut self) -> Reloaded {
        let inputs = self.inputs.clone();
        // What the file is now, before it is read: if it changes meanwhile, the next look tells.
        let read = spawn_blocking(move || (inputs.file.as_deref().and_then(stamp), load(&inputs))).await;
        let (stamp, loaded) = match read {
            Ok(read) => read,
            Err(error) => (self.read, Err(Error::unexpected("reading the configuration failed").with_source(error))),
        };
        (self.read, self.seen) = (stamp, stamp);
        match loaded {
            Ok(config) => {
                let change = difference(&self.current, &config);
                if change.is_none() {
                    return Reloaded::Same;
                }
                self.current = Arc::new(config);
                Reloaded::Changed(self.current.clone(), change)
            }
            Err(error) => Reloaded::Kept(error),
        }
    }

    /// Whether the file is another one than the one that was read, and has been so for one look.
    async fn has_settled(&mut self) -> bool {
        let Some(file) = self.inputs.file.clone() else { return false };
        let now = spawn_blocking(move || stamp(&file)).await.unwrap_or_default();
        let is_settled = now == self.seen;
        self.seen = now;
        is_settled && now != self.read
    }
}

async fn told(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => {
            hangup.recv().await;
        }
        None => std::future::pending().await,
    }
}

fn stamp(file: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    const ONE: &str = "[[gateway.upstream]]\nname = 'a'\nurl = 'stdio:a'\n";
    const TWO: &str =
        "[[gateway.upstream]]\nname = 'a'\nurl = 'stdio:a'\n[[gateway.upstream]]\nname='b'\nurl='stdio:b'\n";

    fn start() -> (tempfile::TempDir, PathBuf, Reload) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g.toml");
        fs::write(&file, ONE).unwrap();
        let inputs = Inputs { file: Some(file.clone()), ..Inputs::default() };
        let config = Arc::new(load(&inputs).unwrap());
        (dir, file, Reload::new(inputs, config))
    }

    #[tokio::test]
    async fn a_bad_file_changes_nothing_and_says_why() {
        let (_dir, file, mut reload) = start();
        fs::write(&file, "[gateway]\nlisen = 1\n").unwrap();
        match reload.reread().await {
            Reloaded::Kept(error) => assert!(error.to_string().contains("did you mean `listen`?"), "{error}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(reload.current().upstreams.len(), 1);
        fs::remove_file(&file).unwrap();
        assert!(matches!(reload.reread().await, Reloaded::Kept(_)));
        fs::write(&file, ONE).unwrap();
        assert!(matches!(reload.reread().await, Reloaded::Same));
    }

    #[tokio::test]
    async fn what_could_not_be_put_into_effect_is_read_again() {
        let (_dir, file, mut reload) = start();
        let holds = reload.current().clone();
        fs::write(&file, TWO).unwrap();
        assert!(matches!(reload.reread().await, Reloaded::Changed(..)));
        reload.keeps(holds);
        assert!(matches!(reload.reread().await, Reloaded::Changed(..)));
        assert!(matches!(reload.reread().await, Reloaded::Same));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replaced_file_is_noticed() {
        let (dir, file, mut reload) = start();
        let next = dir.path().join("next");
        fs::write(&next, TWO).unwrap();
        fs::rename(&next, &file).unwrap();
        match reload.changed().await {
            Reloaded::Changed(config, change) => {
                assert_eq!(config.upstreams.len(), 2);
                assert_eq!(change.upstreams_added, ["b"]);
            }
            other => panic!("{other:?}"),
        }
        // Told of once, be it good or bad.
        fs::write(&file, "nonsense").unwrap();
        assert!(matches!(reload.changed().await, Reloaded::Kept(_)));
        let again = tokio::time::timeout(Duration::from_secs(60), reload.changed()).await;
        assert!(again.is_err(), "{again:?}");
        assert_eq!(reload.current().upstreams.len(), 2);
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_is_left_alone() {
        let (_dir, file, mut reload) = start();
        fs::write(&file, &TWO[..60]).unwrap();
        assert!(!reload.has_settled().await);
        fs::write(&file, TWO).unwrap();
        assert!(!reload.has_settled().await);
        assert!(reload.has_settled().await);
    }

    #[tokio::test]
    async fn a_signal_reads_again() {
        let (_dir, file, reload) = start();
        let mut reload = reload.on_hangup().unwrap();
        fs::write(&file, TWO).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP).unwrap();
        assert!(matches!(reload.changed().await, Reloaded::Changed(..)));
    }
}
