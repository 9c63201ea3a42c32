// SPDX-License-Identifier: Apache-2.0
//! Discovery within one process.
//!
//! A [`MemStore`] is a value, not a global: each runtime gets a store of its own, and runtimes that shall see each other
//! are given clones of one.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

use super::record::check_weight;
use super::{Discovery, Instance, LeaseGuard, Watch};
use crate::error::{Error, Phase, Result};
use crate::registry::{BuildContext, TransportRegistration};
use crate::target::ServiceName;

/// The registration; the store is the runtime's own.
pub const REGISTRATION: TransportRegistration = TransportRegistration::discovery("mem", build).priority(20);

crate::register_transport!(REGISTRATION);

fn build(context: &BuildContext) -> Result<Arc<dyn Discovery>> {
    Ok(context.shared(|| Ok(MemDiscovery::default()))?)
}

/// Instances in memory. A clone is the same store.
#[derive(Clone, Default)]
pub struct MemStore(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    instances: BTreeMap<(ServiceName, u64), Instance>,
    views: HashMap<ServiceName, watch::Sender<Arc<[Instance]>>>,
}

/// Discovery over a [`MemStore`]. Nothing expires: what is published is withdrawn by its guard, or the process is gone.
#[derive(Clone, Debug, Default)]
pub struct MemDiscovery(MemStore);

impl MemDiscovery {
    /// Shares `store` with whoever else has it.
    pub fn new(store: MemStore) -> Self {
        Self(store)
    }
}

#[async_trait]
impl Discovery for MemDiscovery {
    async fn put(&self, instance: Instance) -> Result<LeaseGuard> {
        check_weight(instance.weight)?;
        let (name, id) = (instance.name.clone(), instance.instance_id);
        self.0.content().put(instance)?;
        let store = self.0.clone();
        Ok(LeaseGuard::new(move || store.content().withdraw(name, id)))
    }

    async fn watch(&self, name: &ServiceName) -> Result<Watch> {
        let mut content = self.0.content();
        content.views.retain(|_, view| view.receiver_count() > 0);
        let current = content.of(name);
        Ok(content.views.entry(name.clone()).or_insert_with(|| watch::Sender::new(current)).subscribe())
    }

    async fn refresh(&self, name: &ServiceName) -> Result<Arc<[Instance]>> {
        Ok(self.0.content().of(name))
    }

    async fn list(&self) -> Result<Vec<Instance>> {
        Ok(self.0.content().instances.values().cloned().collect())
    }

    async fn set_weight(&self, name: &ServiceName, instance_id: u64, weight: u8) -> Result<bool> {
        check_weight(weight)?;
        let mut content = self.0.content();
        let Some(instance) = content.instances.get_mut(&(name.clone(), instance_id)) else { return Ok(false) };
        instance.weight = weight;
        content.tell(name);
        Ok(true)
    }
}

impl MemStore {
    fn content(&self) -> MutexGuard<'_, Content> {
        // No change is made in steps between which something can panic.
        self.0.lock()
    }
}

impl Content {
    fn put(&mut self, instance: Instance) -> Result<()> {
        let key = (instance.name.clone(), instance.instance_id);
        if self.instances.contains_key(&key) {
            return Err(already_published(&instance));
        }
        self.instances.insert(key, instance.clone());
        self.tell(&instance.name);
        Ok(())
    }

    fn withdraw(&mut self, name: ServiceName, instance_id: u64) {
        let key = (name, instance_id);
        self.instances.remove(&key);
        self.tell(&key.0);
    }

    /// By instance id.
    fn of(&self, name: &ServiceName) -> Arc<[Instance]> {
        let range = (name.clone(), u64::MIN)..=(name.clone(), u64::MAX);
        self.instances.range(range).map(|(_, instance)| instance.clone()).collect()
    }

    fn tell(&self, name: &ServiceName) {
        if let Some(view) = self.views.get(name) {
            view.send_replace(self.of(name));
        }
    }
}

impl fmt::Debug for MemStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemStore({} instances)", self.content().instances.len())
    }
}

pub(super) fn already_published(instance: &Instance) -> Error {
    Error::config(format!("instance {} of {} is already published", instance.instance_id, instance.name))
        .with_phase(Phase::Discover)
        .with_hint("drop the guard of the first one, or use another instance id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::samples::{ids, instance, name};
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn runtimes_see_each_other_only_through_one_store() {
        let store = MemStore::default();
        let (one, two, apart) = (MemDiscovery::new(store.clone()), MemDiscovery::new(store), MemDiscovery::default());
        let words = name("words");
        let mut watch = two.watch(&words).await.unwrap();
        assert!(watch.borrow_and_update().is_empty());

        let guard = one.put(instance("words", 2, 100)).await.unwrap();
        let _other = one.put(instance("demo.llm.words", 1, 100)).await.unwrap();
        watch.changed().await.unwrap();
        assert_eq!(ids(&watch.borrow_and_update()), [2]);
        assert_eq!(ids(&two.refresh(&words).await.unwrap()), [2]);
        assert_eq!(two.list().await.unwrap().len(), 2);
        assert!(apart.list().await.unwrap().is_empty());

        drop(guard);
        watch.changed().await.unwrap();
        assert!(watch.borrow_and_update().is_empty());
    }

    #[tokio::test]
    async fn weights_change_while_published() {
        let discovery = MemDiscovery::default();
        let words = name("words");
        let _guard = discovery.put(instance("words", 1, 100)).await.unwrap();
        let watch = discovery.watch(&words).await.unwrap();
        assert!(discovery.set_weight(&words, 1, 0).await.unwrap());
        assert_eq!(watch.borrow()[0].weight, 0);
        assert!(!discovery.set_weight(&words, 9, 0).await.unwrap());
        assert_eq!(discovery.set_weight(&words, 1, 101).await.unwrap_err().kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn a_second_record_of_one_instance_is_refused_until_the_first_is_gone() {
        let discovery = MemDiscovery::default();
        let guard = discovery.put(instance("words", 1, 100)).await.unwrap();
        assert_eq!(discovery.put(instance("words", 1, 5)).await.unwrap_err().kind(), ErrorKind::Config);
        drop(guard);
        let _guard = discovery.put(instance("words", 1, 5)).await.unwrap();
    }

    #[tokio::test]
    async fn views_that_nobody_reads_are_forgotten() {
        let discovery = MemDiscovery::default();
        for number in 0..100 {
            drop(discovery.watch(&name(&format!("s{number}"))).await.unwrap());
        }
        let _watch = discovery.watch(&name("words")).await.unwrap();
        assert_eq!(discovery.0.content().views.len(), 1);
    }
}
