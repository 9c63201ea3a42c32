// SPDX-License-Identifier: Apache-2.0
//! The connection face of the http planes: requests by URL, answers inline.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::CONNECTION;
use super::answer::Answer;
use super::call::{post_elsewhere, post_inline};
use super::links::Links;
use super::listen::Listens;
use super::place::Place;
use crate::connection::{Connection, ConnectionInfo, Inbound, Listener, Transport};
use crate::error::{Error, Result, Retry};
use crate::message::{Message, Request, Subject};
use crate::plane::ReplyTo;
use crate::stream::ResponseStream;
use crate::stream::roster::{Beginning, Roster, Terms};
use crate::target::{Target, TransportId};

/// Connects to `http:` URLs.
///
/// Requests are posted to exactly the URL, whatever their subject: the path names the endpoint. A URL that names none gets
/// the subject added: `http://host:port` stands for the request server there, `http://host:port/some/path/` for
/// `/some/path/{subject}`.
pub struct HttpTransport {
    links: Arc<Links>,
    listens: Listens,
}

impl HttpTransport {
    pub(super) fn new(links: Arc<Links>, listens: Listens) -> Self {
        Self { links, listens }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn connect(&self, target: &Target) -> Result<Arc<dyn Connection>> {
        let place = Place::parse(target.url().as_str())?;
        self.links.dial(&place).await?;
        Ok(Arc::new(HttpConnection {
            info: ConnectionInfo::new(TransportId::HTTP, place.url(), CONNECTION),
            links: self.links.clone(),
            place,
            open: Roster::new(),
        }))
    }

    async fn listen(&self, target: &Target) -> Result<Box<dyn Listener>> {
        self.listens.listen(target).await
    }
}

struct HttpConnection {
    info: ConnectionInfo,
    links: Arc<Links>,
    place: Place,
    open: Arc<Roster>,
}

#[async_trait]
impl Connection for HttpConnection {
    fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    fn open(&self, request: Request) -> Result<ResponseStream> {
        let place = self.links.serving(&self.place, &request.subject)?;
        if request.context.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::deadline(0).with_retry(Retry::Safe));
        }
        let over_by = self.links.over_by(request.context.deadline);
        let links = self.links.clone();
        // The answer has its own deadline and limits; the roster is for the close alone.
        let terms = Terms { deadline: None, max_item: usize::MAX, forward: None };
        let opening = Box::pin(async move {
            let opened = post_inline(&links, &place, request).await?;
            Ok(Answer::stream(opened, &links, over_by))
        });
        Ok(self.open.admit(Beginning::Opening(opening), terms)?.stream())
    }

    async fn notify(&self, subject: &Subject, message: Message) -> Result<()> {
        self.open.check_open()?;
        let place = self.links.serving(&self.place, subject)?;
        let request = Request::new(subject.clone(), message);
        post_elsewhere(&self.links, &place, request, &ReplyTo::Nothing).await.map(drop)
    }

    /// Nothing comes unasked over this transport: waits for the close.
    async fn receive(&self) -> Result<Option<Inbound>> {
        self.open.closed().await;
        Ok(None)
    }

    /// The links stay in the pool.
    async fn close(&self, grace: Duration) -> Result<()> {
        self.open.close(grace).await;
        Ok(())
    }
}

impl fmt::Debug for HttpConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpConnection({})", self.info.peer)
    }
}
