//! gRPC by hand: messages and headers that no honest client would send.

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt as _, Full};
use tokio_stream::StreamExt as _;
use tonic::body::Body;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tower::ServiceExt as _;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    headers: HeaderMap,
    trailers: HeaderMap,
}

impl Reply {
    /// How the call ended: in the trailers, or in the headers when there is nothing else.
    pub(crate) fn outcome(&self) -> Result<(), Status> {
        let status = Status::from_header_map(&self.trailers).or_else(|| Status::from_header_map(&self.headers));
        match status.unwrap_or_else(|| panic!("no status came back: {self:?}")) {
            status if status.code() == Code::Ok => Ok(()),
            status => Err(status),
        }
    }
}

/// A message behind its prefix.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    announced(message.len(), message)
}

/// A message behind a prefix that announces any length.
pub(crate) fn announced(length: usize, message: &[u8]) -> Bytes {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// A body that begins with these bytes and never ends.
pub(crate) fn unfinished(start: Bytes) -> Body {
    let stream = tokio_stream::once(Ok::<_, Status>(start)).chain(tokio_stream::pending());
    Body::new(axum::body::Body::from_stream(stream))
}

/// A request of the native protocol.
pub(crate) fn request(path: &str, headers: &[(&str, &[u8])], body: Body) -> Request<Body> {
    let request = Request::builder().method(Method::POST).uri(path).header("te", "trailers");
    let request = if headers.iter().any(|(name, _)| *name == "content-type") {
        request
    } else {
        request.header("content-type", "application/grpc")
    };
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body).unwrap()
}

/// Sends a request and reads the whole answer.
pub(crate) async fn send(channel: &Channel, request: Request<Body>) -> Result<Reply, Status> {
    let lost = |error: tonic::transport::Error| Status::from_error(error.into());
    let response = channel.clone().oneshot(request).await.map_err(lost)?;
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    Ok(Reply { headers: head.headers, trailers })
}

/// Calls an rpc with a body, and answers how it ended.
pub(crate) async fn call(channel: &Channel, path: &str, headers: &[(&str, &[u8])], body: Bytes) -> Result<(), Status> {
    send(channel, request(path, headers, Body::new(Full::new(body)))).await?.outcome()
}

/// Calls an rpc, and answers how it ended and the bytes of everything that came back.
pub(crate) async fn exchanged(
    channel: &Channel,
    path: &str,
    headers: &[(&str, &[u8])],
    body: Bytes,
) -> (Result<(), Status>, Vec<u8>) {
    let response = channel.clone().oneshot(request(path, headers, Body::new(Full::new(body)))).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let reply = Reply { headers: head.headers, trailers: body.trailers().cloned().unwrap_or_default() };
    let mut bytes = format!("{reply:?}").into_bytes();
    bytes.extend_from_slice(&body.to_bytes());
    (reply.outcome(), bytes)
}

/// The messages and the trailers in the body of a gRPC-web answer.
pub(crate) fn web_frames(mut body: &[u8]) -> (Vec<Vec<u8>>, Option<HeaderMap>) {
    let (mut messages, mut trailers) = (Vec::new(), None);
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let (content, rest) = rest.split_at(length);
        assert!(trailers.is_none(), "trailers are the last frame");
        match prefix[0] {
            0 => messages.push(content.to_vec()),
            0x80 => trailers = Some(super::http1::headers(std::str::from_utf8(content).unwrap())),
            flag => panic!("a frame with flag {flag:#x}"),
        }
        body = rest;
    }
    assert!(body.is_empty(), "{} bytes are no frame", body.len());
    (messages, trailers)
}
