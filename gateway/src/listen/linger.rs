//! Answers that come before the whole request was read: 401, 403, 413, 415. If the connection were
//! closed with bytes of the body still under way, TCP would reset it, and the publisher would see a
//! broken pipe instead of our answer. So the rest is read and thrown away, for a bounded time.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

/// How long the rest of a body is read, and how long it may stall meanwhile.
const REST: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(1);

/// A request's body that is read to its end even if its handler drops it earlier. A publisher that
/// waits for `100 Continue` has sent nothing yet, and is left to read its answer.
pub fn lingering(headers: &HeaderMap, body: Body) -> Body {
    if body.is_end_stream() || headers.contains_key(header::EXPECT) {
        return body;
    }
    Body::from_stream(Lingering { rest: Some(body.into_data_stream()) })
}

struct Lingering {
    /// `None` once the body has ended.
    rest: Option<BodyDataStream>,
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let polled = rest.poll_next_unpin(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        polled
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        // Outside of a runtime nobody could read on: the process is ending.
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(tokio::time::timeout(REST, drain(rest)));
        }
    }
}

async fn drain(mut rest: BodyDataStream) {
    while let Ok(Some(Ok(_))) = tokio::time::timeout(IDLE, rest.next()).await {}
}
