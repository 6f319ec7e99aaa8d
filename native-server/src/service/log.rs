//! What the server tells of its work, to its administrator from afar.

use std::pin::pin;

use hyperspace_core::error::{Error, Result};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::handlers::{Answer, Handlers};
use super::status::status;
use super::until;
use crate::auth::Caller;
use crate::proto::{LogLine, LogRequest};
use crate::recent::{Line, recent};

/// Lines that wait for a slow reader; whoever is slower misses some.
const MOST_WAITING: usize = 64;

/// Lines, as they come.
pub(super) type LogStream = ReceiverStream<std::result::Result<LogLine, Status>>;

/// Sends the lines that are kept, and if asked to each new one, until the caller goes or loses the right to them, or the
/// server stops.
pub(super) fn log(handlers: &Handlers, request: Request<LogRequest>) -> Answer<LogStream> {
    let call = handlers.call(request).map_err(status)?;
    let place = handlers.watching().map_err(status)?;
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let handlers = handlers.clone();
    tokio::spawn(async move {
        let _place = place;
        let ended = tokio::select! {
            () = sender.closed() => return,
            () = pin!(until(handlers.stopping.clone())) => Error::unavailable("the server is stopping"),
            told = tell(&handlers, &call.caller, call.message.follow, &sender) => match told {
                Ok(()) => return,
                Err(error) => error,
            },
        };
        let _ = sender.send(Err(status(ended))).await;
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// Sends lines.
///
/// # Errors
/// When the caller may have no more of them.
async fn tell(
    handlers: &Handlers,
    caller: &Caller,
    follow: bool,
    sender: &mpsc::Sender<std::result::Result<LogLine, Status>>,
) -> Result<()> {
    let mut told = recent().watch();
    let mut number = 0;
    loop {
        told.mark_unchanged();
        for line in recent().behind(number) {
            handlers.keyring.check(caller)?;
            number = line.number;
            // Nobody listens any more: whoever called this ends it.
            let _ = sender.send(Ok(message(line))).await;
        }
        if !follow || told.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn message(Line { number, at_ms, level, text }: Line) -> LogLine {
    LogLine { number, at_ms, level: level.to_string(), text }
}
