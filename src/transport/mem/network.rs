// SPDX-License-Identifier: Apache-2.0
//! Where `mem` names live: listeners, endpoints and reserved answers of one network.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::sync::mpsc;

use super::options::MemOptions;
use super::request::Endpoint;
use super::response::Reservation;
use crate::connection::Connection;
use crate::error::{Error, Result, Retry};
use crate::message::random_u64;
use crate::target::{TransportAddress, TransportId};

/// What a name in an address keeps as it is, beside letters and digits: the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The names of one runtime, or of several that were given the same network. Cheap to clone.
#[derive(Clone)]
pub struct MemNetwork(Arc<Names>);

struct Names {
    identity: u64,
    next: AtomicU64,
    listeners: Mutex<HashMap<String, Registered<Backlog>>>,
    endpoints: Mutex<HashMap<String, Registered<Endpoint>>>,
    answers: Mutex<HashMap<u64, Reservation>>,
}

/// Dialled connections that the listener has not accepted yet.
pub(super) type Backlog = mpsc::Sender<Arc<dyn Connection>>;

/// A name's owner carries a ticket, so that a late guard cannot unregister its successor.
struct Registered<T> {
    ticket: u64,
    value: T,
}

/// An address that was found to be of this network.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) options: MemOptions,
}

impl MemNetwork {
    /// An empty network with an identity of its own.
    pub fn new() -> Self {
        Self(Arc::new(Names {
            identity: random_u64(),
            next: AtomicU64::new(1),
            listeners: Mutex::default(),
            endpoints: Mutex::default(),
            answers: Mutex::default(),
        }))
    }

    /// The address of `name` on this network.
    pub fn address(&self, name: &str) -> TransportAddress {
        let name = utf8_percent_encode(name, ESCAPED);
        TransportAddress::new(TransportId::MEM, format!("{:016x}@{name}", self.0.identity))
    }

    /// Reads `[mem://][IDENTITY@]NAME[?OPTIONS]`; an address without an identity is one of ours.
    pub(super) fn locate(&self, address: &TransportAddress) -> Result<Place> {
        if address.transport != TransportId::MEM {
            return Err(Error::unsupported(format!("{address} is no mem address")).with_retry(Retry::Safe));
        }
        let text = address.address.strip_prefix("mem://").unwrap_or(&address.address);
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (identity, name) = text.split_once('@').map_or((None, text), |(identity, name)| (Some(identity), name));
        self.check_identity(identity)?;
        let name = percent_decode_str(name).decode_utf8().map(Cow::into_owned);
        let name = name.map_err(|_| Error::config(format!("{address} is not UTF-8")))?;
        Ok(Place { name, options: MemOptions::parse(query)? })
    }

    /// Refuses the identity of another network before anything is looked up.
    pub(super) fn check_identity(&self, identity: Option<&str>) -> Result<()> {
        match identity {
            Some(theirs) if u64::from_str_radix(theirs, 16) != Ok(self.0.identity) => Err(Error::unsupported(format!(
                "the mem address is of network {theirs}, this one is {:016x}",
                self.0.identity
            ))
            .with_retry(Retry::Safe)
            .with_hint("mem reaches no other process or runtime; choose tcp, or give both runtimes one MemNetwork")),
            _ => Ok(()),
        }
    }

    /// A number that no one else on this network has.
    pub(super) fn ticket(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn bind(&self, name: &str, backlog: Backlog) -> Result<u64> {
        self.insert(&self.0.listeners, name, backlog)
    }

    pub(super) fn unbind(&self, name: &str, ticket: u64) {
        remove(&self.0.listeners, name, ticket);
    }

    /// Who listens on `name`, or an error that lists who listens at all.
    pub(super) fn listener(&self, name: &str) -> Result<Backlog> {
        let listeners = lock(&self.0.listeners);
        listeners.get(name).map(|found| found.value.clone()).ok_or_else(|| {
            Error::connect(format!("nobody listens on {name:?}"))
                .with_retry(Retry::Safe)
                .with_hint(known("listening here", listeners.keys()))
        })
    }

    pub(super) fn serve(&self, subject: &str, endpoint: Endpoint) -> Result<u64> {
        self.insert(&self.0.endpoints, subject, endpoint)
    }

    pub(super) fn withdraw(&self, subject: &str, ticket: u64) {
        remove(&self.0.endpoints, subject, ticket);
    }

    /// Who serves `subject`, or an error that lists what is served.
    pub(super) fn endpoint(&self, subject: &str) -> Result<Endpoint> {
        let endpoints = lock(&self.0.endpoints);
        endpoints.get(subject).map(|found| found.value.clone()).ok_or_else(|| {
            Error::no_service(format!("nobody serves {subject:?}"))
                .with_detail(crate::Detail::NoResponders)
                .with_retry(Retry::Safe)
                .with_hint(known("served here", endpoints.keys()))
        })
    }

    pub(super) fn answers(&self) -> MutexGuard<'_, HashMap<u64, Reservation>> {
        lock(&self.0.answers)
    }

    fn insert<T>(&self, map: &Mutex<HashMap<String, Registered<T>>>, name: &str, value: T) -> Result<u64> {
        let ticket = self.ticket();
        match lock(map).entry(name.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(Registered { ticket, value });
                Ok(ticket)
            }
            Entry::Occupied(_) => Err(Error::config(format!("mem: {name:?} is taken on this network"))
                .with_detail(crate::Detail::AlreadyRegistered)
                .with_hint("choose another name, or drop the one who has it")),
        }
    }
}

impl Default for MemNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemNetwork({:016x})", self.0.identity)
    }
}

fn remove<T>(map: &Mutex<HashMap<String, Registered<T>>>, name: &str, ticket: u64) {
    let mut names = lock(map);
    if names.get(name).is_some_and(|found| found.ticket == ticket) {
        let removed = names.remove(name);
        drop(names);
        drop(removed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

fn known<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> String {
    let mut names: Vec<_> = names.map(String::as_str).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => format!("nothing is {what}"),
        _ => format!("{what}: {}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn an_address_of_another_network_is_refused_before_it_is_looked_up() {
        let (ours, theirs) = (MemNetwork::new(), MemNetwork::new());
        let error = ours.locate(&theirs.address("words")).unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::Unsupported, Retry::Safe));
        assert_eq!(ours.locate(&ours.address("tools/call ä")).unwrap().name, "tools/call ä");
        assert_eq!(ours.locate(&TransportAddress::tcp("h:1")).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn addresses_carry_options() {
        let network = MemNetwork::new();
        let address = TransportAddress::new(TransportId::MEM, format!("{}?cut_after=2", network.address("x").address));
        assert_eq!(network.locate(&address).unwrap().options.cut_after, Some(2));
    }

    #[test]
    fn a_late_guard_does_not_unbind_its_successor() {
        let network = MemNetwork::new();
        let first = network.bind("a", mpsc::channel(1).0).unwrap();
        assert_eq!(network.bind("a", mpsc::channel(1).0).unwrap_err().kind(), ErrorKind::Config);
        network.unbind("a", first);
        network.bind("a", mpsc::channel(1).0).unwrap();
        network.unbind("a", first);
        assert!(network.listener("a").is_ok());
    }
}
