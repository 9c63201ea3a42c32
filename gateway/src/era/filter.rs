// SPDX-License-Identifier: Apache-2.0
//! What somebody wants to hear of: the filter of `subscriptions/listen`.

use std::collections::BTreeSet;

use biplane::proto::json;
use bytes::Bytes;

use super::capabilities::flag;
use super::edit::Object;
use super::names::method;

/// Changes of one of the three lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Tools,
    Prompts,
    Resources,
}

impl List {
    pub(super) const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// The list of which a notification speaks.
    pub(super) fn of_notification(subject: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.notification() == subject)
    }

    pub(super) fn notification(self) -> &'static str {
        match self {
            Self::Tools => method::TOOLS_CHANGED,
            Self::Prompts => method::PROMPTS_CHANGED,
            Self::Resources => method::RESOURCES_CHANGED,
        }
    }

    fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
        }
    }

    fn field(self) -> &'static str {
        match self {
            Self::Tools => "toolsListChanged",
            Self::Prompts => "promptsListChanged",
            Self::Resources => "resourcesListChanged",
        }
    }
}

/// A filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) lists: Vec<List>,
    pub(super) uris: BTreeSet<String>,
}

impl Filter {
    /// The object as it is written; `None` if it is none, or a field is of the wrong kind.
    pub(super) fn read(raw: &Bytes) -> Option<Self> {
        let serde_json::Value::Object(object) = serde_json::from_slice(raw).ok()? else { return None };
        let mut filter = Self::default();
        for list in List::ALL {
            match object.get(list.field()) {
                Some(serde_json::Value::Bool(true)) => filter.lists.push(list),
                Some(serde_json::Value::Bool(false)) | None => {}
                Some(_) => return None,
            }
        }
        match object.get("resourceSubscriptions") {
            Some(serde_json::Value::Array(uris)) => {
                for uri in uris {
                    filter.uris.insert(uri.as_str()?.to_owned());
                }
            }
            Some(_) => return None,
            None => {}
        }
        Some(filter)
    }

    pub(super) fn write(&self) -> Bytes {
        let mut object = Object::new();
        for list in &self.lists {
            object.set(list.field(), b"true");
        }
        if !self.uris.is_empty() {
            let uris: Vec<Bytes> = self.uris.iter().map(|uri| json::quote(uri)).collect();
            object.set("resourceSubscriptions", &[b"[", uris.join(&b","[..]).as_slice(), b"]"].concat());
        }
        object.close()
    }

    /// The changes of lists that a server of these capabilities tells.
    pub(super) fn lists_of(capabilities: &Bytes) -> Vec<List> {
        List::ALL.into_iter().filter(|list| flag(capabilities, &[list.capability(), "listChanged"])).collect()
    }

    /// What a server of these capabilities can honour of it.
    pub(super) fn honoured_by(mut self, capabilities: &Bytes) -> Self {
        let told = Self::lists_of(capabilities);
        self.lists.retain(|list| told.contains(list));
        if !flag(capabilities, &["resources", "subscribe"]) {
            self.uris.clear();
        }
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty() && self.uris.is_empty()
    }

    /// A notification for everything in it: what is to be said when some may have been missed.
    pub(super) fn everything(&self) -> impl Iterator<Item = (&'static str, Bytes)> + '_ {
        let lists = self.lists.iter().map(|list| (list.notification(), Bytes::new()));
        lists.chain(self.uris.iter().map(|uri| {
            let mut params = Object::new();
            params.set("uri", &json::quote(uri));
            (method::RESOURCE_UPDATED, params.close())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        let text = Bytes::from_static(br#"{"promptsListChanged":true,"resourceSubscriptions":["a:1","b:\"2"]}"#);
        let filter = Filter::read(&text).unwrap();
        assert_eq!(filter.write(), text);
        assert_eq!(filter.lists, [List::Prompts]);
        assert!(Filter::read(&Bytes::from_static(br#"{"toolsListChanged":1}"#)).is_none());
        assert!(Filter::read(&Bytes::from_static(br#"{"resourceSubscriptions":[1]}"#)).is_none());
        assert!(Filter::read(&Bytes::from_static(b"[]")).is_none());
    }

    #[test]
    fn only_what_the_server_tells_is_honoured() {
        let filter = Filter { lists: List::ALL.to_vec(), uris: BTreeSet::from(["a:1".to_owned()]) };
        let capabilities = Bytes::from_static(br#"{"tools":{"listChanged":true},"prompts":{},"resources":{}}"#);
        let honoured = filter.honoured_by(&capabilities);
        assert_eq!(honoured, Filter { lists: vec![List::Tools], uris: BTreeSet::new() });
    }
}
