// SPDX-License-Identifier: Apache-2.0
//! The label `target`: text from a peer, which therefore may be neither long, nor secret, nor of unlimited variety.

use std::borrow::Cow;

/// Named targets per family of pools; all others share the label [`OTHER`].
pub(super) const MAX_NAMED: usize = 64;

/// The label of every target beyond [`MAX_NAMED`], and of those that are too long to show.
pub(super) const OTHER: &str = "other";

/// Bytes of a label. `host:port` with the longest host name that DNS permits fits.
const MAX_LEN: usize = 260;

/// The label for `target`: without credentials, and with `_` for what the text format would escape, because a name that
/// needs escaping is read wrongly by half of the tools.
pub(super) fn label(target: &str) -> Cow<'_, str> {
    if target.len() > MAX_LEN {
        return Cow::Borrowed(OTHER);
    }
    let odd = |c: char| c == '"' || c == '\\' || c.is_control();
    match without_credentials(target) {
        Cow::Borrowed(text) if !text.contains(odd) => Cow::Borrowed(text),
        text => Cow::Owned(text.replace(odd, "_")),
    }
}

/// Takes `user:password@` out of a URL or an authority.
fn without_credentials(target: &str) -> Cow<'_, str> {
    let start = target.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = target.split_at(start);
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => Cow::Owned(format!("{scheme}{host}{path}")),
        None => Cow::Borrowed(target),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_harmless() {
        for (target, shown) in [
            ("10.0.0.7:9001", "10.0.0.7:9001"),
            ("[::1]:80", "[::1]:80"),
            ("bob:s3cret@h:4222", "h:4222"),
            ("nats://bob:s3cret@h:4222/x@y", "nats://h:4222/x@y"),
            ("/run/a@b.sock", "/run/a@b.sock"),
            ("a\"b\\c\nd", "a_b_c_d"),
        ] {
            assert_eq!(label(target), shown);
        }
        assert_eq!(label(&"x".repeat(261)), OTHER);
    }
}
