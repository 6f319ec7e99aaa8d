//! The class that the worker drives.
//!
//! A collection is named by its space, the number that it has in the store: it means the same to the next engine, which
//! another tab may run. Before a collection is used in an engine, it is reached there once. A change may carry its
//! request, `[tab, n, since]`, which makes it safe to ask for it again.
//!
//! Nothing is borrowed across an await.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyperspace_core::collection::{CollectionConfig, Plan, SearchRequest, UpsertBatch, Vectors};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::RequestId;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::quant::Quantization;
use hyperspace_core::types::{Lsn, SpaceId, Tenant};
use js_sys::{Array, Float32Array, Float64Array, Function, JsString, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::builder;
use super::convert::{
    describe, flag, from_id, from_value, js_error, object, optional_u32, property, text, to_filter, to_id, to_ids,
    to_metadata,
};
use super::environment::JsEnvironment;
use super::reports::{CollectionReply, CollectionSummary, Progress, Storage, report, stats};
use super::store::AnyStore;
use crate::host::sync::Refused;
use crate::host::{Asked, Database, Environment, OpenCollection};
use crate::kv::{Durability, IndexedDb, MemoryKv};

const DEFAULT_TOP_K: u32 = 10;

/// One open database.
#[wasm_bindgen]
pub struct Engine {
    database: Rc<Database<AnyStore>>,
}

type JsResult<T> = std::result::Result<T, JsValue>;
type Work = Pin<Box<dyn Future<Output = Result<JsValue>>>>;

/// Runs work to its end, whoever waits for it. Boxed, so that this is compiled once and not for every method.
fn promise(work: impl Future<Output = Result<JsValue>> + 'static) -> Promise {
    fn run(work: Work) -> Promise {
        wasm_bindgen_futures::future_to_promise(async move { cross(work.await) })
    }
    run(Box::pin(work))
}

/// Calls a function of the host and waits for what it promises.
async fn ask(function: &Function, argument: &JsValue) -> Result<JsValue> {
    let failed = |_| Error::unavailable("the archive cannot be read or written");
    let promise = function.call1(&JsValue::UNDEFINED, argument).map_err(failed)?;
    JsFuture::from(Promise::from(promise)).await.map_err(failed)
}

fn cross<T>(result: Result<T>) -> JsResult<T> {
    result.map_err(|error| js_error(&error))
}

#[wasm_bindgen]
impl Engine {
    /// Opens a database: `storage` is `indexeddb` or `memory`, `durability` the default of its writes; `on_failure` is
    /// called with the error when the store takes no writes any more, is lost, or has damaged rows; `on_change` with the
    /// space of a collection and 0 when own writes were published, or how many points at most a server has changed.
    pub fn open(
        name: &JsString,
        storage: &JsString,
        durability: &JsString,
        on_failure: Function,
        on_change: JsValue,
    ) -> Promise {
        let environment = JsEnvironment { on_failure, on_change: on_change.dyn_into().ok() };
        let (name, storage, durability) = (text(name), text(storage), parse_durability(durability));
        promise(async move { Self::open_store(&name, &storage, durability?, environment).await.map(JsValue::from) })
    }

    async fn open_store(name: &str, storage: &str, durability: Durability, environment: JsEnvironment) -> Result<Self> {
        let store = match storage {
            "indexeddb" => {
                let listener = environment.clone();
                let on_lost = move |error: &Error| listener.report(error);
                AnyStore::IndexedDb(IndexedDb::open(&format!("hyperspace:{name}"), on_lost).await?)
            }
            "memory" => AnyStore::Memory(MemoryKv::new()),
            other => return Err(Error::invalid_argument(format!("storage is `indexeddb` or `memory`, not `{other}`"))),
        };
        // A tab serves whoever uses the origin; the browser keeps origins apart.
        let tenant = Tenant::local();
        let database = Rc::new(Database::open(&tenant, store, Rc::new(environment), durability).await?);
        Ok(Self { database })
    }

    /// `indexeddb` or `memory`.
    pub fn backend(&self) -> JsString {
        self.database.backend().as_str().into()
    }

    /// Which opening of the database this is: higher than any before it.
    pub fn epoch(&self) -> f64 {
        self.database.epoch()
    }

    /// Says which tabs live; see `Database::keep_tabs`.
    #[wasm_bindgen(js_name = keepTabs)]
    pub fn keep_tabs(&self, tabs: &Float64Array) {
        let tabs: Vec<u64> = tabs.to_vec().into_iter().map(whole).collect();
        self.database.keep_tabs(tabs);
    }

    /// Opens a collection, or creates it when options are given: `{ space, dimension, metric }`.
    pub fn collection(&self, name: &JsString, options: JsValue) -> Promise {
        let (database, name) = (Rc::clone(&self.database), text(name));
        promise(async move {
            let collection = if options.is_undefined() || options.is_null() {
                database.collection(&name).await?
            } else {
                let (config, quantization) = parse_config(&name, &options)?;
                database.collection_as(config, quantization).await?
            };
            let snapshot = collection.snapshot();
            let config = snapshot.config();
            let (dimension, metric) = (config.dimension, config.metric.as_str());
            report(&CollectionReply { space: collection.space().0, dimension, metric })
        })
    }

    /// Makes the collection of this name and space ready for use.
    pub fn reach(&self, name: &JsString, space: f64) -> Promise {
        let (database, name) = (Rc::clone(&self.database), text(name));
        promise(async move { database.reach(&name, SpaceId(whole(space))).await.map(|()| JsValue::UNDEFINED) })
    }

    /// Every collection that can be read, with its count; a damaged one is reported and left out.
    pub fn collections(&self) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move {
            let mut list = Vec::new();
            for name in database.names() {
                match database.collection(&name).await {
                    Ok(collection) => list.push(CollectionSummary::of(&collection.snapshot())),
                    Err(error) if error.kind() == ErrorKind::Corrupted => database.report(&error),
                    Err(error) => return Err(error),
                }
            }
            report(&list)
        })
    }

    /// Writes an archive of all collections: `take` is given its pieces, and answers a promise for the next one.
    #[wasm_bindgen(js_name = writeArchive)]
    pub fn write_archive(&self, take: Function) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move {
            let take = async |piece: Vec<u8>| {
                let piece = Uint8Array::from(piece.as_slice());
                ask(&take, &piece).await.map(drop)
            };
            database.write_archive(take).await.map(|()| JsValue::UNDEFINED)
        })
    }

    /// Makes the collections of an archive and lists them: `next` is given a number of bytes, and answers a promise for
    /// an `ArrayBuffer` of so many, or fewer where the archive ends.
    #[wasm_bindgen(js_name = readArchive)]
    pub fn read_archive(&self, next: Function) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move {
            let next = async |wanted: usize| {
                let bytes = ask(&next, &JsValue::from_f64(wanted as f64)).await?;
                Ok(Uint8Array::new(&bytes).to_vec())
            };
            let made = database.read_archive(next).await?;
            report(&made.iter().map(|collection| CollectionSummary::of(&collection.snapshot())).collect::<Vec<_>>())
        })
    }

    /// Deletes a collection; false when there is none.
    #[wasm_bindgen(js_name = deleteCollection)]
    pub fn delete_collection(&self, name: &JsString, request: &JsValue) -> Promise {
        let (database, name, asked) = (Rc::clone(&self.database), text(name), to_asked(request));
        promise(async move { database.delete_collection(&name, asked).await.map(JsValue::from) })
    }

    /// Writes points; answers the log's number.
    pub fn upsert(
        &self,
        space: f64,
        ids: Array,
        vectors: JsValue,
        metadata: JsValue,
        durability: JsValue,
        request: &JsValue,
    ) -> Promise {
        let (database, collection, asked) = (Rc::clone(&self.database), self.at(space), to_asked(request));
        promise(async move {
            let (collection, durability) = (collection?, parse_optional_durability(&durability)?);
            let (ids, metadata, vectors) = (to_ids(&ids)?, to_metadata(&metadata)?, OwnedVectors::from_js(&vectors)?);
            let batch = UpsertBatch { ids: &ids, vectors: vectors.view(), metadata: &metadata };
            Ok(database.upsert(&collection, &batch, durability, asked).await?.0.into())
        })
    }

    /// Deletes points by id: `{ deleted, lsn }`.
    pub fn delete(&self, space: f64, ids: Array, durability: JsValue, request: &JsValue) -> Promise {
        let (database, collection, asked) = (Rc::clone(&self.database), self.at(space), to_asked(request));
        promise(async move {
            let (collection, durability) = (collection?, parse_optional_durability(&durability)?);
            database.delete(&collection, &to_ids(&ids)?, durability, asked).await.map(deleted)
        })
    }

    /// Deletes the points that match: `{ deleted, lsn }`.
    #[wasm_bindgen(js_name = deleteWhere)]
    pub fn delete_where(&self, space: f64, filter: JsValue, durability: JsValue, request: &JsValue) -> Promise {
        let (database, collection, asked) = (Rc::clone(&self.database), self.at(space), to_asked(request));
        promise(async move {
            let (collection, durability) = (collection?, parse_optional_durability(&durability)?);
            database.delete_where(&collection, &to_filter(&filter)?, durability, asked).await.map(deleted)
        })
    }

    /// Points by id, in columns: `{ found, metadata, vectors }`.
    pub fn get(&self, space: f64, ids: &Array) -> JsResult<JsValue> {
        let snapshot = cross(self.at(space))?.snapshot();
        let (found, metadata, mut vectors) = (Array::new(), Array::new(), Vec::new());
        for id in ids.iter() {
            let Some(point) = snapshot.get(&cross(to_id(&id))?) else {
                found.push(&JsValue::UNDEFINED);
                continue;
            };
            found.push(&from_id(&point.id));
            metadata.push(&from_value(&point.metadata.to_value()));
            vectors.extend_from_slice(&point.vector);
        }
        let vectors = Float32Array::from(vectors.as_slice());
        Ok(object(&[("found", found.into()), ("metadata", metadata.into()), ("vectors", vectors.into())]))
    }

    /// Searches, in columns: `{ ids, distances, metadata?, vectors? }`.
    pub fn search(&self, space: f64, vector: &JsValue, options: &JsValue) -> JsResult<JsValue> {
        cross(self.at(space).and_then(|collection| search(&collection, vector, options)))
    }

    /// How many points match.
    pub fn count(&self, space: f64, filter: &JsValue) -> JsResult<f64> {
        let collection = cross(self.at(space))?;
        let filter = cross(to_filter(filter))?;
        Ok(collection.snapshot().count(&filter) as f64)
    }

    /// What the collection consists of.
    pub fn stats(&self, space: f64) -> JsResult<JsValue> {
        cross(self.at(space).and_then(|collection| report(&stats(&collection))))
    }

    /// Asks for everything written so far to be sealed; answers up to which number that is.
    #[wasm_bindgen(js_name = requestSeal)]
    pub fn request_seal(&self, space: f64) -> JsResult<f64> {
        Ok(cross(self.at(space))?.request_seal().0 as f64)
    }

    /// Up to which number everything is sealed.
    #[wasm_bindgen(js_name = sealedThrough)]
    pub fn sealed_through(&self, space: f64) -> JsResult<f64> {
        Ok(cross(self.at(space))?.sealed_through().0 as f64)
    }

    /// Works in the background for about so many milliseconds; says whether there is more to do.
    pub fn work(&self, budget_ms: f64) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move { database.work(budget_ms).await.map(JsValue::from) })
    }

    /// Says whether there is a builder to lend jobs to.
    pub fn lend(&self, lends: bool) {
        self.database.lend(lends);
    }

    /// The rows of a job for a builder, once.
    pub fn lent(&self) -> Option<Uint8Array> {
        self.database.lent().map(|rows| Uint8Array::from(rows.as_ref()))
    }

    /// Takes what a builder says: how much it has left, what it has made, or anything else when it failed.
    #[wasm_bindgen(js_name = givenBack)]
    pub fn given_back(&self, said: &JsValue) {
        match said.as_f64() {
            Some(left) => self.database.left(whole(left) as u32),
            None => self.database.given_back(said.dyn_ref::<Uint8Array>().map(builder::unpack)),
        }
    }

    /// How far the indexing of each open collection is.
    pub fn progress(&self) -> JsResult<JsValue> {
        let progress = self.database.progress().into_iter().map(|one| Progress {
            collection: one.collection,
            indexed: one.indexed,
            pending: one.pending,
            done: one.pending == 0,
        });
        cross(report(&progress.collect::<Vec<_>>()))
    }

    /// Holds background work back, or lets it go on.
    #[wasm_bindgen(js_name = pauseIndexing)]
    pub fn pause_indexing(&self, paused: bool) {
        self.database.pause_indexing(paused);
    }

    /// Answers when everything acknowledged is on the device.
    pub fn flush(&self) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move { database.flush().await.map(|()| JsValue::UNDEFINED) })
    }

    /// What went in and out of the store.
    pub fn storage(&self) -> JsResult<JsValue> {
        let counters = self.database.counters();
        cross(report(&Storage {
            bytes_read: counters.bytes_read,
            bytes_written: counters.bytes_written,
            bytes_stored: counters.bytes_stored,
            transactions: counters.transactions,
            reads: counters.reads,
            writes: counters.writes,
            backend: self.database.backend().as_str(),
        }))
    }

    /// A collection as bytes: `{ manifest, segments: [{ id, bytes }] }`.
    #[wasm_bindgen(js_name = exportCollection)]
    pub fn export_collection(&self, space: f64) -> JsResult<JsValue> {
        let collection = cross(self.at(space))?;
        let (manifest, segments) = self.database.export(&collection);
        let segments = segments.iter().map(|segment| {
            let bytes = Uint8Array::from(segment.bytes());
            object(&[("id", segment.id().to_string().into()), ("bytes", bytes.into())])
        });
        let segments: Array = segments.collect();
        Ok(object(&[("manifest", Uint8Array::from(manifest.as_slice()).into()), ("segments", segments.into())]))
    }

    /// Makes a collection of exported bytes.
    #[wasm_bindgen(js_name = importCollection)]
    pub fn import_collection(
        &self,
        name: &JsString,
        manifest: Uint8Array,
        segments: &Array,
        request: &JsValue,
    ) -> Promise {
        let (database, name, asked) = (Rc::clone(&self.database), text(name), to_asked(request));
        let segments: Vec<Vec<u8>> = segments.iter().map(|bytes| Uint8Array::new(&bytes).to_vec()).collect();
        promise(async move {
            let imported = database.import(&name, &manifest.to_vec(), &segments, asked).await;
            imported.map(|()| JsValue::UNDEFINED)
        })
    }

    /// What a collection's session wants next: `{ kind: "ask", method, body }` or `{ kind: "wait" }`. The method may be a path,
    /// which begins with `/`; the body is a string then, the range that is wanted. Not to be asked again before that is answered, or the
    /// session restarted.
    #[wasm_bindgen(js_name = syncNext)]
    pub fn sync_next(&self, space: f64) -> Promise {
        let (database, collection) = (Rc::clone(&self.database), self.at(space));
        promise(async move {
            Ok(match database.sync_next(&collection?).await? {
                Some((method, body)) => {
                    let bytes = || Uint8Array::from(body.as_slice()).into();
                    let range = core::str::from_utf8(&body).ok().filter(|_| method.starts_with('/'));
                    let body = range.map_or_else(bytes, JsValue::from);
                    object(&[("kind", "ask".into()), ("method", (&*method).into()), ("body", body)])
                }
                None => object(&[("kind", "wait".into())]),
            })
        })
    }

    /// Takes the answer to what was asked.
    #[wasm_bindgen(js_name = syncReceive)]
    pub fn sync_receive(&self, space: f64, method: &JsString, body: &Uint8Array) -> JsResult<()> {
        let collection = cross(self.at(space))?;
        cross(self.database.sync_receive(&collection, &text(method), &body.to_vec()))
    }

    /// Begins a session anew, after whatever failed.
    #[wasm_bindgen(js_name = syncRestart)]
    pub fn sync_restart(&self, space: f64) -> JsResult<()> {
        cross(self.at(space)).map(|collection| collection.sync_restart())
    }

    /// The request for a stream of what comes from now on.
    #[wasm_bindgen(js_name = syncFollow)]
    pub fn sync_follow(&self, spaces: &Float64Array) -> Uint8Array {
        let spaces: Vec<SpaceId> = spaces.to_vec().into_iter().map(|space| SpaceId(whole(space))).collect();
        self.database.sync_follow(&spaces).as_slice().into()
    }

    /// Takes a message of that stream; answers which collection has to go on, if one has.
    #[wasm_bindgen(js_name = syncPage)]
    pub fn sync_page(&self, body: &Uint8Array) -> JsResult<JsValue> {
        let space = cross(self.database.sync_page(&body.to_vec()))?;
        Ok(space.map_or(JsValue::UNDEFINED, |space| JsValue::from_f64(space.0 as f64)))
    }

    /// Makes the collections of a server's list that are missing, of those with these names if any are given, and not of those
    /// with the others; answers the spaces of all that can follow.
    #[wasm_bindgen(js_name = syncListed)]
    pub fn sync_listed(&self, body: Uint8Array, names: &JsValue, without: &Array) -> Promise {
        let database = Rc::clone(&self.database);
        let texts = |names: &Array| names.iter().map(|name| text(&name)).collect::<Vec<_>>();
        let (names, without) = (names.dyn_ref().map(texts), texts(without));
        promise(async move {
            let spaces = database.sync_listed(&body.to_vec(), names.as_deref(), &without).await?;
            Ok(spaces.into_iter().map(|space| JsValue::from(space.0 as f64)).collect::<Array>().into())
        })
    }

    /// How far a collection is: `{ name, state, seq, pending, conflicts, isAtRest }`.
    #[wasm_bindgen(js_name = syncStatus)]
    pub fn sync_status(&self, space: f64) -> JsResult<JsValue> {
        let collection = cross(self.at(space))?;
        let status = collection.sync_status();
        Ok(object(&[
            ("name", collection.name().into()),
            ("state", status.state.into()),
            ("seq", (status.seq as f64).into()),
            ("pending", (status.pending as f64).into()),
            ("conflicts", (status.conflicts as f64).into()),
            ("isAtRest", status.is_at_rest.into()),
        ]))
    }

    /// What the server refused: `{ id, deleted, vector?, metadata? }`.
    #[wasm_bindgen(js_name = syncConflicts)]
    pub fn sync_conflicts(&self, space: f64) -> JsResult<Array> {
        let refused = cross(self.at(space).and_then(|collection| collection.sync_conflicts()))?;
        Ok(refused.iter().map(conflict).collect())
    }

    /// Forgets so many of them, the oldest.
    #[wasm_bindgen(js_name = syncSettle)]
    pub fn sync_settle(&self, space: f64, count: u32) -> Promise {
        let (database, collection) = (Rc::clone(&self.database), self.at(space));
        promise(async move { database.sync_settle(&collection?, count).await.map(|()| JsValue::UNDEFINED) })
    }

    /// Flushes and lets go of the store.
    pub fn close(&self) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move { database.close().await.map(|()| JsValue::UNDEFINED) })
    }

    /// Closes and deletes everything.
    pub fn destroy(&self) -> Promise {
        let database = Rc::clone(&self.database);
        promise(async move { database.destroy().await.map(|()| JsValue::UNDEFINED) })
    }

    fn at(&self, space: f64) -> Result<Rc<OpenCollection>> {
        self.database.reached(SpaceId(whole(space)))
    }
}

