// SPDX-License-Identifier: Apache-2.0
//! Which tools of an upstream are let through.

use std::sync::Arc;

/// Lets some tools through, by the names that the upstream gave them. A pattern is a name, in which `*` stands for any
/// text. What is denied is denied, whatever is allowed; nothing named as allowed means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    allow: Arc<[String]>,
    deny: Arc<[String]>,
}

impl ToolFilter {
    /// A filter of these patterns.
    pub fn new(allow: Vec<String>, deny: Vec<String>) -> Self {
        Self { allow: allow.into(), deny: deny.into() }
    }

    /// Whether everything passes.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether `tool` passes.
    pub fn allows(&self, tool: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, tool));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// Whether `text` fits `pattern`, in time linear in both for each `*`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match text.split_once(part) {
            Some((_, behind)) => text = behind,
            None => return false,
        }
    }
    text.ends_with(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(allow: &[&str], deny: &[&str]) -> ToolFilter {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        ToolFilter::new(owned(allow), owned(deny))
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("echo", "echo", true),
            ("echo", "echo2", false),
            ("*", "", true),
            ("get_*", "get_x", true),
            ("get_*", "forget_x", false),
            ("*_x", "get_x", true),
            ("a*b*c", "a12b3c", true),
            ("a*b*c", "a12c3b", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn denied_is_denied() {
        let only = filter(&["get_*"], &["get_secret"]);
        assert!(only.allows("get_x") && !only.allows("get_secret") && !only.allows("put"));
        let all_but = filter(&[], &["rm"]);
        assert!(all_but.allows("x") && !all_but.allows("rm") && !all_but.is_open());
    }
}
