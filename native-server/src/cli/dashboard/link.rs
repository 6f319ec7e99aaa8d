//! News from the server, and what is asked of it. A stream that breaks is asked for again, more and more patiently.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyperspace_core::error::{Error, ErrorKind};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::model::{Effect, Message};
use crate::cli::connect::Session;
use crate::cli::failure::of_status;
use crate::cli::output::{bytes, count};
use crate::proto::{ConfigureRequest, LogRequest, MonitorRequest, SnapshotRequest, Stats, VacuumRequest};

/// Between two messages of figures, in milliseconds.
const INTERVAL: u64 = 1_000;
/// How long figures may be late before the server counts as gone.
const MOST_LATE: Duration = Duration::from_secs(10);
/// Before the first attempt to connect again, and before each one after many.
const SHORTEST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Asks for figures.
pub(super) async fn watch(session: &Session) -> Result<Streaming<Stats>, Status> {
    let request = MonitorRequest { interval_ms: INTERVAL, count: 0 };
    Ok(session.patient_admin().monitor(request).await?.into_inner())
}

/// Sends figures and log lines until nobody takes them, across whatever happens to the server.
pub(super) async fn follow(session: Arc<Session>, first: Streaming<Stats>, news: Sender<Message>) {
    let mut wait = SHORTEST_WAIT;
    let mut stream = Ok(first);
    loop {
        let error = match stream {
            Ok(figures) => {
                let figures = take_figures(figures, &news, &mut wait);
                // Lines alone are no sign of life: the figures say whether there is a server.
                let lines = async {
                    take_lines(&session, &news).await;
                    pending().await
                };
                tokio::select! {
                    error = figures => error,
                    error = lines => error,
                }
            }
            Err(status) => of_status(&status),
        };
        let lost = Message::Lost { at_ms: now_ms(), why: error.message().to_owned() };
        if news.send(lost).await.is_err() {
            return;
        }
        sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        stream = match tokio::time::timeout(MOST_LATE, watch(&session)).await {
            Ok(answered) => answered,
            Err(_) => Err(Status::unavailable(late())),
        };
    }
}

fn late() -> String {
    format!("no figures for {} s", MOST_LATE.as_secs())
}

/// Sends figures as long as they come, and returns why they do not.
async fn take_figures(mut figures: Streaming<Stats>, news: &Sender<Message>, wait: &mut Duration) -> Error {
    loop {
        match tokio::time::timeout(MOST_LATE, figures.message()).await {
            Ok(Ok(Some(stats))) => {
                *wait = SHORTEST_WAIT;
                if news.send(Message::Stats(Box::new(stats))).await.is_err() {
                    return Error::closed("nobody watches any more");
                }
            }
            Ok(Ok(None)) => return Error::unavailable("the server ended the stream"),
            Ok(Err(status)) => return of_status(&status),
            Err(_) => return Error::unavailable(late()),
        }
    }
}

/// Sends log lines as long as they come.
async fn take_lines(session: &Session, news: &Sender<Message>) {
    let mut lines = match session.patient_admin().log(LogRequest { follow: true }).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return refuse_lines(&status, news).await,
    };
    loop {
        match lines.message().await {
            Ok(Some(line)) => drop(news.send(Message::Line(line)).await),
            Ok(None) => return,
            Err(status) => return refuse_lines(&status, news).await,
        }
    }
}

async fn refuse_lines(status: &Status, news: &Sender<Message>) {
    let error = of_status(status);
    // A server that is gone is told of by its figures.
    if error.kind() != ErrorKind::Unavailable {
        drop(news.send(Message::LogRefused(error.message().to_owned())).await);
    }
}

/// Does what was asked for, and tells what became of it.
pub(super) async fn carry_out(session: Arc<Session>, effect: Effect, news: Sender<Message>) {
    let outcome = ask(&session, effect).await.map_err(|status| of_status(&status).message().to_owned());
    drop(news.send(Message::Done(outcome)).await);
}

async fn ask(session: &Session, effect: Effect) -> Result<String, Status> {
    match effect {
        Effect::Snapshot => {
            let written = session.patient_admin().snapshot(SnapshotRequest {}).await?.into_inner();
            Ok(format!("snapshot {}: {} in {} files", written.name, bytes(written.bytes), count(written.files)))
        }
        Effect::Vacuum(collection) => {
            let request = VacuumRequest { collection: collection.clone() };
            let done = session.patient_admin().vacuum(request).await?.into_inner();
            Ok(format!(
                "vacuumed `{collection}`: {} segments rewritten, {} dead points dropped, {} before, {} after",
                count(done.segments_rewritten),
                count(done.points_dropped),
                bytes(done.bytes_before),
                bytes(done.bytes_after)
            ))
        }
        Effect::TuneSearch { collection, ef_search } => {
            let request = ConfigureRequest { collection, ef_search: Some(ef_search), ef_construction: None };
            let config = session.admin().configure(request).await?.into_inner().config.unwrap_or_default();
            let ef_search = config.ef_search.map_or_else(|| "auto".to_owned(), |ef| ef.to_string());
            Ok(format!("ef_search of `{}` is {ef_search} now", config.name))
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