/// A number of JavaScript's that was an integer of ours, below 2^53.
#[allow(clippy::cast_sign_loss, reason = "a float becomes zero when it is negative")]
const fn whole(number: f64) -> u64 {
    number as u64
}

/// The request `[tab, n, since]` that asks for a change, when there is one.
fn to_asked(request: &JsValue) -> Option<Asked> {
    let request = request.dyn_ref::<Float64Array>()?;
    let [tab, n, since] = <[f64; 3]>::try_from(request.to_vec()).ok()?.map(whole);
    Some(Asked { id: RequestId { tab, n }, since })
}

/// Vectors copied out of a typed array.
enum OwnedVectors {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl OwnedVectors {
    fn from_js(value: &JsValue) -> Result<Self> {
        if let Some(array) = value.dyn_ref::<Float32Array>() {
            return Ok(Self::F32(array.to_vec()));
        }
        if let Some(array) = value.dyn_ref::<Float64Array>() {
            return Ok(Self::F64(array.to_vec()));
        }
        Err(Error::invalid_argument(format!("vectors come in a Float32Array or Float64Array, not {}", describe(value))))
    }

    fn view(&self) -> Vectors<'_> {
        match self {
            Self::F32(values) => Vectors::F32(values),
            Self::F64(values) => Vectors::F64(values),
        }
    }
}

