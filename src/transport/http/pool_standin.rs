// SPDX-License-Identifier: Apache-2.0
//! Stands in for `crate::pool` until it lands.
#![allow(missing_docs, dead_code)]
use std::collections::HashMap;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::config::PoolConfig;
use crate::error::{Error, Result};
use crate::message::SessionId;
use crate::target::TransportId;

pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
pub struct PoolMetrics;
pub trait Link: Send + Sync + 'static {
    fn is_usable(&self) -> bool;
    fn has_room(&self) -> bool;
    fn ping(&self) {}
    fn close(&self);
}
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PoolKey {
    pub transport: TransportId,
    pub authority: String,
    pub security: String,
    pub affinity: Option<SessionId>,
}
pub struct PoolSettings {
    pub config: PoolConfig,
    pub leases_per_link: usize,
    pub connect_timeout: Duration,
    pub exhausted_hint: &'static str,
}
type Connect<L> = Box<dyn Fn(PoolKey) -> BoxFuture<'static, Result<L>> + Send + Sync>;
struct Inner<L> {
    settings: PoolSettings,
    connect: Connect<L>,
    links: Mutex<HashMap<PoolKey, Vec<(Arc<L>, usize)>>>,
    created: std::sync::atomic::AtomicU64,
}
pub struct Pool<L: Link>(Arc<Inner<L>>);
impl<L: Link> Pool<L> {
    pub fn new(
        settings: PoolSettings,
        _metrics: impl Fn(&PoolKey) -> PoolMetrics + Send + Sync + 'static,
        connect: impl Fn(PoolKey) -> BoxFuture<'static, Result<L>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            settings,
            connect: Box::new(connect),
            links: Mutex::default(),
            created: Default::default(),
        }))
    }
    pub fn try_checkout(&self, key: &PoolKey) -> Option<Lease<L>> {
        let mut links = self.0.links.lock().unwrap();
        let list = links.get_mut(key)?;
        list.retain(|(link, _)| link.is_usable());
        let max = self.0.settings.leases_per_link;
        let found = list.iter_mut().find(|(link, n)| *n < max && link.has_room())?;
        found.1 += 1;
        Some(Lease { link: found.0.clone(), pool: self.0.clone(), key: key.clone(), reused: true })
    }
    pub async fn checkout(&self, key: &PoolKey, _deadline: Option<Instant>) -> Result<Lease<L>> {
        if let Some(lease) = self.try_checkout(key) {
            return Ok(lease);
        }
        let link = tokio::time::timeout(self.0.settings.connect_timeout, (self.0.connect)(key.clone()))
            .await
            .map_err(|_| Error::connect("timeout"))??;
        let link = Arc::new(link);
        self.0.created.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.links.lock().unwrap().entry(key.clone()).or_default().push((link.clone(), 1));
        Ok(Lease { link, pool: self.0.clone(), key: key.clone(), reused: false })
    }
    pub fn created(&self) -> u64 {
        self.0.created.load(std::sync::atomic::Ordering::Relaxed)
    }
}
pub struct Lease<L: Link> {
    link: Arc<L>,
    pool: Arc<Inner<L>>,
    key: PoolKey,
    reused: bool,
}
impl<L: Link> Lease<L> {
    pub fn is_reused(&self) -> bool {
        self.reused
    }
    pub fn link(&self) -> &Arc<L> {
        &self.link
    }
    pub fn discard(self) {
        self.link.close();
        let mut links = self.pool.links.lock().unwrap();
        if let Some(list) = links.get_mut(&self.key) {
            list.retain(|(link, _)| !Arc::ptr_eq(link, &self.link));
        }
    }
}
impl<L: Link> Deref for Lease<L> {
    type Target = L;
    fn deref(&self) -> &L {
        &self.link
    }
}
impl<L: Link> Drop for Lease<L> {
    fn drop(&mut self) {
        let mut links = self.pool.links.lock().unwrap();
        if let Some(list) = links.get_mut(&self.key) {
            list.iter_mut().filter(|(link, _)| Arc::ptr_eq(link, &self.link)).for_each(|(_, n)| *n -= 1);
        }
    }
}
