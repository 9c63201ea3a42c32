// SPDX-License-Identifier: Apache-2.0
//! What the two sides of a session can do, in either era: the names are the same, few details are not.

use biplane::proto::json;
use bytes::Bytes;

use super::edit::{Edit, Object};
use super::names::method;

/// Experimental in 2025-11-25, then an extension with another protocol: neither is bridged to the other.
const TASKS: &str = "tasks";

/// The capabilities of a client or server without what does not exist in the other era.
pub(super) fn carried_over(capabilities: &Bytes) -> Bytes {
    Edit { without: &[TASKS], ..Edit::default() }.apply(capabilities)
}

/// Whether the flag at `path` of a server's capabilities is set.
pub(super) fn flag(capabilities: &Bytes, path: &[&str]) -> bool {
    json::get(capabilities, path).is_some_and(|raw| raw == "true")
}

/// What a client lets a server ask it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Askable {
    sampling: bool,
    form: bool,
    url: bool,
    roots: bool,
}

impl Askable {
    /// From a client's `capabilities`. An `elicitation` that names no kind means forms.
    pub(super) fn read(capabilities: &Bytes) -> Self {
        let has = |path: &[&str]| json::get(capabilities, path).is_some_and(|raw| raw.first() == Some(&b'{'));
        let url = has(&["elicitation", "url"]);
        let form = has(&["elicitation", "form"]) || (has(&["elicitation"]) && !url);
        Self { sampling: has(&["sampling"]), form, url, roots: has(&["roots"]) }
    }

    pub(super) fn anything(self) -> bool {
        self != Self::default()
    }

    pub(super) fn urls(self) -> bool {
        self.url
    }

    /// Whether a request for `method` with `params` may be put to the client.
    pub(super) fn allows(self, method: &str, params: &Bytes) -> bool {
        match method {
            method::SAMPLE => self.sampling,
            method::LIST_ROOTS => self.roots,
            method::ELICIT if is_url(params) => self.url,
            method::ELICIT => self.form,
            _ => false,
        }
    }
}

/// Whether an elicitation sends the user to a URL.
pub(super) fn is_url(params: &Bytes) -> bool {
    json::get(params, &["mode"]).as_deref().and_then(json::text).is_some_and(|mode| mode == "url")
}

/// The capabilities that a client must declare to be asked `method`; `None` if no client can be.
pub(super) fn required(method: &str, params: &Bytes) -> Option<Bytes> {
    let capability: &[u8] = if method == method::ELICIT && is_url(params) { br#"{"url":{}}"# } else { b"{}" };
    let name = match method {
        method::SAMPLE => "sampling",
        method::LIST_ROOTS => "roots",
        method::ELICIT => "elicitation",
        _ => return None,
    };
    let mut required = Object::new();
    required.set(name, capability);
    Some(required.close())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elicitation_that_names_no_kind_means_forms() {
        let askable = |text: &'static str| Askable::read(&Bytes::from_static(text.as_bytes()));
        let url = Bytes::from_static(br#"{"mode":"url"}"#);
        let form = Bytes::new();
        assert!(askable(r#"{"elicitation":{}}"#).allows(method::ELICIT, &form));
        assert!(!askable(r#"{"elicitation":{}}"#).allows(method::ELICIT, &url));
        assert!(!askable(r#"{"elicitation":{"url":{}}}"#).allows(method::ELICIT, &form));
        assert!(askable(r#"{"elicitation":{"url":{}}}"#).allows(method::ELICIT, &url));
        assert!(!askable(r#"{"tools":{}}"#).anything());
        assert_eq!(required(method::ELICIT, &url).unwrap(), r#"{"elicitation":{"url":{}}}"#);
    }
}
