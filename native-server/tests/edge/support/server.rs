//! A server in this process.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use hyperspace_core::error::Result;
use hyperspace_server::service::Server;
use hyperspace_server::settings::{Invocation, Settings, read};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::client::Client;
use super::http1::{self, Answer};

/// A server that answers until it is stopped, or dropped with its runtime.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) data: PathBuf,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Running {
    /// A server with an empty database and the default settings.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// A server with an empty database and some settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::on(tempfile::tempdir().unwrap(), change).await
    }

    /// A server on `data` in a folder that is there.
    pub(crate) async fn on(folder: TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let data = folder.path().join("data");
        let mut settings = settings(&data);
        settings.demo_dir = folder.path().join("demo");
        change(&mut settings);
        let server = Server::open(settings).await.unwrap();
        let address = server.address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.serve(async {
            // A sender that was dropped stops it as well.
            let _ = stopped.await;
        }));
        Self { address, data, folder, stop, task }
    }

    /// A client of the tenant without a name.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Answers a GET.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        http1::get(self.address, path).await
    }

    /// Stops it as a signal would; the folder stays.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        self.folder
    }

    /// Stops it and starts another one on the same folder.
    pub(crate) async fn restart(self) -> Self {
        Self::on(self.stop().await, |_| {}).await
    }
}

/// Settings for a test: a free port and this folder.
pub(crate) fn settings(data: &Path) -> Settings {
    Settings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), data_dir: data.to_owned(), ..Settings::default() }
}

/// Changes settings as a file would.
pub(crate) fn configure(settings: &mut Settings, file: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    std::fs::write(&path, file).unwrap();
    let words = ["hyperspace-server", "--config", path.to_str().unwrap()].map(OsString::from);
    let Ok(Invocation::Serve(read)) = read(words, []) else { panic!("{file} is refused") };
    *settings = Settings {
        listen: settings.listen,
        data_dir: settings.data_dir.clone(),
        demo_dir: settings.demo_dir.clone(),
        ..read
    };
}
