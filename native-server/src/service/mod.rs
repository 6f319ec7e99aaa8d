//! The server's edge: everything between a socket and the database.
//!
//! `router` draws the way of a request; `handlers` is what all rpcs have in common; `convert` is where messages become
//! the engine's types. Knows nothing of files, logs or graphs: it calls the database that a [`Keeper`] has, and answers.

mod access;
mod admin;
mod collections;
mod connections;
mod convert;
mod demo;
mod follow;
mod forget;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod handlers;
mod health;
mod http;
mod keys;
mod latency;
mod lead;
mod limits;
mod log;
mod metrics;
mod monitor;
mod peers;
mod points;
mod pull;
mod recall;
mod recount;
mod reopen;
mod router;
mod scroll;
mod search;
mod segments;
mod shares;
#[cfg(feature = "mutations")]
#[doc(hidden)]
pub mod simulation;
mod slots;
mod status;
mod stream;
mod sync;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tls;
mod work;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperspace_core::error::{Error, Result};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::service::Routes;
use tonic::transport::Server as Transport;
use tonic_health::server::health_reporter;
use tracing::{info, warn};

pub use self::http::paths;
use crate::auth::Keyring;
use crate::database::Keeper;
use crate::settings::{Secret, Settings};
use handlers::Handlers;
use peers::Peers;
use tls::Tls;
use work::block;

/// Requests of one connection at once.
const MOST_STREAMS: u32 = 32;
/// Streams that a client may open and reset before it is shown the door (CVE-2023-44487).
const MOST_PENDING_RESETS: usize = 20;
/// How often a silent HTTP/2 client is asked whether it is still there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// How long requests under way may take when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A server that has its port and its database, and answers once [`Server::serve`] is called.
pub struct Server {
    listener: TcpListener,
    keeper: Arc<Keeper>,
    keyring: Arc<Keyring>,
    peers: Arc<Peers>,
    settings: Settings,
    tls: Option<Arc<Tls>>,
}

impl Server {
    /// Takes the port, opens the database and reads its keys.
    ///
    /// # Errors
    /// `Unavailable` when the port cannot be had; `InvalidArgument` for a certificate that cannot be used, and when strangers
    /// could reach a server without keys; `Corrupted` when the keys are damaged; those of [`Keeper::open`].
    pub async fn open(settings: Settings) -> Result<Self> {
        let tls = Tls::open(&settings)?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener =
            listener.map_err(|error| Error::unavailable(format!("cannot listen on {}: {error}", settings.listen)))?;
        let (folder, options) = (settings.data_dir.clone(), settings.database_options());
        let since = Instant::now();
        let administrator = settings.admin_api_key.clone();
        let chosen = settings.clone();
        let (keeper, keyring, peers) = block(move || {
            let keeper = Arc::new(Keeper::open(&folder, options)?);
            let keys = Keyring::open(Arc::clone(&keeper), administrator.as_ref().map(Secret::reveal));
            match keys.and_then(|keys| Ok((keys, Peers::open(Arc::clone(&keeper), &chosen)?))) {
                Ok((keyring, peers)) => Ok((keeper, Arc::new(keyring), Arc::new(peers))),
                Err(error) => {
                    // Whoever reads the reason may open the directory again.
                    let _ = keeper.close();
                    Err(error)
                }
            }
        })
        .await?;
        if settings.is_for_strangers() && keyring.is_open() {
            block(move || keeper.close()).await?;
            return Err(Error::invalid_argument(format!(
                "{} can be reached from other machines, and without keys whoever reaches it may do everything: set \
                 HYPERSPACE_ADMIN_API_KEY, make a key while it listens on 127.0.0.1, or say --insecure",
                settings.listen
            )));
        }
        info!("the database was opened in {} ms", since.elapsed().as_millis());
        Ok(Self { listener, keeper, keyring, peers, settings, tls })
    }

    /// The address that it listens on; tells which port was taken for port 0.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|error| Error::internal(format!("a listener without an address: {error}")))
    }

    /// Answers until `stop` is done; then finishes what is under way, for a while, and closes the database.
    ///
    /// # Errors
    /// `Internal` when the transport fails, and those of [`Keeper::close`].
    pub async fn serve(self, stop: impl Future<Output = ()> + Send) -> Result<()> {
        let Self { listener, keeper, keyring, peers, settings, tls } = self;
        let (stopping, is_stopping) = watch::channel(false);
        let (reporter, health_server) = health_reporter();
        let handlers = Handlers::new(Arc::clone(&keeper), keyring, peers, is_stopping.clone());
        let following = tokio::spawn(follow::run(handlers.clone(), settings.clone()));
        let recounting = tokio::spawn(recount::run(handlers.clone()));
        let forgetting = tokio::spawn(forget::run(handlers.clone()));
        let routes = router::router(handlers, health_server, &settings)?;
        let state = keeper.database().state();
        health::report(&reporter, &state).await;
        let pulse = tokio::spawn(health::follow(reporter, state, Arc::clone(&keeper), is_stopping.clone()));
        let certificate = tls.clone().map(|tls| tokio::spawn(tls::follow(tls, is_stopping.clone())));
        let reopening = tokio::spawn(reopen::follow(Arc::clone(&keeper), is_stopping.clone()));
        let transport = Transport::builder()
            .accept_http1(true)
            .max_concurrent_streams(MOST_STREAMS)
            .http2_max_pending_accept_reset_streams(Some(MOST_PENDING_RESETS))
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_routes(Routes::from(routes))
            .serve_with_incoming_shutdown(connections::accept(listener, tls), until(is_stopping));
        let mut transport = pin!(transport);
        let outcome = tokio::select! {
            outcome = &mut transport => outcome,
            () = stop => {
                info!("stopping: no new connections, requests under way are finished");
                stopping.send_replace(true);
                timeout(DRAIN, transport).await.unwrap_or_else(|_| {
                    warn!("requests under way were given up after {} s", DRAIN.as_secs());
                    Ok(())
                })
            }
        };
        stopping.send_replace(true);
        let _ = pulse.await;
        let _ = reopening.await;
        if let Some(certificate) = certificate {
            let _ = certificate.await;
        }
        let _ = following.await;
        let _ = recounting.await;
        let _ = forgetting.await;
        block(move || keeper.close()).await?;
        outcome.map_err(|error| Error::internal(format!("the transport failed: {error}")))
    }
}

/// Waits until the server stops, or is dropped.
async fn until(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
