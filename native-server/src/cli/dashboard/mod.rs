//! Mission Control: a server on one screen, live.
//!
//! Three parts that do not know each other's matter: `model` is what is known and what keys and news make of it, without
//! a terminal, a network or a clock; `view` draws that and changes nothing; `terminal`, `link` and the loop here carry
//! news in and effects out. Invariants: no figure is shown that a server did not send, and the terminal is given back
//! whichever way the program ends.

mod history;
mod keys;
mod link;
mod model;
mod terminal;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::iter::{from_fn, once};
use std::pin::pin;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::model::Dashboard;
use self::terminal::Screen;
use super::args::Connection;
use super::connect::Session;
use super::failure::{Failure, Outcome};
use super::output::Console;

/// News that wait to be drawn.
const MOST_WAITING: usize = 256;

/// Shows the server until the user has seen enough.
pub(crate) async fn dashboard(connection: &Connection, console: &Console<'_>) -> Outcome<()> {
    if console.json || !console.terminals.out || !console.terminals.input {
        return Err(Failure::usage(
            "Mission Control needs a terminal to draw on and to read keys from; elsewhere `hyperspace-cli stats` shows \
             the figures (with --watch again and again, with --json for machines)",
        ));
    }
    let session = Arc::new(Session::open(connection).await?);
    // Who may not watch is told before the screen is taken.
    let stream = link::watch(&session).await?;
    let (sender, mut news) = mpsc::channel(MOST_WAITING);
    let mut ends = ends()?;
    let mut dashboard = Dashboard::new(session.server());
    let mut screen = Screen::take(sender.clone())?;
    let mut following = pin!(link::follow(Arc::clone(&session), stream, sender.clone()));
    loop {
        screen.draw(|frame| view::draw(frame, &dashboard))?;
        let message = tokio::select! {
            message = news.recv() => message,
            () = &mut following => None,
            () = any(&mut ends) => None,
        };
        let Some(message) = message else { return Ok(()) };
        // What came meanwhile is drawn once.
        for message in once(message).chain(from_fn(|| news.try_recv().ok())) {
            if let Some(effect) = dashboard.handle(message) {
                tokio::spawn(link::carry_out(Arc::clone(&session), effect, sender.clone()));
            }
        }
        if dashboard.has_ended {
            return Ok(());
        }
    }
}

/// The signals that end the program.
fn ends() -> io::Result<[Signal; 3]> {
    Ok([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?])
}

async fn any([first, second, third]: &mut [Signal; 3]) {
    tokio::select! {
        _ = first.recv() => {}
        _ = second.recv() => {}
        _ = third.recv() => {}
    }
}
