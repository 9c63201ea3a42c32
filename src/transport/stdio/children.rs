// SPDX-License-Identifier: Apache-2.0
//! All children of one runtime: how many, how fast, and that none outlives it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::rate::Rate;
use super::settings::Settings;
use crate::error::{Error, Result, Retry};
use crate::io::process::Groups;

pub(super) struct Children {
    pub(super) groups: Groups,
    places: Arc<Semaphore>,
    rate: Mutex<Rate>,
    max: usize,
    patience: Duration,
}

/// Held for as long as a child lives.
pub(super) type Place = OwnedSemaphorePermit;

impl Children {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            groups: Groups::default(),
            places: Arc::new(Semaphore::new(settings.max_children)),
            rate: Mutex::new(Rate::new(settings.start_rate)),
            max: settings.max_children,
            patience: settings.patience,
        }
    }

    /// Waits for leave to start one more, for at most the configured time. Cancel-safe: a turn may be lost.
    pub(super) async fn admit(&self) -> Result<Place> {
        let place = match tokio::time::timeout(self.patience, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => return Err(Error::closed("this runtime has been shut down").with_retry(Retry::Safe)),
            Err(_) => {
                return Err(Error::overloaded(format!("{} children run already, and none ended in time", self.max))
                    .with_retry(Retry::Safe)
                    .with_hint("BIPLANE_STDIO_MAX_CHILDREN sets how many there may be"));
            }
        };
        let turn = self.rate.lock().take(Instant::now(), self.patience);
        let wait = turn.map_err(|wait| {
            Error::overloaded(format!("too many children are being started: the next turn is in {wait:.0?}"))
                .with_retry(Retry::Safe)
                .with_hint("try later; transport.stdio.start_rate sets how many start per second")
        })?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(place)
    }

    /// Ends all, and lets no other start. The connections that they belong to fail.
    pub(super) async fn end_all(&self, grace: Duration) {
        self.places.close();
        self.groups.end_all(grace).await;
    }
}
