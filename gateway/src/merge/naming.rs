// SPDX-License-Identifier: Apache-2.0
//! How the names of several upstreams become one set of names, and back. Pure, and without state: another replica of the
//! gateway reads the same names.

use ring::digest::{SHA256, digest};

use biplane::{Error, Result};

/// The longest name that the specification recommends, in characters.
pub(crate) const MAX_NAME: usize = 128;
/// The longest name of an upstream, so that a shortened name has room for the tool's own.
pub(crate) const MAX_UPSTREAM: usize = 48;
/// Hex digits of a shortened name's digest.
const DIGEST: usize = 16;
/// What tells whose a resource is when two upstreams list the same URI. It stands in the fragment, so that the URI stays
/// one and keeps its scheme.
const MARK: &str = "biplane-upstream=";

/// How tools and prompts of an upstream are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Naming {
    /// `upstream_name`: two upstreams never clash.
    #[default]
    Prefixed,
    /// As the upstream named them. Of two with the same name the first upstream's has it, in the order of the
    /// configuration; the other's is there under the prefixed name.
    Plain,
}

/// Whether `name` can name an upstream: 1 to 48 letters, digits, `-` and `.`. No `_`, which ends a prefix: so
/// `a_b_c` is told apart without looking.
///
/// # Errors
/// `Config`, which says what a name is.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !name.is_empty() && name.len() <= MAX_UPSTREAM && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Error::config(format!("{name:?} cannot name an upstream")).with_hint(format!(
        "a name is 1 to {MAX_UPSTREAM} letters, digits, `-` and `.`; `_` separates it from the name of a tool"
    )))
}

/// `upstream_name`, shortened to [`MAX_NAME`] characters where it is longer: its end gives way to a digest of the whole.
pub(crate) fn prefixed(upstream: &str, name: &str) -> String {
    let full = format!("{upstream}_{name}");
    if full.chars().nth(MAX_NAME).is_none() {
        return full;
    }
    let hash = digest(&SHA256, name.as_bytes());
    let hex: String = hash.as_ref().iter().take(DIGEST / 2).map(|byte| format!("{byte:02x}")).collect();
    let head: String = full.chars().take(MAX_NAME - DIGEST - 1).collect();
    format!("{head}_{hex}")
}

/// What follows the prefix of `upstream`.
pub(crate) fn unprefixed<'a>(upstream: &str, name: &'a str) -> Option<&'a str> {
    name.strip_prefix(upstream)?.strip_prefix('_').filter(|rest| !rest.is_empty())
}

/// Whether `name` looks like one that [`prefixed`] has shortened, so that the upstream's list has to be asked what it was.
pub(crate) fn may_be_shortened(name: &str) -> bool {
    let Some((_, hex)) = name.rsplit_once('_') else { return false };
    let is_hex = hex.len() == DIGEST && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_hex && name.chars().count() == MAX_NAME
}

/// `uri` as the one of `upstream`, of several that list it.
pub(crate) fn marked(upstream: &str, uri: &str) -> String {
    let joint = if uri.contains('#') { '&' } else { '#' };
    format!("{uri}{joint}{MARK}{upstream}")
}

/// The upstream's name and its own URI, if `uri` was [`marked`].
pub(crate) fn unmarked(uri: &str) -> Option<(&str, &str)> {
    let at = uri.rfind(MARK)?;
    let (before, name) = (uri.get(..at)?, uri.get(at + MARK.len()..)?);
    let own = before.strip_suffix(['#', '&'])?;
    check_name(name).is_ok().then_some((name, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_comes_off_again() {
        assert_eq!(prefixed("a", "echo"), "a_echo");
        assert_eq!(unprefixed("a", "a_echo"), Some("echo"));
        assert_eq!(unprefixed("a", "a__x"), Some("_x"));
        for other in ["a", "a_", "ab_echo", "b_echo", ""] {
            assert_eq!(unprefixed("a", other), None, "{other}");
        }
    }

    #[test]
    fn long_names_are_shortened_to_the_limit_and_stay_apart() {
        let long = "x".repeat(126);
        assert_eq!(prefixed("a", &long), format!("a_{long}"), "128 characters fit");
        assert!(!may_be_shortened(&format!("a_{long}")));
        for tool in [format!("{long}y"), format!("{long}z"), "é".repeat(400)] {
            let short = prefixed("a", &tool);
            assert_eq!(short.chars().count(), MAX_NAME);
            assert!(may_be_shortened(&short), "{short}");
            assert!(short.starts_with("a_"));
        }
        assert_ne!(prefixed("a", &format!("{long}y")), prefixed("a", &format!("{long}z")));
        assert_eq!(prefixed("a", &"q".repeat(200)), prefixed("a", &"q".repeat(200)), "the same in every process");
    }

    #[test]
    fn a_marked_uri_keeps_its_scheme_and_comes_back() {
        for uri in ["ui://app/view", "file:///a#top", "test://x?y=1&z=2", "urn:a:b"] {
            let marked = marked("two", uri);
            assert_eq!(url::Url::parse(&marked).unwrap().scheme(), url::Url::parse(uri).unwrap().scheme());
            assert_eq!(unmarked(&marked), Some(("two", uri)));
        }
        for uri in ["ui://a", "x://biplane-upstream=a", "x:#biplane-upstream=", "x:#biplane-upstream=a b"] {
            assert_eq!(unmarked(uri), None, "{uri}");
        }
    }

    #[test]
    fn names_of_upstreams() {
        for good in ["a", "tools-1.x", &"n".repeat(48)] {
            check_name(good).unwrap();
        }
        for bad in ["", "a_b", "ä", "a b", &"n".repeat(49)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
