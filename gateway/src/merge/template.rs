// SPDX-License-Identifier: Apache-2.0
//! Which URIs a template (RFC 6570) may make. It says whom to ask first, so it errs on the side of yes.

/// The literal parts of a template; an expression stands between each two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Box<str>>);

impl Template {
    pub(crate) fn parse(text: &str) -> Self {
        let mut literals = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once('{') {
            let Some((_, after)) = behind.split_once('}') else { break };
            literals.push(literal.into());
            rest = after;
        }
        literals.push(rest.into());
        Self(literals)
    }

    /// Whether `uri` has the literals in their order.
    pub(crate) fn makes(&self, uri: &str) -> bool {
        let [first, middle @ .., last] = self.0.as_slice() else {
            return self.0.first().is_some_and(|only| **only == *uri);
        };
        let Some(mut rest) = uri.strip_prefix(&**first) else { return false };
        for literal in middle {
            match rest.split_once(&**literal) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_make_what_they_may_make() {
        for (template, uri, makes) in [
            ("test://{id}/data", "test://7/data", true),
            ("test://{id}/data", "test://7/other", false),
            ("file:///{+path}", "file:///a/b", true),
            ("x://a", "x://a", true),
            ("x://a", "x://ab", false),
            ("x://a{?q,r}", "x://a?q=1", true),
            ("x://{a}/{b}#f", "x://1/2#f", true),
            ("x://{broken", "x://{broken", true),
            ("{all}", "", true),
        ] {
            assert_eq!(Template::parse(template).makes(uri), makes, "{template} {uri}");
        }
    }
}
