//! The server itself, killed at random moments under load: `kill -9`, and the polite signal now and then.
//!
//! A process that dies takes nothing with it that it told the system, so relaxed writes have to be there as well. What a
//! loss of power takes is tested in `crash`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

use hyperspace_core::types::{PointId, Tenant};
use hyperspace_server::database::{Database, State};
use hyperspace_server::proto;
use hyperspace_server::proto::admin_client::AdminClient;
use hyperspace_server::proto::collections_client::CollectionsClient;
use hyperspace_server::proto::points_client::PointsClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::lanes::{Lane, Points, Row, Step};
use crate::self_search::SelfSearches;
use crate::support::{DIMENSION, Random, effort, small};

const COLLECTION: &str = "c";

/// A running server, which dies with the test at the latest.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hyperspace-server"));
        command.args(["--listen", "127.0.0.1:0", "--log", "error", "--indexers", "2"]);
        // Everything small, so that seals, merges and new log files come often.
        command.args(["--memtable-limit-bytes", "8192", "--log-limit-bytes", "262144", "--log-file-bytes", "65536"]);
        command.arg("--data-dir").arg(data).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://"));
        Self { process, url: url.unwrap_or_else(|| panic!("the server said {line:?}")).to_owned() }
    }

    async fn connect(&self) -> Channel {
        Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A lane, and how far it got with this server; read from outside while it goes on.
struct Writer {
    lane: Lane,
    begun: AtomicUsize,
    answered: AtomicUsize,
}

/// From which step to which each lane may be.
type Expected = Vec<(usize, usize)>;

/// Writes until the server goes; the last step may have been done or not.
async fn write(
    lane: &mut Lane,
    (begun, answered): (&AtomicUsize, &AtomicUsize),
    channel: Channel,
    is_ending: &AtomicBool,
    progress: mpsc::Sender<()>,
) {
    let mut points = PointsClient::new(channel);
    loop {
        let step = lane.advance();
        let at = lane.steps();
        begun.store(at, Ordering::SeqCst);
        let durability = if at.is_multiple_of(2) { proto::Durability::Strict } else { proto::Durability::Relaxed };
        match send(lane, &step, &mut points, durability).await {
            Ok(()) => answered.store(at, Ordering::SeqCst),
            Err(_) if is_ending.load(Ordering::SeqCst) => return,
            Err(status) => panic!("lane {}, step {at}: {status}", lane.number),
        }
        // Nobody counts any more once the end has begun.
        let _ = progress.send(());
    }
}

async fn send(
    lane: &Lane,
    step: &Step,
    points: &mut PointsClient<Channel>,
    durability: proto::Durability,
) -> Result<(), Status> {
    let collection = COLLECTION.to_owned();
    let durability = durability.into();
    let metadata = |n: &i64| format!(r#"{{"lane":{},"n":{n}}}"#, lane.number);
    match step {
        Step::Upsert(rows) => {
            let bytes = rows.iter().flat_map(|(_, row)| row.vector.iter().flat_map(|x| x.to_le_bytes())).collect();
            let request = proto::UpsertRequest {
                collection,
                ids: rows.iter().map(|(id, _)| to_wire(id)).collect(),
                vectors: Some(proto::Vectors { rows: Some(proto::vectors::Rows::F32(bytes)) }),
                metadata: rows.iter().map(|(_, row)| metadata(&row.n)).collect(),
                durability,
            };
            points.upsert(request).await.map(drop)
        }
        Step::Delete(ids) => {
            let ids = proto::PointIds { ids: ids.iter().map(to_wire).collect() };
            let which = Some(proto::delete_request::Which::Ids(ids));
            points.delete(proto::DeleteRequest { collection, which, durability }).await.map(drop)
        }
        Step::DeleteWhere(n) => {
            let which = Some(proto::delete_request::Which::Filter(metadata(n)));
            points.delete(proto::DeleteRequest { collection, which, durability }).await.map(drop)
        }
        Step::SetMetadata(changes) => {
            let request = proto::SetMetadataRequest {
                collection,
                ids: changes.iter().map(|(id, _)| to_wire(id)).collect(),
                metadata: changes.iter().map(|(_, n)| metadata(n)).collect(),
                durability,
            };
            points.set_metadata(request).await.map(drop)
        }
        Step::CreateCollection | Step::DeleteCollection => unreachable!("these lanes share a collection"),
    }
}

fn to_wire(id: &PointId) -> proto::PointId {
    let id = match id {
        PointId::Int(number) => proto::point_id::Id::Number(*number),
        PointId::Str(text) => proto::point_id::Id::Text(text.to_string()),
    };
    proto::PointId { id: Some(id) }
}

fn from_wire(id: proto::PointId) -> PointId {
    match id.id.unwrap() {
        proto::point_id::Id::Number(number) => PointId::Int(number),
        proto::point_id::Id::Text(text) => PointId::string(&text).unwrap(),
    }
}

/// All points of a lane as the server scrolls through them.
async fn scroll(lane: &Lane, channel: &Channel) -> Points {
    let mut client = PointsClient::new(channel.clone());
    let mut found = Points::new();
    let mut cursor = prost::bytes::Bytes::new();
    loop {
        let request = proto::ScrollRequest {
            collection: COLLECTION.to_owned(),
            filter: format!(r#"{{"lane":{}}}"#, lane.number),
            limit: 500,
            cursor: cursor.into(),
            with_vector: true,
            with_metadata: None,
        };
        let page = client.scroll(request).await.unwrap().into_inner();
        for point in page.points {
            let vector = point.vector.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
            let metadata: serde_json::Value = serde_json::from_str(&point.metadata).unwrap();
            let row = Row { vector, n: metadata["n"].as_i64().unwrap() };
            assert!(found.insert(from_wire(point.id.unwrap()), row).is_none(), "a point is scrolled past once");
        }
        cursor = page.next_cursor.into();
        if cursor.is_empty() {
            return found;
        }
    }
}

/// Takes snapshots, vacuums, and makes and deletes collections until the server goes; tells which snapshots there are.
async fn manage(
    channel: Channel,
    writers: &[(&AtomicUsize, &AtomicUsize)],
    is_ending: &AtomicBool,
    mut random: Random,
) -> Vec<(PathBuf, Expected)> {
    let mut admin = AdminClient::new(channel.clone());
    let mut collections = CollectionsClient::new(channel);
    let mut taken = Vec::new();
    loop {
        let outcome = match random.below(4) {
            0 => {
                let from: Vec<_> = writers.iter().map(|(_, answered)| answered.load(Ordering::SeqCst)).collect();
                admin.snapshot(proto::SnapshotRequest {}).await.map(|report| {
                    let to = writers.iter().map(|(begun, _)| begun.load(Ordering::SeqCst));
                    taken.push((report.into_inner().path.into(), from.into_iter().zip(to).collect()));
                })
            }
            1 => admin.vacuum(proto::VacuumRequest { collection: COLLECTION.to_owned() }).await.map(drop),
            _ => {
                let name = "comes-and-goes".to_owned();
                match collections.delete(proto::DeleteCollectionRequest { name: name.clone() }).await {
                    Err(status) if status.code() == Code::NotFound => create(&mut collections, &name).await,
                    outcome => outcome.map(drop),
                }
            }
        };
        match outcome {
            Ok(()) => (),
            Err(_) if is_ending.load(Ordering::SeqCst) => return taken,
            Err(status) => panic!("{status}"),
        }
    }
}

async fn create(collections: &mut CollectionsClient<Channel>, name: &str) -> Result<(), Status> {
    let config = proto::CollectionConfig {
        name: name.to_owned(),
        dimension: DIMENSION as u64,
        metric: proto::Metric::L2.into(),
        ..proto::CollectionConfig::default()
    };
    collections.create(proto::CreateCollectionRequest { config: Some(config) }).await.map(drop)
}

/// Checks that a server has what it has to have, and has the lanes go on from there.
fn check_served(server: &Server, writers: &mut [Writer], what: &str) {
    let channel = server.connect();
    block_on(async {
        let channel = channel.await;
        for Writer { lane, begun, answered } in writers {
            let found = scroll(lane, &channel).await;
            let step = lane.check(Some(&found), *answered.get_mut(), *begun.get_mut());
            lane.go_on_from(step.unwrap_or_else(|wrong| panic!("{what}: {wrong}")));
            (*begun.get_mut(), *answered.get_mut()) = (0, 0);
        }
    });
}

/// Writes until so many steps were answered, then ends the server, politely or not; tells of the snapshots that were taken.
fn write_until_the_end(
    server: &mut Server,
    writers: &mut [Writer],
    is_polite: bool,
    random: &mut Random,
) -> Vec<(PathBuf, Expected)> {
    let is_ending = AtomicBool::new(false);
    let (answers, seed) = (20 + random.below(400), random.next());
    let (progress, progressed) = mpsc::channel();
    let taken = std::thread::scope(|scope| {
        let (server, is_ending) = (&*server, &is_ending);
        let mut positions = Vec::new();
        for Writer { lane, begun, answered } in writers {
            let (position, progress) = ((&*begun, &*answered), progress.clone());
            positions.push(position);
            scope.spawn(move || {
                block_on(async { write(lane, position, server.connect().await, is_ending, progress).await });
            });
        }
        let manager = scope.spawn(move || {
            block_on(async { manage(server.connect().await, &positions, is_ending, Random::new(seed)).await })
        });
        (0..answers).for_each(|_| progressed.recv().unwrap());
        is_ending.store(true, Ordering::SeqCst);
        server.signal(if is_polite { "TERM" } else { "KILL" });
        manager.join().unwrap()
    });
    let status = server.process.wait().unwrap();
    assert_eq!(status.success(), is_polite, "{status}");
    taken
}

/// Opens a directory in this process, compares it, and looks for every point.
fn check_opened(data: &Path, writers: &[Writer], expected: &Expected, searches: &mut SelfSearches, what: &str) {
    let database = Database::open(data, small(0)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(database.state(), State::Ready, "{what}");
    for (Writer { lane, .. }, &(from, to)) in writers.iter().zip(expected) {
        lane.check(lane.find(&database).as_ref(), from, to).unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
    }
    searches.run(&database.collection(&Tenant::local(), COLLECTION).unwrap(), what);
    database.close().unwrap();
}

/// Copies a folder with all it holds, snapshots aside.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap).filter(|entry| entry.file_name() != "snapshots") {
        let target = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_server_that_is_killed_again_and_again_loses_nothing_and_brings_nothing_back() {
    const SEED: u64 = 9;
    println!("seed {SEED}");
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut random = Random::new(SEED);
    let lane = |number| Lane::new(number, Tenant::local(), COLLECTION, false, SEED).with_points(800, 50);
    let mut writers: Vec<Writer> =
        (0..4).map(|number| Writer { lane: lane(number), begun: 0.into(), answered: 0.into() }).collect();
    let mut searches = SelfSearches::default();
    let (wanted, mut kills, mut round) = (effort(50, 2_000, 10_000), 0, 0);
    while kills < wanted {
        let what = format!("round {round}");
        let mut server = Server::start(&data);
        if round == 0 {
            block_on(async { create(&mut CollectionsClient::new(server.connect().await), COLLECTION).await }).unwrap();
        }
        check_served(&server, &mut writers, &what);
        let is_polite = random.one_in(4);
        let taken = write_until_the_end(&mut server, &mut writers, is_polite, &mut random);
        kills += usize::from(!is_polite);
        if let Some((path, expected)) = taken.last() {
            check_opened(path, &writers, expected, &mut searches, &format!("{what}, its last snapshot"));
        }
        for (path, _) in taken {
            std::fs::remove_dir_all(path).unwrap();
        }
        if round % 5 == 0 {
            let copied = folder.path().join("copy");
            copy(&data, &copied);
            let ends = writers.iter_mut().map(|writer| (*writer.answered.get_mut(), *writer.begun.get_mut()));
            let ends = ends.collect();
            check_opened(&copied, &writers, &ends, &mut searches, &what);
            std::fs::remove_dir_all(copied).unwrap();
        }
        round += 1;
    }
    println!("real kills: {kills}, polite ends: {}", round - kills);
    check_served(&Server::start(&data), &mut writers, "at the end");
    searches.finish(100);
}