fn parse_durability(name: &JsValue) -> Result<Durability> {
    match text(name).as_str() {
        "relaxed" => Ok(Durability::Relaxed),
        "strict" => Ok(Durability::Strict),
        other => Err(Error::invalid_argument(format!("durability is `relaxed` or `strict`, not `{other}`"))),
    }
}

fn parse_optional_durability(name: &JsValue) -> Result<Option<Durability>> {
    if name.is_undefined() || name.is_null() { Ok(None) } else { parse_durability(name).map(Some) }
}

/// What options ask for, and the quantization that they name, if they name one.
fn parse_config(name: &str, options: &JsValue) -> Result<(CollectionConfig, Option<Quantization>)> {
    let quantization = property(options, "quantization");
    let named = |given: JsValue| Quantization::parse(&given.as_string().unwrap_or_else(|| describe(&given)));
    let quantization = quantization.map(named).transpose()?;
    let dimension = optional_u32(options, "dimension")?;
    let dimension = dimension.ok_or_else(|| Error::invalid_argument("a collection's options name its `dimension`"))?;
    let metric = property(options, "metric").and_then(|metric| metric.as_string());
    let metric = metric.ok_or_else(|| Error::invalid_argument("a collection's options name its `metric`"))?;
    let config = CollectionConfig {
        quantization: quantization.unwrap_or_default(),
        m: optional_u32(options, "m")?,
        ef_construction: optional_u32(options, "efConstruction")?,
        ef_search: optional_u32(options, "efSearch")?,
        ..CollectionConfig::new(name, dimension as usize, Metric::parse(&metric)?)?
    };
    Ok((config, quantization))
}

