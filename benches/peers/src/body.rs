// SPDX-License-Identifier: Apache-2.0
//! Items as the body of an answer over HTTP: each has its length in front, as nothing says that frames stay as they are.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use biplane_cells::{Ask, Outcome};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri};

use crate::items::{Items, counted, produce};

pub(crate) const UNARY: &str = "/unary";
pub(crate) const STREAM: &str = "/stream";

/// The most that goes into one frame where ready items share one.
const FRAME: usize = 16 * 1024;

/// How items become frames.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Frames {
    /// A frame for each item, which is what a stream of items turned into a body gives.
    Each,
    /// One for all items that are ready.
    Ready,
}

/// What the server does, whatever the version of HTTP.
pub(crate) async fn answer(
    request: Request<Incoming>,
    frames: Frames,
) -> Result<Response<UnsyncBoxBody<Bytes, Infallible>>, hyper::Error> {
    let stream = request.uri().path() == STREAM;
    let payload = request.into_body().collect().await?.to_bytes();
    if !stream {
        return Ok(Response::new(Full::new(payload).boxed_unsync()));
    }
    let Ok(ask) = Ask::decode(&payload) else {
        let mut refusal = Response::new(Full::default().boxed_unsync());
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(refusal);
    };
    Ok(Response::new(ItemBody { items: Some(produce(ask)), frames }.boxed_unsync()))
}

/// Where requests go; made once, as whoever counts microseconds does.
pub(crate) fn uri(address: &str, path: &str) -> Outcome<Uri> {
    Ok(format!("http://{address}{path}").parse()?)
}

/// A request.
pub(crate) fn post(uri: &Uri, payload: Bytes) -> Outcome<Request<Full<Bytes>>> {
    Ok(Request::post(uri.clone()).body(Full::new(payload))?)
}

/// Counts the items of an answer that have the size that was asked for.
pub(crate) async fn count(mut body: Incoming, ask: Ask) -> Outcome<u32> {
    let mut count = 0;
    // What is left of an item that came in parts.
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        if !rest.is_empty() {
            rest.extend_from_slice(&data);
            data = rest.split().freeze();
        }
        while let Some(item) = split(&mut data) {
            count += counted(ask, &item);
        }
        rest.extend_from_slice(&data);
    }
    Ok(count)
}

/// The first item of `data`, if it is whole.
fn split(data: &mut Bytes) -> Option<Bytes> {
    let length = data.as_ref().try_get_u32_le().ok()? as usize;
    if data.len() - 4 < length {
        return None;
    }
    data.advance(4);
    Some(data.split_to(length))
}

struct ItemBody {
    /// `None` when they are over.
    items: Option<Items>,
    frames: Frames,
}

impl Body for ItemBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frames = self.frames;
        let Some(items) = &mut self.items else { return Poll::Ready(None) };
        let Some(item) = ready!(items.poll_next_unpin(context)) else { return Poll::Ready(None) };
        let mut frame = BytesMut::with_capacity(match frames {
            Frames::Each => 4 + item.len(),
            Frames::Ready => FRAME,
        });
        put(&mut frame, &item);
        while matches!(frames, Frames::Ready) && frame.len() < FRAME {
            match items.poll_next_unpin(context) {
                Poll::Ready(Some(item)) => put(&mut frame, &item),
                Poll::Ready(None) => {
                    self.items = None;
                    break;
                }
                Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(Frame::data(frame.freeze()))))
    }

    fn is_end_stream(&self) -> bool {
        self.items.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

fn put(frame: &mut BytesMut, item: &Bytes) {
    frame.put_u32_le(item.len() as u32);
    frame.extend_from_slice(item);
}
