// SPDX-License-Identifier: Apache-2.0
//! How long an answer that calls home is on its way: from the moment when the responder is told where to, so with dialling or
//! leasing a link, until its first item is at the caller. That it is handed out only when the request's acknowledgement is
//! there too is the request's business, and takes a broker longer. Both processes read one machine's clock.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use biplane::message::{RequestContext, RequestId};
use biplane::plane::{Opened, Pending, PendingResponse, ResponseConnectionInfo, ResponsePlane};
use biplane::registry::{BuildContext, Factory, TransportRegistration};
use biplane::stream::pipe;
use biplane::transport::tcp;
use biplane::{Error, Request, ResponseSender, ResponseStream, Result, TransportAddress};
use biplane_cells::Outcome;

/// Bytes that a time has more than room in.
const ROOM: usize = 1024;

/// The response plane of tcp, with a clock before it.
pub(crate) const CLOCKED: TransportRegistration =
    TransportRegistration { factory: Factory::Response(clocked), ..tcp::RESPONSE };

fn clocked(context: &BuildContext) -> Result<Arc<dyn ResponsePlane>> {
    match tcp::RESPONSE.factory {
        Factory::Response(build) => Ok(Arc::new(Clocked(build(context)?))),
        _ => Err(Error::config("tcp's response plane is none")),
    }
}

struct Clocked(Arc<dyn ResponsePlane>);

#[async_trait]
impl ResponsePlane for Clocked {
    async fn expect(&self, context: &RequestContext, to: &TransportAddress) -> Result<PendingResponse> {
        let PendingResponse { reply_to, pending } = self.0.expect(context, to).await?;
        let (sender, stream) = pipe(ROOM, ROOM);
        tokio::spawn(time(pending.resolve(None)?, sender));
        Ok(PendingResponse { reply_to, pending: Box::new(Timed(stream)) })
    }

    async fn create_response_stream(&self, context: &RequestContext, info: &ResponseConnectionInfo) -> Result<Opened> {
        begun().insert(context.id.clone(), SystemTime::now());
        self.0.create_response_stream(context, info).await
    }

    async fn close(&self, grace: Duration) -> Result<()> {
        self.0.close(grace).await
    }
}

/// An answer that is read as soon as it comes.
struct Timed(ResponseStream);

impl Pending for Timed {
    fn resolve(self: Box<Self>, _: Option<ResponseConnectionInfo>) -> Result<ResponseStream> {
        Ok(self.0)
    }
}

/// Hands on how long the first item of `answer` was on the way.
async fn time(answer: ResponseStream, sender: ResponseSender) {
    let took = read(answer).await.map_err(|why| Error::protocol(why.to_string()));
    let sent = match took {
        Ok(took) => sender.send(took.as_nanos().to_le_bytes().to_vec()).await,
        Err(error) => Err(error),
    };
    // Without an end it tells its reader that it broke off.
    if sent.is_ok() {
        sender.close();
    }
}

/// When the answers to requests that no handler has seen yet began.
fn begun() -> MutexGuard<'static, HashMap<RequestId, SystemTime>> {
    static BEGUN: LazyLock<Mutex<HashMap<RequestId, SystemTime>>> = LazyLock::new(Mutex::default);
    BEGUN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers with the time when the answer began.
pub(crate) async fn answer(request: Request, reply: ResponseSender) -> Result<()> {
    let began = begun().remove(&request.context.id);
    let began = began.and_then(|began| began.duration_since(UNIX_EPOCH).ok());
    let began = began.ok_or_else(|| Error::protocol("this answer does not call home"))?;
    reply.send(began.as_nanos().to_le_bytes().to_vec()).await
}

/// Reads such an answer to its end: how long its first item was on the way.
async fn read(answer: ResponseStream) -> Outcome<Duration> {
    let (began, arrived) = only(answer).await?;
    Ok(arrived.duration_since(UNIX_EPOCH)?.saturating_sub(began))
}

/// What [`time`] handed on.
pub(crate) async fn took(answer: ResponseStream) -> Outcome<Duration> {
    Ok(only(answer).await?.0)
}

/// The time that an answer of one item carries, and when it was read.
async fn only(mut answer: ResponseStream) -> Outcome<(Duration, SystemTime)> {
    let item = answer.next().await.ok_or("an answer without an item")??;
    let arrived = SystemTime::now();
    let nanos = u128::from_le_bytes(item.body.as_ref().try_into()?);
    match answer.next().await {
        None => Ok((Duration::from_nanos(u64::try_from(nanos)?), arrived)),
        Some(_) => Err("an answer that goes on".into()),
    }
}
