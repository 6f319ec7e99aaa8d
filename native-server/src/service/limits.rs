//! How much may be under way at once, decided before memory is given away for it.
//!
//! Three steps. [`bound`] counts requests from their head to the last byte of their answer; once it is known whose a
//! request is, [`Limits::share`] sees to it that no tenant takes the room of all. [`admit`] looks at the first five bytes of a gRPC message, which say how long it is: one that is too long is refused before the decoder reserves
//! room for it, and a large one waits until few others are under way. A message has to arrive within [`PATIENCE`].
//!
//! What a request holds (see [`Place`]) travels in its extensions to the thread that works on it: a client that goes away
//! does not make room for the next one before the work it left behind is done.

use std::future::Future as _;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_TYPE, ORIGIN};
use http_body_util::BodyExt as _;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;
use tracing::debug;

use super::shares::{Share, Shares};
use super::status::{refusal, status};
use crate::settings::Settings;

/// Requests under way, whatever they are; half of them of one tenant.
const MOST_REQUESTS: usize = 512;
/// Messages longer than this count as large.
const LARGE_MESSAGE: usize = 1 << 20;
/// Large messages under way.
const MOST_LARGE: usize = 8;
/// How long a message may take to arrive.
const PATIENCE: Duration = Duration::from_mins(1);
/// What stands before a gRPC message: whether it is compressed, and its length in four bytes.
const PREFIX: usize = 5;

/// Stands in the extensions of an answer that lasts as long as its client listens: it is bounded where it is made, and gives
/// its request's place back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasting;

/// The bounds of one server.
#[derive(Debug)]
pub(super) struct Limits {
    requests: Arc<Semaphore>,
    tenants: Arc<Shares>,
    large: Arc<Semaphore>,
    native: usize,
    browser: usize,
}

/// A request's place among the bounded; free again when the last copy is dropped.
#[derive(Clone, Debug)]
struct Place {
    /// The longest message that the request may have.
    longest: usize,
    #[expect(dead_code, reason = "held for its drop")]
    request: Arc<OwnedSemaphorePermit>,
    /// Its tenant's, once that is known.
    share: Arc<OnceLock<Share>>,
    /// The place of a large message beside it.
    large: Option<Arc<OwnedSemaphorePermit>>,
}

impl Limits {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            tenants: Shares::new(MOST_REQUESTS),
            large: Arc::new(Semaphore::new(MOST_LARGE)),
            native: settings.max_message_bytes.get(),
            browser: settings.max_browser_message_bytes.get(),
        })
    }

    /// Counts a request as one of this tenant.
    ///
    /// # Errors
    /// `Unavailable` when the tenant has its share of those under way.
    pub(super) fn share(&self, request: &Request, tenant: &Tenant) -> Result<()> {
        let place = request.extensions().get::<Place>().expect("`bound` gave every request its place");
        let share = self.tenants.take(tenant);
        let share = share.ok_or_else(|| Error::unavailable("too many requests of yours are under way: retry later"))?;
        // A request has one tenant, so there is no share in the cell yet.
        let _ = place.share.set(share);
        Ok(())
    }
}

/// Whether a request comes from a web page.
fn is_from_browser(headers: &HeaderMap) -> bool {
    let is_web = headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc-web"));
    is_web || headers.contains_key(ORIGIN)
}

/// Bounds the requests under way, and notes how long a message may be while the request still shows where it is from.
pub(super) async fn bound(State(limits): State<Arc<Limits>>, mut request: Request, next: Next) -> Response {
    let Ok(permit) = Arc::clone(&limits.requests).try_acquire_owned() else {
        debug!("a request was refused: {MOST_REQUESTS} are under way");
        let error = Error::unavailable(format!("{MOST_REQUESTS} requests are under way: retry later"));
        return refusal(request.headers(), error);
    };
    let longest = if is_from_browser(request.headers()) { limits.browser } else { limits.native };
    let place = Place { longest, request: Arc::new(permit), share: Arc::default(), large: None };
    request.extensions_mut().insert(place.clone());
    let response = next.run(request).await;
    if response.extensions().get::<Lasting>().is_some() {
        return response;
    }
    // The answer's bytes take room until the client has read them.
    response.map(|body| {
        Body::new(body.map_err(move |error| {
            let _held = &place;
            error
        }))
    })
}

/// Bounds the message of an rpc that has one, before it is read.
pub(super) async fn admit(State(limits): State<Arc<Limits>>, mut request: Request, next: Next) -> Response {
    let body = mem::take(request.body_mut()).into_data_stream();
    let place = request.extensions_mut().get_mut::<Place>().expect("`bound` gave every request its place");
    match Message::open(body, place.longest, &limits.large, Instant::now() + PATIENCE).await {
        Ok((message, large)) => {
            place.large = large.map(Arc::new);
            *request.body_mut() = Body::from_stream(message);
            next.run(request).await
        }
        Err(error) => {
            debug!(%error, "a message was refused");
            refusal(request.headers(), error)
        }
    }
}

