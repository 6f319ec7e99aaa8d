//! Connections as they come in: bounded in number, and none is kept that does not say what it wants. With a certificate they
//! are TLS, and plain text gets no answer.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::{debug, warn};

use super::stream::Stream;
use super::tls::Tls;

/// Connections at once; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 1_024;
/// How long a client may take to send [`OPENING`] bytes, and before that to agree on keys.
const PATIENCE: Duration = Duration::from_secs(10);
/// HTTP/2 opens with 24 bytes, and no HTTP/1 request that names its host is shorter. Behind them the time limits of the
/// protocols take over.
const OPENING: usize = 24;
/// A pause when accepting fails, which mostly means that the process has no more file descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// A connection and its place among the bounded.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// Until it has opened: the bytes that are missing, and the end of our patience.
    opening: Option<(usize, Pin<Box<Sleep>>)>,
    #[expect(dead_code, reason = "held for its drop")]
    place: OwnedSemaphorePermit,
}

/// Accepts until nobody takes connections any more; then the port is free.
pub(super) fn accept(listener: TcpListener, tls: Option<Arc<Tls>>) -> ReceiverStream<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(1);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("this semaphore is never closed");
                listener.accept().await.map(|(stream, _)| (stream, place))
            };
            let accepted = tokio::select! {
                () = sender.closed() => return,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    // Answers are small; waiting to fill packets only makes them late. Failing is no reason to refuse.
                    let _ = stream.set_nodelay(true);
                    if let Some(tls) = &tls {
                        tokio::spawn(agree(tls.acceptor(), stream, place, sender.clone()));
                    } else if sender.send(Ok(Connection::new(Stream::Plain(stream), place))).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    warn!(%error, "a connection could not be accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

/// Agrees with a client on keys, beside all others; one that cannot is dropped.
async fn agree(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    sender: mpsc::Sender<io::Result<Connection>>,
) {
    let agreed = tokio::select! {
        () = sender.closed() => return,
        agreed = timeout(PATIENCE, acceptor.accept(stream)) => agreed,
    };
    match agreed {
        Ok(Ok(stream)) => {
            // Whoever took connections may be gone.
            let _ = sender.send(Ok(Connection::new(Stream::Tls(Box::new(stream)), place))).await;
        }
        Ok(Err(error)) => debug!(%error, "a client does not speak TLS as this server does"),
        Err(_) => debug!("a client took too long to agree on keys"),
    }
}

impl Connection {
    fn new(stream: Stream, place: OwnedSemaphorePermit) -> Self {
        Self { stream, opening: Some((OPENING, Box::pin(sleep(PATIENCE)))), place }
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some((_, end)) = &mut self.opening
            && end.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not say what it wants")));
        }
        let before = out.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, out);
        let read = out.filled().len() - before;
        self.opening = self.opening.take().filter(|(missing, _)| *missing > read).map(|(n, end)| (n - read, end));
        outcome
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::poll_fn;
    use std::io::Write as _;

    use tokio_stream::StreamExt as _;

    /// Both ends of a connection whose client may take so long to open.
    async fn connected(patience: Duration) -> (std::net::TcpStream, Connection) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = accept(listener, None).next().await.unwrap().unwrap();
        connection.opening = Some((OPENING, Box::pin(sleep(patience))));
        (client, connection)
    }

    async fn read(connection: &mut Connection) -> io::Result<usize> {
        let mut bytes = [0; 64];
        let mut out = ReadBuf::new(&mut bytes);
        poll_fn(|context| Pin::new(&mut *connection).poll_read(context, &mut out)).await?;
        Ok(out.filled().len())
    }

    #[tokio::test]
    async fn a_client_that_does_not_open_is_dropped() {
        let (mut client, mut connection) = connected(Duration::ZERO).await;
        assert_eq!(read(&mut connection).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        client.write_all(&[0; OPENING - 1]).unwrap();
        assert_eq!(read(&mut connection).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "now it is too late");
    }

    #[tokio::test]
    async fn a_client_that_has_opened_may_be_silent() {
        let (mut client, mut connection) = connected(PATIENCE).await;
        for part in [10, 13, 1] {
            assert!(connection.opening.is_some());
            client.write_all(&vec![0; part]).unwrap();
            assert_eq!(read(&mut connection).await.unwrap(), part);
        }
        assert!(connection.opening.is_none());
    }

    #[tokio::test]
    async fn the_port_is_free_once_nobody_takes_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(accept(listener, None));
        let is_free = async {
            while std::net::TcpListener::bind(address).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, is_free).await.expect("nobody accepts any more");
    }
}
