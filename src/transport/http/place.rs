// SPDX-License-Identifier: Apache-2.0
//! A URL that requests go to.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};

use super::head::encode_subject;
use super::link::HttpLink;
use super::speech::Speech;
use crate::config::HttpVersion;
use crate::error::{Error, Result};
use crate::message::Subject;
use crate::pool::{Pool, PoolKey, PoolTarget};
use crate::target::{Target, TransportId};

/// An origin and a path. Cheap to clone, and with all that a request to here needs in its final form.
#[derive(Clone, Debug)]
pub(super) struct Place {
    origin: Arc<Origin>,
    path: PathAndQuery,
    /// Both together, as HTTP/2 has it.
    uri: Uri,
}

/// Who is at the other end, and the links to there.
pub(super) struct Origin {
    /// Names the origin's links. Credentials are no part of it: it is logged.
    key: PoolKey,
    authority: Authority,
    /// The authority as HTTP/1.1 has it.
    host: HeaderValue,
    speech: Speech,
    /// The links, once they have been looked for.
    links: OnceLock<PoolTarget<HttpLink>>,
}

impl Origin {
    fn new(key: String, authority: Authority, speech: Speech) -> Result<Arc<Self>> {
        let host = HeaderValue::from_str(authority.as_str());
        let host = host.map_err(|error| Error::config("no host").with_source(error))?;
        let security = speech.name().to_owned();
        let key = PoolKey { transport: TransportId::HTTP, authority: key, security, affinity: None };
        Ok(Arc::new(Self { key, authority, host, speech, links: OnceLock::new() }))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.speech.scheme(), self.authority)
    }
}