/// The bytes of one message as they arrive: no more than were announced, and not for ever.
struct Message {
    /// What was read of it to learn its length.
    head: Option<Bytes>,
    rest: BodyDataStream,
    /// How many bytes may still come.
    left: usize,
    end_of_patience: Pin<Box<Sleep>>,
}

impl Message {
    async fn open(
        mut rest: BodyDataStream,
        longest: usize,
        large: &Arc<Semaphore>,
        deadline: Instant,
    ) -> Result<(Self, Option<OwnedSemaphorePermit>)> {
        let mut head = BytesMut::new();
        while head.len() < PREFIX {
            match timeout_at(deadline, rest.next()).await.map_err(|_| late())? {
                Some(bytes) => head.extend_from_slice(&bytes.map_err(|error| lost(&error))?),
                None => break,
            }
        }
        let announced = head.get(1..PREFIX).map_or(0, |n| u32::from_be_bytes([n[0], n[1], n[2], n[3]]) as usize);
        if announced > longest {
            return Err(Error::limit_exceeded(format!("the message has {announced} bytes, the limit is {longest}")));
        }
        let permit = if announced > LARGE_MESSAGE {
            let permit = timeout_at(deadline, Arc::clone(large).acquire_owned()).await;
            let permit =
                permit.map_err(|_| Error::unavailable(format!("{MOST_LARGE} large messages are under way")))?;
            Some(permit.expect("this semaphore is never closed"))
        } else {
            None
        };
        let end_of_patience = Box::pin(sleep_until(deadline));
        Ok((Self { head: Some(head.freeze()), rest, left: PREFIX + announced, end_of_patience }, permit))
    }
}

impl Stream for Message {
    type Item = std::result::Result<Bytes, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.end_of_patience.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(status(late()))));
        }
        let next = match self.head.take() {
            Some(head) => Some(Ok(head)),
            None => ready!(Pin::new(&mut self.rest).poll_next(context)),
        };
        Poll::Ready(next.map(|bytes| {
            let bytes = bytes.map_err(|error| status(lost(&error)))?;
            let left = self.left.checked_sub(bytes.len());
            self.left = left.ok_or_else(|| status(Error::invalid_argument("more follows after the message")))?;
            Ok(bytes)
        }))
    }
}

fn late() -> Error {
    Error::unavailable(format!("the message did not arrive within {} s", PATIENCE.as_secs()))
}

