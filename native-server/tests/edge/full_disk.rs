//! A disk that is really full: a small tmpfs in a private mount namespace, filled while points are written.
//!
//! The server says so, goes on answering searches, and takes writes again by itself as soon as there is space; a kill at
//! any of these moments takes nothing that was acknowledged.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{Metric, VacuumRequest};
use tempfile::TempDir;

use crate::support::client::{Client, as_number, batch, nearest, numbers};
use crate::support::http1::get;
use crate::support::program::{Program, SERVER, command};
use crate::support::random::Random;
use crate::support::refusal::{kind_of, refused};
use crate::support::{skip, until};

const DIMENSION: usize = 16;
/// Points of a batch.
const BATCH: u64 = 200;

/// A file system of 12 MiB that is there as long as this is.
struct SmallDisk {
    folder: TempDir,
    /// Keeps the namespace; ends when its input does, and so with this process at the latest.
    holder: Child,
}

impl SmallDisk {
    /// Nothing where that is not permitted: the calling test is recorded as skipped and has to return.
    fn mount() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            skip("a file system of its own for a test: needs Linux");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let script = "mount -t tmpfs -o size=12m small \"$0\" && echo mounted && exec cat";
        let mut unshare = Command::new("unshare");
        unshare.args(["-rm", "sh", "-c", script]).arg(folder.path());
        let holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut holder) = holder else {
            skip("a file system of its own for a test: there is no `unshare`");
            return None;
        };
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let disk = Self { folder, holder };
        if line != "mounted\n" {
            skip("a file system of its own for a test: `unshare -rm` and mounting a tmpfs is not permitted");
            return None;
        }
        Some(disk)
    }

    /// Where something in it is for this process, which has not mounted it.
    fn path(&self, name: &str) -> PathBuf {
        let inside = self.folder.path().strip_prefix("/").unwrap();
        Path::new(&format!("/proc/{}/root", self.holder.id())).join(inside).join(name)
    }

    /// Fills it up, but for some bytes.
    fn fill(&self, all_but: u64) {
        let mut ballast = OpenOptions::new().create(true).append(true).open(self.path("ballast")).unwrap();
        while ballast.write_all(&[0; 4096]).is_ok() {}
        let len = ballast.metadata().unwrap().len();
        ballast.set_len(len.checked_sub(all_but).expect("there is ballast to throw off")).unwrap();
    }

    fn free(&self) {
        std::fs::remove_file(self.path("ballast")).unwrap();
    }

    /// A server on it, whose warnings go into a file outside.
    fn start(&self) -> Program {
        let data = self.folder.path().join("data");
        let holder = self.holder.id().to_string();
        let inside = ["-t", &holder, "-U", "-m", "--preserve-credentials", "--", SERVER];
        let settings = ["--listen", "127.0.0.1:0", "--log", "warn", "--data-dir", data.to_str().unwrap()];
        let mut server = command("nsenter", self.folder.path(), &[&inside[..], &settings].concat());
        let told = OpenOptions::new().create(true).append(true).open(self.told_file()).unwrap();
        Program::listening(server.stderr(told))
    }

    /// Beside the mounted directory's content: hidden from the server, seen from here.
    fn told_file(&self) -> PathBuf {
        self.folder.path().join("told")
    }

    /// How often the server has warned of something since its first start.
    fn warnings(&self, of: [&str; 2]) -> usize {
        let told = BufReader::new(File::open(self.told_file()).unwrap());
        let lines = told.lines().map(Result::unwrap);
        lines.filter(|line| of.iter().all(|word| line.contains(word))).count()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// What was acknowledged.
#[derive(Default)]
struct Written {
    ids: BTreeSet<u64>,
    next: u64,
}

impl Written {
    /// Writes a batch; one that the disk has no room for is not there.
    async fn write(&mut self, client: &Client) -> Result<(), tonic::Status> {
        let ids = self.next..self.next + BATCH;
        let rows = Random::new(self.next).rows(BATCH as usize, DIMENSION);
        client.points().upsert(batch("c", numbers(ids.clone()), &rows)).await?;
        self.ids.extend(ids);
        self.next += BATCH;
        Ok(())
    }

    /// Checks that exactly this is there, and is found.
    async fn check(&self, client: &Client) {
        let points = client.scroll("c", 10_000).await;
        let there: BTreeSet<u64> = points.iter().map(|point| as_number(point.id.as_ref())).collect();
        let (missing, more) = (self.ids.difference(&there).count(), there.difference(&self.ids).count());
        assert_eq!((missing, more), (0, 0), "missing and more, of {}", self.ids.len());
        let sought = *self.ids.last().unwrap();
        let row = Random::new(sought - sought % BATCH).rows(BATCH as usize, DIMENSION);
        let at = (sought % BATCH) as usize * DIMENSION;
        let hits = client.search(nearest("c", &row[at..at + DIMENSION], 1)).await.hits;
        assert_eq!((as_number(hits[0].id.as_ref()), hits[0].distance), (sought, 0.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fills_the_disk_refuses_writes_until_there_is_space_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = disk.start();
    let client = server.client().await;
    client.create("c", DIMENSION as u64, Metric::L2).await;
    let mut written = Written::default();
    written.write(&client).await.unwrap();
    disk.fill(600 << 10);
    let full = loop {
        if let Err(status) = written.write(&client).await {
            break status;
        }
    };
    for status in [full, written.write(&client).await.unwrap_err()] {
        assert_eq!(kind_of(&status), ErrorKind::LimitExceeded, "{status:?}");
        assert!(status.message().contains("the disk is full"), "{status:?}");
    }
    assert!(written.ids.len() > 3_000, "{} points fit", written.ids.len());
    written.check(&client).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(server.address, path).await.code, 200, "{path}: being full is no damage");
    }
    disk.free();
    written.write(&client).await.unwrap();

    // Killed while it is full, and started on a disk that is.
    disk.fill(0);
    while written.write(&client).await.is_ok() {}
    drop((client, server));
    let server = disk.start();
    let client = server.client().await;
    written.check(&client).await;
    let status = written.write(&client).await.unwrap_err();
    assert!(status.message().contains("the disk is full"), "{status:?}");
    assert_eq!(get(server.address, "/readyz").await.code, 503);
    disk.free();
    until("writes are accepted", async || get(server.address, "/readyz").await.code == 200).await;
    written.write(&client).await.unwrap();
    drop((client, server));
    written.check(&disk.start().client().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seal_or_a_vacuum_that_finds_no_space_waits_for_it_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let server = disk.start();
    let client = server.client().await;
    client.create("c", DIMENSION as u64, Metric::L2).await;
    let mut written = Written::default();
    while written.next < 16_000 {
        written.write(&client).await.unwrap();
    }
    // The memtable is sealed at 16 384 points, for which this is too little.
    disk.fill(2 << 20);
    let failed = || disk.warnings(["background work failed", "the disk is full"]);
    while written.next < 17_000 {
        // The segment that does not fit takes the log's space, too, until it is given up.
        if let Err(status) = written.write(&client).await {
            assert_eq!(kind_of(&status), ErrorKind::LimitExceeded, "{status:?}");
        }
    }
    until("a seal has found no space", async || failed() > 0).await;
    written.check(&client).await;
    assert_eq!(client.stats_of("c").await.segments, 0);
    disk.free();
    until("it is sealed", async || client.stats_of("c").await.segments == 1).await;
    written.check(&client).await;
    client.indexed("c").await;

    disk.fill(512 << 10);
    for first in (0..9_000).step_by(1_000) {
        client.delete("c", numbers(first..first + 1_000)).await;
        written.ids.retain(|id| !(first..first + 1_000).contains(id));
    }
    let vacuum = VacuumRequest { collection: "c".into() };
    let no_space = client.admin().vacuum(vacuum.clone()).await;
    refused("a vacuum without space", no_space, ErrorKind::LimitExceeded, "the disk is full");
    written.check(&client).await;
    drop((client, server));
    disk.free();
    let server = disk.start();
    let client = server.client().await;
    written.check(&client).await;
    client.vacuum("c").await;
    let stats = client.stats_of("c").await;
    assert_eq!((stats.points, stats.dead), (written.ids.len() as u64, 0));
    drop((client, server));
    written.check(&disk.start().client().await).await;
}
