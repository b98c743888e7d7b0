//! Bodies of requests that are answered before they are read whole.
//!
//! **Invariant: a refusal reaches its client.** A client that still sends its body when the connection is closed may
//! fail to send (`EPIPE`) before it has read the answer; Node's `fetch` does. So what is left of a body is read and
//! discarded before the answer is sent, within bounds of bytes and time. A client that waits for `100 Continue` sends
//! no body, and none is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::EXPECT;
use futures::{Stream, StreamExt};
use tokio::sync::oneshot;
use tower_http::timeout::TimeoutBody;

/// How long a body may send nothing before its request is given up.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// Bytes of a body that are discarded at most: more than the largest upload has.
const DISCARDED_BYTES: u64 = 256 * 1024 * 1024;

/// How long a body is discarded at most. The answer waits for it.
const DISCARDED_WITHIN: Duration = Duration::from_secs(10);

/// What is left of a request's body, once nothing reads it any more.
pub(super) struct UnreadBody(Option<oneshot::Receiver<BodyDataStream>>);

/// The request, with a body that leaves what is not read of it in the [`UnreadBody`].
pub(super) fn watch(request: Request) -> (Request, UnreadBody) {
    if request.body().is_end_stream() {
        return (request, UnreadBody(None));
    }
    let is_sent = !request.headers().contains_key(EXPECT);
    let (sender, receiver) = oneshot::channel();
    let request = request.map(|body| {
        let body = Body::new(TimeoutBody::new(STALLED_AFTER, body)).into_data_stream();
        Body::from_stream(WatchedBody { body: Some(body), unread: Some(sender) })
    });
    (request, UnreadBody(Some(receiver).filter(|_| is_sent)))
}

impl UnreadBody {
    /// Reads and discards what is left, within the bounds.
    pub(super) async fn discard(self) {
        self.discard_within(DISCARDED_WITHIN).await;
    }

    async fn discard_within(self, time: Duration) {
        let Some(mut body) = self.0.and_then(|mut receiver| receiver.try_recv().ok()) else { return };
        let discarding = async {
            let mut bytes = 0;
            while let Some(Ok(part)) = body.next().await {
                bytes += part.len() as u64;
                if bytes > DISCARDED_BYTES {
                    return;
                }
            }
        };
        // What comes later meets a closed connection.
        drop(tokio::time::timeout(time, discarding).await);
    }
}

/// A body that is handed on when it is dropped before its end.
struct WatchedBody {
    body: Option<BodyDataStream>,
    unread: Option<oneshot::Sender<BodyDataStream>>,
}

impl Stream for WatchedBody {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let part = ready!(body.poll_next_unpin(context));
        if !matches!(part, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(part)
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        if let (Some(body), Some(unread)) = (self.body.take(), self.unread.take()) {
            // Nobody waits for it once the request was given up.
            drop(unread.send(body));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(count: usize) -> Body {
        Body::from_stream(futures::stream::iter((0..count).map(|_| Ok::<_, axum::Error>(Bytes::from_static(b"part")))))
    }

    #[tokio::test]
    async fn what_is_left_of_a_body_is_discarded() {
        let (request, unread) = watch(Request::new(parts(9)));
        let mut body = request.into_body().into_data_stream();
        assert_eq!(body.next().await.unwrap().unwrap(), "part");
        drop(body);
        let left = unread.0.unwrap().try_recv().unwrap();
        assert_eq!(left.count().await, 8);
        let (request, unread) = watch(Request::new(parts(9)));
        drop(request);
        unread.discard().await;
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_given_up() {
        let endless = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Some((Ok::<_, axum::Error>(Bytes::from_static(b"part")), ()))
        });
        let (request, unread) = watch(Request::new(Body::from_stream(endless)));
        drop(request);
        unread.discard_within(Duration::from_millis(50)).await;
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_told_to_go_on_is_not() {
        let mut request = Request::new(parts(9));
        request.headers_mut().insert(EXPECT, "100-continue".parse().unwrap());
        let (request, unread) = watch(request);
        drop(request);
        assert!(unread.0.is_none());
    }
}
