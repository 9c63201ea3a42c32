// SPDX-License-Identifier: Apache-2.0
//! Several members of a JSON object and of its `_meta` changed in one pass and one copy. Values that are not named stay
//! byte for byte; only the white space between members goes.

use biplane::proto::json;
use bytes::{BufMut, Bytes, BytesMut};

/// What changes. An empty text counts as `{}`; one that is no object comes back as it was.
#[derive(Clone, Copy, Default)]
pub(super) struct Edit<'a> {
    /// Members that go.
    pub(super) without: &'a [&'a str],
    /// Raw members, `"a":1,"b":2`, that come first.
    pub(super) with: &'a [u8],
    /// Members of `_meta` that go. A `_meta` that is left empty goes too.
    pub(super) without_meta: &'a [&'a str],
    /// Raw members that are added to `_meta`.
    pub(super) with_meta: &'a [u8],
}

impl Edit<'_> {
    pub(super) fn apply(&self, text: &Bytes) -> Bytes {
        if !text.is_empty() && text.trim_ascii_start().first() != Some(&b'{') {
            return text.clone();
        }
        let mut out = Object::with_capacity(text.len() + self.with.len() + self.with_meta.len() + 16);
        out.raw(self.with);
        let mut has_meta = false;
        for (name, value) in json::members(text) {
            if is_one_of(name, self.without) {
                continue;
            }
            let changes_meta = !self.without_meta.is_empty() || !self.with_meta.is_empty();
            if is(name, "_meta") && changes_meta && value.first() == Some(&b'{') {
                has_meta = true;
                self.meta(value, &mut out);
            } else if !is(name, "_meta") || self.with_meta.is_empty() {
                out.member(name, value);
            }
        }
        if !has_meta && !self.with_meta.is_empty() {
            self.meta(b"{}", &mut out);
        }
        out.close()
    }

    fn meta(&self, value: &[u8], out: &mut Object) {
        let mut meta = Object::with_capacity(value.len() + self.with_meta.len() + 2);
        for (name, value) in json::members(value) {
            if !is_one_of(name, self.without_meta) {
                meta.member(name, value);
            }
        }
        meta.raw(self.with_meta);
        let meta = meta.close();
        if meta != "{}" {
            out.member(b"_meta", &meta);
        }
    }
}

/// A JSON object that is written member by member.
pub(super) struct Object(BytesMut);

impl Object {
    pub(super) fn new() -> Self {
        Self::with_capacity(128)
    }

    fn with_capacity(capacity: usize) -> Self {
        let mut out = BytesMut::with_capacity(capacity);
        out.put_u8(b'{');
        Self(out)
    }

    /// A member whose name stands as it is written between quotes.
    fn member(&mut self, name: &[u8], value: &[u8]) {
        self.comma();
        self.0.put_u8(b'"');
        self.0.put_slice(name);
        self.0.put_slice(b"\":");
        self.0.put_slice(value);
    }

    /// Members as they are written.
    fn raw(&mut self, members: &[u8]) {
        if !members.is_empty() {
            self.comma();
            self.0.put_slice(members);
        }
    }

    /// A member of any name, with its raw value.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) -> &mut Self {
        self.comma();
        self.0.put_slice(&json::quote(name));
        self.0.put_u8(b':');
        self.0.put_slice(value);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    fn comma(&mut self) {
        if !self.is_empty() {
            self.0.put_u8(b',');
        }
    }

    /// The members without the braces.
    pub(super) fn into_members(self) -> Bytes {
        self.0.freeze().slice(1..)
    }

    pub(super) fn close(mut self) -> Bytes {
        self.0.put_u8(b'}');
        self.0.freeze()
    }
}

fn is_one_of(raw: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| is(raw, name))
}

/// Whether a name, given as it is written between its quotes, reads `name`.
fn is(raw: &[u8], name: &str) -> bool {
    if !raw.contains(&b'\\') {
        return raw == name.as_bytes();
    }
    let quoted = [b"\"", raw, b"\""].concat();
    json::text(&quoted).is_some_and(|text| text == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(edit: Edit<'_>, text: &'static str) -> Bytes {
        edit.apply(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn what_is_not_named_stays_as_it_is_written() {
        let edit = Edit { without: &["b"], with: br#""n":1"#, without_meta: &["x"], with_meta: br#""y":[ 2]"# };
        assert_eq!(
            apply(edit, r#"{ "a" : 1.50e1, "b":{"c":1}, "_meta" : {"x":1, "p": "\u0041" }, "z":[ 1 , 2 ] }"#),
            r#"{"n":1,"a":1.50e1,"_meta":{"p":"\u0041","y":[ 2]},"z":[ 1 , 2 ]}"#
        );
        assert_eq!(apply(edit, ""), r#"{"n":1,"_meta":{"y":[ 2]}}"#);
        assert_eq!(apply(edit, r#"{"_meta":7}"#), r#"{"n":1,"_meta":{"y":[ 2]}}"#);
        assert_eq!(apply(edit, "[1]"), "[1]");
    }

    #[test]
    fn a_meta_that_is_left_empty_goes() {
        let edit = Edit { without_meta: &["x"], ..Edit::default() };
        assert_eq!(apply(edit, r#"{"_meta":{"\u0078":1},"a":2}"#), r#"{"a":2}"#);
        assert_eq!(apply(edit, r#"{"_meta":null}"#), r#"{"_meta":null}"#);
    }
}
