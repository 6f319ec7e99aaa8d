//! After a failure the database is opened again, without an end of the process: at once when there was none for long, then
//! ever less often, and never at the same moments as other servers on the same storage.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::until;
use super::work::block;
use crate::database::Keeper;

/// The pause before the first try.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest pause; a failure after as long without one is the first one again.
const LONGEST: Duration = Duration::from_secs(30);

/// Opens the database again whenever it has failed, until the server stops.
pub(super) async fn follow(keeper: Arc<Keeper>, stopping: watch::Receiver<bool>) {
    let mut stopping = pin!(until(stopping));
    let mut pause = SHORTEST;
    let mut last = Instant::now();
    loop {
        tokio::select! {
            () = &mut stopping => return,
            () = keeper.failed() => {}
        }
        if last.elapsed() > LONGEST {
            pause = SHORTEST;
        }
        tokio::select! {
            () = &mut stopping => return,
            () = sleep(jittered(pause, getrandom::u32().unwrap_or(0))) => {}
        }
        pause = (pause * 2).min(LONGEST);
        let of = Arc::clone(&keeper);
        match block(move || of.reopen()).await {
            Ok(()) => info!("the database was opened again and accepts writes"),
            Err(error) => warn!(%error, "the database could not be opened again yet"),
        }
        last = Instant::now();
    }
}

/// Between a half and the whole of a pause.
pub(super) fn jittered(pause: Duration, random: u32) -> Duration {
    pause.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn_with_state;
    use http::{Request, StatusCode};
    use hyperspace_core::collection::{CollectionConfig, UpsertBatch, Vectors};
    use hyperspace_core::error::ErrorKind;
    use hyperspace_core::metric::Metric;
    use hyperspace_core::types::{PointId, Tenant};
    use tower::ServiceExt as _;

    use crate::auth::Keyring;
    use crate::database::{Database, DatabaseOptions};
    use crate::disk::{Disk, LocalDisk};
    use crate::service::handlers::Handlers;
    use crate::service::http::routes;
    use crate::service::limits::{self, Limits};
    use crate::service::peers::Peers;
    use crate::service::testing::HookedDisk;
    use crate::settings::Settings;

    fn upsert(database: &Database, id: u64) -> hyperspace_core::error::Result<()> {
        let collection = database.collection(&Tenant::local(), "c")?;
        let batch = UpsertBatch { ids: &[PointId::Int(id)], vectors: Vectors::F32(&[0.5]), metadata: &[] };
        database.upsert(&collection, &batch, None)?.wait_blocking().map(drop)
    }

    async fn get(handlers: &Handlers, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let settings = Settings::default();
        let limits = Limits::new(&settings);
        let bounded = from_fn_with_state(Arc::clone(&limits), limits::bound);
        let routes = routes(handlers.clone(), limits, &settings).layer(bounded);
        let answer = routes.oneshot(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        (parts.status, String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_goes_on_by_itself_after_failed_syncs_and_says_so_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _lock) = LocalDisk::open(folder.path()).unwrap();
        let left = Arc::new(AtomicU64::new(0));
        let failing = Arc::clone(&left);
        let disk = HookedDisk::new(disk, move |file| {
            let is_log = file.starts_with("log");
            let fails =
                is_log && failing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            if fails { Err(io::Error::other("on purpose")) } else { Ok(()) }
        });
        let keeper = Arc::new(Keeper::open_on(Arc::new(disk) as Arc<dyn Disk>, DatabaseOptions::default()).unwrap());
        keeper.database().create(&Tenant::local(), CollectionConfig::new("c", 1, Metric::L2).unwrap()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let keyring = Arc::new(Keyring::open(Arc::clone(&keeper), None).unwrap());
        let peers = Arc::new(Peers::open(Arc::clone(&keeper), &Settings::default()).unwrap());
        let handlers = Handlers::new(Arc::clone(&keeper), keyring, peers, stopping.clone());
        let following = tokio::spawn(follow(Arc::clone(&keeper), stopping));
        let write = |id| {
            let keeper = Arc::clone(&keeper);
            block(move || upsert(&keeper.database(), id))
        };
        write(1).await.unwrap();
        assert_eq!(get(&handlers, "/readyz").await.0, StatusCode::OK);

        left.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(write(2).await.unwrap_err().kind(), ErrorKind::Unavailable);
        // However often it is tried, it does not get better yet.
        while left.load(Ordering::Relaxed) > u64::MAX - 3 {
            let (code, text) = get(&handlers, "/readyz").await;
            assert!(code == StatusCode::SERVICE_UNAVAILABLE && text.contains("syncing log/"), "{code} {text}");
            assert_eq!(write(3).await.unwrap_err().kind(), ErrorKind::Unavailable);
            let collection = keeper.database().collection(&Tenant::local(), "c").unwrap();
            assert!(collection.snapshot().get(&PointId::Int(1)).is_some(), "searches go on");
        }
        left.store(0, Ordering::Relaxed);
        while get(&handlers, "/readyz").await.0 != StatusCode::OK {
            tokio::task::yield_now().await;
        }
        write(4).await.unwrap();
        let figures = get(&handlers, "/metrics").await.1;
        for line in ["hyperspace_reopenings_total 1", "hyperspace_writable 1", "hyperspace_points_written_total 2"] {
            assert!(figures.lines().any(|found| found == line), "{line:?} is not in\n{figures}");
        }
        assert!(
            keeper.database().collection(&Tenant::local(), "c").unwrap().snapshot().get(&PointId::Int(4)).is_some()
        );
        stop.send_replace(true);
        following.await.unwrap();
        block(move || keeper.close()).await.unwrap();
    }

    #[test]
    fn pauses_differ_by_up_to_a_half() {
        let pauses = [0, u32::MAX / 2, u32::MAX].map(|random| jittered(LONGEST, random).as_secs());
        assert_eq!(pauses, [15, 22, 30]);
    }
}
