//! HTTP/1.1 by hand, down to what no library would send.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// A header that is there once.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {self:?}"));
        value.to_str().unwrap()
    }
}

/// Answers a GET for the server's own address.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    exchange(address, &request("GET", path, &[("host", &address.to_string())], b"")).await
}

/// A request whose connection ends with its answer. The body's length is added unless there is a header for it.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let is_told = body.is_empty() || headers.iter().any(|(name, _)| *name == "content-length");
    let added = [("connection", "close"), ("content-length", length.as_str())];
    let added = if is_told { &added[..1] } else { &added };
    let lines = headers.iter().chain(added).map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!("{method} {path} HTTP/1.1\r\n{}\r\n", lines.collect::<String>());
    [head.as_bytes(), body].concat()
}

/// Sends bytes and reads the answer to them.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has refused the head of a request need not take the rest of it.
    let _ = stream.write_all(bytes).await;
    answer(&mut stream).await.unwrap_or_else(|| panic!("no answer to {:?}", String::from_utf8_lossy(bytes)))
}

/// Reads the answer on a connection that ends with it; `None` when it ends without one.
pub(crate) async fn answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    // What arrived before a reset counts.
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap_or((head, ""));
    let code = first.split(' ').nth(1).unwrap().parse().unwrap();
    let headers = headers(rest);
    let body = &bytes[end + 4..];
    let is_chunked = headers.get("transfer-encoding").is_some_and(|value| value == "chunked");
    let body = if is_chunked { unchunked(body) } else { body.to_vec() };
    Some(Answer { code, headers, body })
}

/// Reads lines of headers.
pub(crate) fn headers(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
        let name: HeaderName = name.trim().parse().unwrap();
        headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
    }
    headers
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        let chunk = &body[end + 2..];
        whole.extend_from_slice(&chunk[..length]);
        body = &chunk[length + 2..];
    }
}