fn deleted((count, lsn): (usize, Lsn)) -> JsValue {
    object(&[("deleted", (count as f64).into()), ("lsn", lsn.0.into())])
}

fn conflict(refused: &Refused) -> JsValue {
    let (mut vector, mut metadata) = (JsValue::UNDEFINED, JsValue::UNDEFINED);
    if let Some((row, values)) = &refused.point {
        (vector, metadata) = (Float32Array::from(row.as_slice()).into(), from_value(&values.to_value()));
    }
    object(&[
        ("id", from_id(&refused.id)),
        ("deleted", refused.point.is_none().into()),
        ("vector", vector),
        ("metadata", metadata),
    ])
}

fn search(collection: &OpenCollection, vector: &JsValue, options: &JsValue) -> Result<JsValue> {
    let (metric, dimension) = collection.with_engine(|engine| (engine.config().metric, engine.config().dimension));
    let query = match OwnedVectors::from_js(vector)? {
        OwnedVectors::F32(values) => QueryVector::from_f32(metric, dimension, &values)?,
        OwnedVectors::F64(values) => QueryVector::from_f64(metric, dimension, &values)?,
    };
    let top_k = optional_u32(options, "topK")?.unwrap_or(DEFAULT_TOP_K);
    let mut request = SearchRequest::new(query, top_k as usize)?;
    if let Some(filter) = property(options, "filter") {
        request = request.with_filter(to_filter(&filter)?);
    }
    if let Some(ef) = optional_u32(options, "efSearch")? {
        request = request.with_ef(ef as usize)?;
    }
    if flag(options, "exact") {
        request = request.with_plan(Plan::Exact);
    }
    let (snapshot, outcome) = collection.search(&request)?;
    let distances: Vec<f64> = outcome.hits.iter().map(|hit| hit.distance).collect();
    let ids: Array = outcome.hits.iter().map(|hit| from_id(&hit.id)).collect();
    let (mut metadata, mut vectors) = (JsValue::UNDEFINED, JsValue::UNDEFINED);
    if flag(options, "withMetadata") {
        let values = outcome.hits.iter().map(|hit| from_value(&snapshot.hit_metadata(hit).to_value()));
        metadata = values.collect::<Array>().into();
    }
    if flag(options, "withVector") {
        let rows: Vec<f32> = outcome.hits.iter().flat_map(|hit| snapshot.hit_vector(hit)).copied().collect();
        vectors = Float32Array::from(rows.as_slice()).into();
    }
    Ok(object(&[
        ("ids", ids.into()),
        ("distances", Float64Array::from(distances.as_slice()).into()),
        ("metadata", metadata),
        ("vectors", vectors),
    ]))
}