fn lost(error: &axum::Error) -> Error {
    Error::unavailable(format!("the message broke off: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::result::Result;

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use hyperspace_core::error::ErrorKind;
    use tower::ServiceExt as _;

    fn body(frames: &[&[u8]]) -> BodyDataStream {
        let frames: Vec<Result<Bytes, Status>> = frames.iter().map(|f| Ok(Bytes::copy_from_slice(f))).collect();
        Body::from_stream(tokio_stream::iter(frames)).into_data_stream()
    }

    async fn read(mut message: Message) -> Result<Vec<u8>, Status> {
        let mut all = Vec::new();
        while let Some(bytes) = message.next().await {
            all.extend_from_slice(&bytes?);
        }
        Ok(all)
    }

    fn later() -> Instant {
        Instant::now() + PATIENCE
    }

    fn prefixed(length: u32, message: &[u8]) -> Vec<u8> {
        [&[0][..], &length.to_be_bytes(), message].concat()
    }

    #[tokio::test]
    async fn a_message_arrives_as_it_was_sent_however_it_is_cut() {
        let bytes = prefixed(6, b"abcdef");
        let large = Arc::new(Semaphore::new(0));
        for size in 1..=bytes.len() {
            let frames: Vec<&[u8]> = bytes.chunks(size).collect();
            let (message, held) = Message::open(body(&frames), 6, &large, later()).await.unwrap();
            assert_eq!(read(message).await.unwrap(), bytes);
            assert!(held.is_none());
        }
        let (none, _) = Message::open(body(&[]), 6, &large, later()).await.unwrap();
        assert_eq!(read(none).await.unwrap(), b"");
    }

    #[tokio::test]
    async fn a_message_that_announces_too_much_is_refused_by_its_first_bytes() {
        let large = Arc::new(Semaphore::new(1));
        let endless = Body::from_stream(tokio_stream::iter([Ok::<_, Status>(Bytes::from(prefixed(7, b"")))]).chain(
            // Whoever reads on waits for ever.
            tokio_stream::pending(),
        ));
        let error = Message::open(endless.into_data_stream(), 6, &large, later()).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        assert_eq!(error.message(), "the message has 7 bytes, the limit is 6");
        let huge = Message::open(body(&[&prefixed(u32::MAX, b"")]), 64 << 20, &large, later()).await.err().unwrap();
        assert_eq!(huge.kind(), ErrorKind::LimitExceeded);
    }

    #[tokio::test]
    async fn more_than_was_announced_is_refused() {
        let large = Arc::new(Semaphore::new(1));
        let (message, _) = Message::open(body(&[&prefixed(2, b"ab"), b"c"]), 100, &large, later()).await.unwrap();
        assert_eq!(read(message).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }

    #[tokio::test]
    async fn large_messages_wait_for_each_other() {
        let large = Arc::new(Semaphore::new(1));
        let announced = prefixed(LARGE_MESSAGE as u32 + 1, b"");
        let (_message, held) = Message::open(body(&[&announced]), 64 << 20, &large, later()).await.unwrap();
        assert!(held.is_some());
        let mut second = Box::pin(Message::open(body(&[&announced]), 64 << 20, &large, later()));
        assert!(futures_poll_once(second.as_mut()).await.is_none(), "the only place is taken");
        drop(held);
        assert!(second.await.unwrap().1.is_some());
    }

    /// Polls once; `None` when there is no answer yet.
    async fn futures_poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn a_message_that_does_not_come_in_time_is_given_up() {
        let large = Arc::new(Semaphore::new(0));
        let now = Instant::now();
        let silent = Body::from_stream(tokio_stream::pending::<Result<Bytes, Status>>()).into_data_stream();
        assert_eq!(Message::open(silent, 6, &large, now).await.err().unwrap().kind(), ErrorKind::Unavailable);

        let begun = tokio_stream::iter([Ok::<_, Status>(Bytes::from(prefixed(6, b"abc")))]);
        let stalled = Body::from_stream(begun.chain(tokio_stream::pending())).into_data_stream();
        let (message, _) = Message::open(stalled, 6, &large, now).await.unwrap();
        assert_eq!(read(message).await.unwrap_err().code(), tonic::Code::Unavailable);

        let announced = prefixed(LARGE_MESSAGE as u32 + 1, b"");
        let waits = Message::open(body(&[&announced]), 64 << 20, &large, now).await;
        assert_eq!(waits.err().unwrap().kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_request_is_under_way_until_its_answer_is_read() {
        let requests = Arc::new(Semaphore::new(1));
        let (tenants, large) = (Shares::new(1), Arc::new(Semaphore::new(1)));
        let limits = Limits { requests, tenants, large, native: 1, browser: 1 };
        let router = Router::new().fallback(|| async { "answer" }).layer(from_fn_with_state(Arc::new(limits), bound));
        let ask = || router.clone().oneshot(Request::new(Body::empty()));
        let first = ask().await.unwrap();
        let second = ask().await.unwrap();
        assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 503));
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "answer");
        assert_eq!(ask().await.unwrap().status(), 200);
    }

    #[tokio::test]
    async fn a_tenant_has_its_share_of_the_requests_and_others_theirs() {
        let [one, other] = ["one", "other"].map(|name| Tenant::verified(name).unwrap());
        let (requests, large) = (Arc::new(Semaphore::new(4)), Arc::new(Semaphore::new(1)));
        let limits = Arc::new(Limits { requests, tenants: Shares::new(4), large, native: 1, browser: 1 });
        let sharing = Arc::clone(&limits);
        let handler = move |request: Request| async move {
            let tenant = request.extensions().get::<Tenant>().expect("each request has one");
            sharing
                .share(&request, tenant)
                .map_or_else(|error| refusal(&HeaderMap::new(), error), |()| Response::default())
        };
        let router = Router::new().fallback(handler).layer(from_fn_with_state(limits, bound));
        let ask = |tenant: &Tenant| {
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(tenant.clone());
            router.clone().oneshot(request)
        };
        let answers = [ask(&one).await.unwrap(), ask(&one).await.unwrap(), ask(&one).await.unwrap()];
        assert_eq!(answers.each_ref().map(|answer| answer.status().as_u16()), [200, 200, 503]);
        let answer = ask(&other).await.unwrap();
        assert_eq!(answer.status(), 200);
        drop(answers);
        assert_eq!(ask(&one).await.unwrap().status(), 200, "a share is free with its answer");
    }

    #[test]
    fn pages_are_told_from_programs() {
        let with =
            |name: http::HeaderName, value| HeaderMap::from_iter([(name, http::HeaderValue::from_static(value))]);
        assert!(is_from_browser(&with(CONTENT_TYPE, "application/grpc-web+proto")));
        assert!(is_from_browser(&with(CONTENT_TYPE, "application/grpc-web-text")));
        assert!(is_from_browser(&with(ORIGIN, "http://localhost")));
        assert!(!is_from_browser(&with(CONTENT_TYPE, "application/grpc")));
        assert!(!is_from_browser(&HeaderMap::new()));
    }
}
