// SPDX-License-Identifier: Apache-2.0
//! What the server tells without being asked: which lists changed and which resources. One place for all its sessions and
//! subscriptions, because a modern client asks for a change by one request and hears of it on another.

use rmcp::RoleServer;
use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::{Peer, SubscriptionContext};
use tokio::sync::broadcast;

/// Something that changed.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Tools,
    Prompts,
    Resources,
    /// The resource of this URI.
    Resource(String),
}

/// Hands every change to everyone who listens.
#[derive(Clone)]
pub(crate) struct Changes {
    sender: broadcast::Sender<Change>,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self { sender: broadcast::channel(64).0 }
    }

    pub(crate) fn tell(&self, change: Change) {
        // Nobody may be listening.
        let _ = self.sender.send(change);
    }

    /// Tells a legacy session until it goes away. `wants` says whether the session subscribed to a resource.
    pub(crate) fn follow(&self, peer: Peer<RoleServer>, wants: impl Fn(&str) -> bool + Send + 'static) {
        let mut changes = self.sender.subscribe();
        tokio::spawn(async move {
            while !peer.is_transport_closed() {
                let change = match changes.recv().await {
                    Ok(change) => change,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                let told = match change {
                    Change::Tools => peer.notify_tool_list_changed().await,
                    Change::Prompts => peer.notify_prompt_list_changed().await,
                    Change::Resources => peer.notify_resource_list_changed().await,
                    Change::Resource(uri) if wants(&uri) => {
                        peer.notify_resource_updated(ResourceUpdatedNotificationParam::new(uri)).await
                    }
                    Change::Resource(_) => Ok(()),
                };
                if told.is_err() {
                    return;
                }
            }
        });
    }

    /// Tells a modern subscription until it is cancelled.
    pub(crate) async fn listen(&self, subscription: &SubscriptionContext) {
        let mut changes = self.sender.subscribe();
        let sink = subscription.sink();
        loop {
            let change = tokio::select! {
                change = changes.recv() => change,
                () = subscription.cancelled() => return,
            };
            // What the client did not ask for is refused by the sink; that is how it is filtered.
            let _ = match change {
                Ok(Change::Tools) => sink.notify_tool_list_changed().await,
                Ok(Change::Prompts) => sink.notify_prompt_list_changed().await,
                Ok(Change::Resources) => sink.notify_resource_list_changed().await,
                Ok(Change::Resource(uri)) => sink.notify_resource_updated(uri).await,
                Err(broadcast::error::RecvError::Lagged(_)) => Ok(()),
                Err(broadcast::error::RecvError::Closed) => return,
            };
        }
    }
}