impl Place {
    /// Reads the URL of a plane. What is refused here was not sent.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let malformed = |what: String| Error::config(what).with_target(url).with_transport(TransportId::HTTP);
        let foreign = |what| Error::unsupported(what).with_target(url).with_transport(TransportId::HTTP);
        let uri: Uri = url.parse().map_err(|error| malformed("no HTTP URL".into()).with_source(error))?;
        let parts = uri.into_parts();
        let (speech, default_port) = match parts.scheme.as_ref().map(Scheme::as_str) {
            Some("http") => (Speech::Plane, 80),
            Some("https") => (Speech::Secure, 443),
            _ => return Err(foreign("no http: URL").with_hint("write http://host:port/path")),
        };
        let authority = parts.authority.ok_or_else(|| malformed("no host in the URL".into()))?;
        if authority.as_str().contains('@') {
            return Err(malformed("credentials in the URL of an http plane are not sent".into())
                .with_hint("take them out; pass what the service wants as message headers"));
        }
        let port = authority.port_u16().unwrap_or(default_port);
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self::new(Origin::new(format!("{}:{port}", authority.host()), authority, speech)?, path)
    }

    /// The endpoint of a server that need not be ours: `http:` or `https:`. Credentials in the URL are left out.
    pub(super) fn endpoint(target: &Target) -> Result<Self> {
        let malformed = |what: &'static str| Error::config(what).with_target(target.to_string());
        let speech = match target.scheme() {
            "http" => Speech::Plain,
            "https" => Speech::Secure,
            other => {
                return Err(Error::unsupported(format!("{other}: is no scheme of HTTP"))
                    .with_hint("write http://host:port/path or https://host/path"));
            }
        };
        let url = target.url();
        let host = url.host_str().ok_or_else(|| malformed("no host in the URL"))?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let authority: Authority =
            authority.parse().map_err(|error| malformed("no host in the URL").with_source(error))?;
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let path = path.parse().map_err(|error| malformed("no path in the URL").with_source(error))?;
        Self::new(Origin::new(target.authority()?, authority, speech)?, path)
    }

    fn new(origin: Arc<Origin>, path: PathAndQuery) -> Result<Self> {
        let uri = Uri::builder()
            .scheme(origin.speech.scheme())
            .authority(origin.authority.clone())
            .path_and_query(path.clone())
            .build()
            .map_err(|error| Error::config("no URL").with_source(error))?;
        Ok(Self { origin, path, uri })
    }

    /// What names the origin's links.
    pub(super) fn key(&self) -> &PoolKey {
        &self.origin.key
    }

    /// The origin's links in `pool`, which must be the same each time.
    pub(super) fn links(&self, pool: &Pool<HttpLink>) -> &PoolTarget<HttpLink> {
        self.origin.links.get_or_init(|| pool.target(&self.origin.key))
    }

    /// The same place, by links on which nothing long is under way.
    pub(super) fn aside(&self) -> Self {
        let (authority, host) = (self.origin.authority.clone(), self.origin.host.clone());
        let key = PoolKey { security: format!("{} aside", self.speech().name()), ..self.key().clone() };
        let origin = Origin { key, authority, host, speech: self.speech(), links: OnceLock::new() };
        Self { origin: Arc::new(origin), ..self.clone() }
    }

    /// How its server is spoken to.
    pub(super) fn speech(&self) -> Speech {
        self.origin.speech
    }

    /// Another path at the same origin.
    pub(super) fn at(&self, path: &str) -> Result<Self> {
        Self::on(self.origin.clone(), path)
    }

    /// A path at `origin`.
    pub(super) fn on(origin: Arc<Origin>, path: &str) -> Result<Self> {
        let path = path.parse().map_err(|error| Error::protocol("no path").with_source(error))?;
        Self::new(origin, path)
    }

    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Where a request for `subject` goes. A path names its endpoint itself, whatever the subject; one that ends with a
    /// slash gets the subject added, and a bare origin stands for the request server there, whose root is `root`.
    pub(super) fn serving(&self, subject: &Subject, root: &str) -> Result<Cow<'_, Self>> {
        match self.path() {
            "/" => self.at(&format!("{root}/{}", encode_subject(subject))).map(Cow::Owned),
            path if path.ends_with('/') => self.at(&format!("{path}{}", encode_subject(subject))).map(Cow::Owned),
            _ => Ok(Cow::Borrowed(self)),
        }
    }

    /// The path, without the query.
    pub(super) fn path(&self) -> &str {
        self.path.path()
    }

    /// The URL, for people.
    pub(super) fn url(&self) -> String {
        format!("{}://{}{}", self.speech().scheme(), self.origin.authority, self.path)
    }

    /// A request to here.
    pub(super) fn request(&self, method: Method, version: HttpVersion, headers: HeaderMap) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        match version {
            HttpVersion::Http1 => {
                *request.uri_mut() = Uri::from(self.path.clone());
                request.headers_mut().insert(header::HOST, self.origin.host.clone());
            }
            HttpVersion::Http2 => {
                *request.version_mut() = http::Version::HTTP_2;
                *request.uri_mut() = self.uri.clone();
            }
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn urls_are_read_and_others_refused_before_any_io() {
        let place = Place::parse("http://[::1]:8081/v1/rpc/words?x=1").unwrap();
        assert_eq!((place.key().authority.as_str(), place.path()), ("[::1]:8081", "/v1/rpc/words"));
        assert_eq!(place.url(), "http://[::1]:8081/v1/rpc/words?x=1");
        assert_eq!(Place::parse("http://host").unwrap().key().authority, "host:80");
        let secure = Place::parse("https://host/x").unwrap();
        assert_eq!((secure.key().authority.as_str(), secure.key().security.as_str()), ("host:443", "tls"));
        assert_eq!(secure.url(), "https://host/x");
        for (url, kind) in [
            ("tcp://host/x", ErrorKind::Unsupported),
            ("/path", ErrorKind::Unsupported),
            ("", ErrorKind::Config),
            ("http://", ErrorKind::Config),
            ("http://u:secret@host/x", ErrorKind::Config),
        ] {
            let error = Place::parse(url).unwrap_err();
            assert_eq!(error.kind(), kind, "{url}");
            assert!(!error.to_string().contains("secret"));
        }
    }
}
