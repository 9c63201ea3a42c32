// SPDX-License-Identifier: Apache-2.0
//! One attempt of a call: the instance, the way to it, the connection, and how it failed.

use std::time::Instant;

use super::Inner;
use super::lane::{Lane, Lanes};
use super::service::Service;
use crate::discovery::balance::Pick;
use crate::error::{Error, Result};

/// An instance, and which of the ways to it is tried.
pub(super) struct Chosen {
    pub(super) pick: Pick<Lanes>,
    at: usize,
    /// When a request went this way that is not over.
    began: Option<Instant>,
}

/// A chosen instance, whose lane has a connection.
pub(super) struct Attempt {
    pub(super) chosen: Chosen,
    /// The connection had been used before.
    pub(super) is_reused: bool,
}

/// An attempt that came to nothing.
pub(super) struct Failed {
    pub(super) error: Error,
    /// Who was tried, if anyone was there.
    pub(super) tried: Option<Box<Chosen>>,
    /// The connection was an old one: that it is dead says nothing about the instance.
    pub(super) was_reused: bool,
}

impl Chosen {
    /// The best way to the instance of `pick`.
    pub(super) fn new(pick: Pick<Lanes>, runtime: &Inner, service: &Service) -> Result<Self, Box<Failed>> {
        let fault = pick.kept().find(runtime, &service.shared, pick.instance()).err();
        let chosen = Self { pick, at: 0, began: None };
        match fault {
            None => Ok(chosen),
            Some(error) => Err(Box::new(Failed::at(chosen, error))),
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.pick.instance().instance_id
    }

    pub(super) fn lane(&self) -> Option<&Lane> {
        self.pick.kept().known().get(self.at)
    }

    /// Whose instance it is.
    pub(super) fn service(&self, direct: Option<u64>) -> Option<Service> {
        self.pick.kept().service().map(|shared| Service { shared, direct })
    }

    /// Whoever goes this way next, be it this call once more, gets another connection.
    pub(super) fn forget(&mut self) {
        // With the service everything is gone.
        if let Some(service) = self.pick.kept().service() {
            let at = self.at;
            service.balancer.renew(&mut self.pick, |lanes| lanes.without(|of| of == at));
        }
    }

    /// A request goes this way.
    pub(super) fn begin(&mut self, now: Instant) {
        self.end(None);
        if let Some(lane) = self.lane() {
            lane.begin();
            self.began = Some(now);
        }
    }

    /// The next way to the instance. False if there is none.
    pub(super) fn goes_on(&mut self) -> bool {
        self.end(None);
        self.at += 1;
        self.lane().is_some()
    }

    /// The request is over; `at` is when, if somebody looked at the clock.
    pub(super) fn end(&mut self, at: Option<Instant>) {
        if let Some(began) = self.began.take()
            && let Some(lane) = self.lane()
        {
            lane.end(at.unwrap_or_else(Instant::now).saturating_duration_since(began));
        }
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Attempt {
    pub(super) fn failed(self, error: Error) -> Box<Failed> {
        Box::new(Failed { was_reused: self.is_reused, ..Failed::at(self.chosen, error) })
    }
}

impl Failed {
    pub(super) fn at(chosen: Chosen, error: Error) -> Self {
        Self { error, tried: Some(Box::new(chosen)), was_reused: false }
    }

    pub(super) fn nobody(error: Error) -> Self {
        Self { error, tried: None, was_reused: false }
    }
}
