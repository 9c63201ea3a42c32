// SPDX-License-Identifier: Apache-2.0
//! The registry while it can still change.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::mem;
use std::sync::Arc;

use crate::connection::Transport;
use crate::error::{Detail, Error, Phase, Result};
use crate::plane::{PlaneType, RequestPlane, RequestPlaneClient, RequestPlaneServer, ResponsePlane};
use crate::registry::source::{Implementation, Source};
use crate::registry::unknown::noun;
use crate::registry::{BuildContext, Collected, TransportRegistration, TransportRegistry};

/// Takes registrations until [`build`](Self::build) freezes them.
///
/// Two registrations of one plane and id are an error that names both origins. Who means to take another's place says
/// [`replace`](Self::replace); whether before or after the other was registered makes no difference.
///
/// ```
/// # use biplane::registry::*; use biplane::{Result, Transport};
/// # fn build(_: &BuildContext) -> Result<std::sync::Arc<dyn Transport>> { unreachable!() }
/// # fn main() -> Result<()> {
/// const OURS: TransportRegistration = TransportRegistration::connection("ours", build).schemes(&["ours"]);
/// let registry = TransportRegistry::builder().collected()?.register(OURS)?.build()?;
/// assert!(registry.is_registered("ours"));
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Builder {
    slots: BTreeMap<(PlaneType, &'static str), Slot>,
    frozen: bool,
}

/// The origin of a registration that no crate stamped.
const IN_CODE: &str = "code";

#[derive(Debug)]
struct Slot {
    registration: TransportRegistration,
    source: Source,
    replaces: bool,
}

impl Builder {
    /// Adds everything that the linker collected from [`register_transport!`](crate::register_transport).
    pub fn collected(&mut self) -> Result<&mut Self> {
        let mut collected: Vec<_> =
            inventory::iter::<Collected>().map(|Collected(registration)| *registration).collect();
        // The linker's order is not ours to rely on, not even for which of two duplicates an error names first.
        collected.sort_by_key(|registration| (registration.plane(), registration.transport_id, registration.origin));
        self.register_all(&collected)
    }

    /// Adds one registration.
    pub fn register(&mut self, registration: TransportRegistration) -> Result<&mut Self> {
        self.add(registration, registration.factory.into(), false)
    }

    /// Adds several.
    pub fn register_all(&mut self, registrations: &[TransportRegistration]) -> Result<&mut Self> {
        registrations.iter().try_fold(self, |builder, registration| builder.register(*registration))
    }

    /// Adds one whose implementation is made by a closure, once for each runtime. The registration's own factory is not
    /// used; [`TransportRegistration::made_in_code`] makes one without.
    pub fn register_with<I: Implementation>(
        &mut self,
        registration: TransportRegistration,
        make: impl Fn(&BuildContext) -> Result<I> + Send + Sync + 'static,
    ) -> Result<&mut Self> {
        serves::<I>(&registration)?;
        let make = move |context: &BuildContext| make(context).map(Implementation::into_made);
        self.add(registration, Source::Make(Arc::new(make)), false)
    }

    /// Adds a transport that is already there. Every runtime with this registry uses the same one.
    pub fn register_connection(
        &mut self,
        registration: TransportRegistration,
        transport: Arc<dyn Transport>,
    ) -> Result<&mut Self> {
        self.register_ready(registration, transport)
    }

    /// Adds both ends of a request plane that are already there.
    pub fn register_request_transport(
        &mut self,
        registration: TransportRegistration,
        client: Arc<dyn RequestPlaneClient>,
        server: Arc<dyn RequestPlaneServer>,
    ) -> Result<&mut Self> {
        self.register_ready(registration, RequestPlane { client, server })
    }

    /// Adds a response plane that is already there.
    pub fn register_response_transport(
        &mut self,
        registration: TransportRegistration,
        plane: Arc<dyn ResponsePlane>,
    ) -> Result<&mut Self> {
        self.register_ready(registration, plane)
    }

    /// Takes the place of whatever has, or gets, the same plane and id.
    pub fn replace(&mut self, registration: TransportRegistration) -> Result<&mut Self> {
        self.add(registration, registration.factory.into(), true)
    }

    /// Ends registration. The registry has no lock on its way of reading, so nothing can be added to it later: a builder
    /// that has built refuses.
    pub fn build(&mut self) -> Result<TransportRegistry> {
        self.thawed("build")?;
        self.frozen = true;
        let entries = mem::take(&mut self.slots).into_values();
        Ok(TransportRegistry::freeze(entries.map(|slot| (slot.registration, slot.source)).collect()))
    }

    fn register_ready<I: Implementation>(
        &mut self,
        registration: TransportRegistration,
        ready: I,
    ) -> Result<&mut Self> {
        serves::<I>(&registration)?;
        self.add(registration, Source::Ready(ready.into_made()), false)
    }

    fn add(&mut self, mut registration: TransportRegistration, source: Source, replaces: bool) -> Result<&mut Self> {
        self.thawed(registration.transport_id)?;
        if registration.origin.is_empty() {
            registration.origin = IN_CODE;
        }
        let slot = Slot { registration, source, replaces };
        match self.slots.entry((registration.plane(), registration.transport_id)) {
            Entry::Vacant(vacant) => {
                vacant.insert(slot);
            }
            Entry::Occupied(mut occupied) => match (occupied.get().replaces, replaces) {
                (false, true) => {
                    occupied.insert(slot);
                }
                (true, false) => {}
                _ => return Err(duplicate(&occupied.get().registration, &registration)),
            },
        }
        Ok(self)
    }

    fn thawed(&self, what: &str) -> Result<()> {
        if !self.frozen {
            return Ok(());
        }
        Err(Error::config(format!("`{what}` came after the registry was frozen: its readers take no lock"))
            .with_detail(Detail::AlreadyFrozen)
            .with_phase(Phase::Configure)
            .with_hint("register everything before build(), or build a second registry for a second runtime"))
    }
}

fn duplicate(first: &TransportRegistration, second: &TransportRegistration) -> Error {
    Error::config(format!(
        "the {} `{}` is registered twice, by {} and by {}",
        noun(first.plane()),
        first.transport_id,
        first.origin,
        second.origin
    ))
    .with_detail(Detail::AlreadyRegistered)
    .with_phase(Phase::Configure)
    .with_hint("link only one of them, give one another id, or say replace()")
}

fn serves<I: Implementation>(registration: &TransportRegistration) -> Result<()> {
    if registration.plane() == I::PLANE {
        return Ok(());
    }
    Err(Error::config(format!(
        "`{}` is registered as a {} and implemented as a {}",
        registration.transport_id,
        noun(registration.plane()),
        noun(I::PLANE)
    ))
    .with_phase(Phase::Configure))
}
