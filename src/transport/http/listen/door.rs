// SPDX-License-Identifier: Apache-2.0
//! The paths of a listener.

/// Where things are served.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// Streamable HTTP; `None` where only the older transport is served.
    pub(super) endpoint: Option<String>,
    /// The older transport's stream, and where to post to.
    pub(super) older: Option<Older>,
}

/// The paths of the transport of 2024-11-05.
#[derive(Clone, Debug)]
pub(super) struct Older {
    pub(super) stream: String,
    pub(super) messages: String,
}

impl Paths {
    /// Streamable HTTP at `path`, and if asked for the older transport beside its last segment.
    pub(super) fn streamable(path: &str, older: bool) -> Self {
        let path = canonical(path);
        let older = older.then(|| Older { stream: beside(path, "sse"), messages: beside(path, "messages") });
        // Nobody can be at two places of one name.
        let older = older.filter(|older| older.stream != path && older.messages != path);
        Self { endpoint: Some(path.to_owned()), older }
    }

    /// The older transport alone, its stream at `path`.
    pub(super) fn two_endpoint(path: &str) -> Self {
        let path = canonical(path);
        let messages = match beside(path, "messages") {
            messages if messages == path => format!("{path}/messages"),
            messages => messages,
        };
        Self { endpoint: None, older: Some(Older { stream: path.to_owned(), messages }) }
    }

    /// Whether `path` is where `served` is, with or without a slash at the end.
    pub(super) fn is(path: &str, served: &str) -> bool {
        canonical(path) == served
    }
}

fn canonical(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

/// The path with another last segment.
fn beside(path: &str, last: &str) -> String {
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    format!("{parent}/{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_transport_stands_beside_the_newer() {
        let paths = |path| Paths::streamable(path, true);
        let older = paths("/mcp/").older.unwrap();
        assert_eq!(
            (paths("/mcp/").endpoint.unwrap(), older.stream, older.messages),
            ("/mcp".into(), "/sse".into(), "/messages".into())
        );
        assert_eq!(paths("/a/b").older.unwrap().stream, "/a/sse");
        assert_eq!(paths("/").older.unwrap().stream, "/sse");
        assert!(paths("/sse").older.is_none());
        assert_eq!(Paths::two_endpoint("/x/sse").older.unwrap().messages, "/x/messages");
        assert_eq!(Paths::two_endpoint("/messages").older.unwrap().messages, "/messages/messages");
        assert!(Paths::is("/mcp/", "/mcp") && Paths::is("/", "/") && !Paths::is("/mcpx", "/mcp"));
    }
}
