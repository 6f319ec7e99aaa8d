//! `IndexedDB` behind [`Kv`].
//!
//! One connection. It is given up at once when another context wants to upgrade or delete the database, and when the
//! browser drops it (Safari does so in background tabs); the next use opens a new one, and a transaction that met a
//! dropped connection is tried once more. A row that was to be *added* may then be there already, from the attempt
//! whose answer was lost: equal bytes are success. A database that has to be *created* by then was deleted: it is not.
//!
//! Every write transaction begins with a read, and its requests are placed in the listener that the browser calls with
//! the answer. A wasm trap runs no destructors, and a browser commits what was placed before it; but an exception in a
//! listener makes it abort the transaction, and a trap is one.
//!
//! Every transaction, also one that only reads, gets all its requests at once and is then awaited as a whole: its own error
//! says more than that of a request, when the quota is exceeded for one. `indexed_db_futures` opens and deletes databases;
//! transactions and requests are the browser's own, because the crate's would be a tenth of the whole download, and would
//! not tell why one was aborted.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::slice;

use hyperspace_core::error::{Error, Result};
use indexed_db_futures::database::Database;
use indexed_db_futures::error as idb;
use indexed_db_futures::future::OpenDbRequest;
use indexed_db_futures::internals::SystemRepr;
use indexed_db_futures::prelude::*;
use js_sys::{Array, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbKeyRange, IdbObjectStore, IdbRequest, IdbTransaction};

use super::event::{Thrown, promised};
use super::timer::within;
use super::{BackendKind, Blob, Durability, Key, Kv, KvTx, Op, Store};

/// Raised only to add a store; upgrading must be short, for it locks every tab out.
const VERSION: u32 = 1;
/// A transaction of small rows is over in milliseconds; one that hangs without an error was seen in Safari.
const SMALL_LIMIT_MS: u32 = 5_000;
const LARGE_LIMIT_MS: u32 = 30_000;

/// Why a transaction failed, by what to do about it.
enum Failure {
    /// The connection is gone or doubtful: open a new one and try again.
    Lost(String),
    /// No answer within so many seconds.
    Hung(u32),
    /// The origin's quota is used up.
    Quota,
    /// Trying again changes nothing.
    Final(Error),
}

type Attempt<T> = std::result::Result<T, Failure>;
type Work<'a> = Pin<Box<dyn Future<Output = Attempt<Answer>> + 'a>>;
type Listener = Closure<dyn FnMut() -> Thrown<()>>;

/// What a transaction gives. One type for all, so that trying again is compiled once.
enum Answer {
    Found(Vec<Option<Blob>>),
    Rows(Vec<(Key, Blob)>),
    Keys(Vec<Key>),
    Done,
}

/// Why the database is not opened again.
#[derive(Clone, Copy)]
enum Closed {
    ByUs,
    /// Another context deletes or upgrades it: opening it again would create an empty one in its place.
    ForOthers,
    /// It was deleted: there is nothing to open.
    Cleared,
}

impl Closed {
    fn error(self) -> Error {
        Error::closed(match self {
            Self::ByUs => "the database is closed",
            Self::ForOthers => "the database was closed, because another tab deletes or upgrades it",
            Self::Cleared => "the browser has cleared the stored database: what is loaded here can still be searched",
        })
    }
}

struct Link {
    name: String,
    connection: RefCell<Option<Database>>,
    closed: Cell<Option<Closed>>,
    /// Whether there was a connection: the database exists, or somebody has deleted it.
    opened: Cell<bool>,
    /// Hears of a connection that is lost for good.
    on_lost: Box<dyn Fn(&Error)>,
}

impl Link {
    /// Gives the database up, and tells why: once.
    fn lose(&self, why: Closed) {
        if self.closed.replace(Some(why)).is_none() {
            (self.on_lost)(&why.error());
        }
    }

    /// Makes the stores of a database that is new.
    fn create(&self, database: &IdbDatabase) -> Thrown<()> {
        for store in Store::ALL {
            let made = database.create_object_store(store.name())?;
            if self.opened.get() {
                self.lose(Closed::Cleared);
                // Nothing is created. An error would do the same, and end the worker: nobody catches it.
                return made.transaction().abort();
            }
        }
        Ok(())
    }
}

/// A database of the browser's. See the module's header.
#[derive(Clone)]
pub struct IndexedDb {
    link: Rc<Link>,
}

impl IndexedDb {
    /// Opens the database, creating it when it does not exist; `on_lost` hears when it is gone for good.
    ///
    /// # Errors
    /// `Unsupported` where there is no `IndexedDB`; `Unavailable` when the browser refuses, an older connection does
    /// not let go, or nothing answers in time; `LimitExceeded` when there is no room.
    pub async fn open(name: &str, on_lost: impl Fn(&Error) + 'static) -> Result<Self> {
        let link = Link {
            name: name.into(),
            connection: RefCell::default(),
            closed: Cell::new(None),
            opened: Cell::new(false),
            on_lost: Box::new(on_lost),
        };
        let this = Self { link: Rc::new(link) };
        match this.connect().await {
            Ok(_) => Ok(this),
            Err(failure) => Err(this.report(failure, Some(0)).await),
        }
    }

    /// Why there is no connection and will be none.
    fn closed(&self) -> Option<Error> {
        self.link.closed.get().map(Closed::error)
    }

    async fn connect(&self) -> Attempt<IdbDatabase> {
        if let Some(closed) = self.closed() {
            return Err(Failure::Final(closed));
        }
        if let Some(open) = self.link.connection.borrow().as_ref() {
            return Ok(raw(open));
        }
        let request = Database::open(self.link.name.as_str()).with_version(VERSION).build().map_err(open_failure)?;
        let opening = Opening::new(request, &self.link);
        let blocked = Rc::clone(&opening.blocked);
        let Some(opened) = patiently(opening).await else {
            let message = if blocked.get() {
                "an older version of the page holds the database open: close its tabs"
            } else {
                "IndexedDB did not open within 30 s"
            };
            return Err(Failure::Final(Error::unavailable(message)));
        };
        let database = opened.map_err(|error| match self.closed() {
            Some(closed) => Failure::Final(closed),
            None => open_failure(error),
        })?;
        self.link.opened.set(true);
        let open = raw(&database);
        self.watch(&open);
        *self.link.connection.borrow_mut() = Some(database);
        Ok(open)
    }

    /// Gives the connection up as soon as somebody else needs it to go, or it went.
    fn watch(&self, database: &IdbDatabase) {
        let asked_to_go = promised(&|asked, lost| {
            database.set_onversionchange(Some(asked));
            database.set_onclose(Some(lost));
        });
        let (link, database) = (Rc::downgrade(&self.link), database.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let asked_to_go = asked_to_go.await.is_ok();
            database.close();
            let Some(link) = link.upgrade() else { return };
            // Only this connection: the answer may come late, when another one is in its place.
            link.connection.borrow_mut().take_if(|open| raw(open) == database);
            if link.closed.get().is_some() {
                return;
            }
            let this = Self { link };
            if asked_to_go {
                this.link.lose(Closed::ForOthers);
            } else {
                // Lost, or cleared? Whoever watches is told without having to write.
                drop(this.connect().await);
            }
        });
    }

    fn drop_connection(&self) {
        if let Some(database) = self.link.connection.borrow_mut().take() {
            database.close();
        }
    }

    /// Runs a transaction; once more on a fresh connection when the first was lost. `writes` are the bytes to be
    /// written, if it writes: then one that hangs is not tried again, for it may end all the same.
    async fn attempt<'a>(
        &self,
        limit: u32,
        writes: Option<usize>,
        work: &dyn Fn(IdbDatabase, bool) -> Work<'a>,
    ) -> Result<Answer> {
        let mut retry = false;
        loop {
            let failure = match self.once(limit, retry, work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let again = match failure {
                Failure::Lost(_) => true,
                Failure::Hung(_) => writes.is_none(),
                Failure::Quota | Failure::Final(_) => return Err(self.report(failure, writes).await),
            };
            self.drop_connection();
            if retry || !again || self.link.closed.get().is_some() {
                return Err(self.report(failure, writes).await);
            }
            retry = true;
        }
    }

    async fn once<'a>(&self, limit: u32, retry: bool, work: &dyn Fn(IdbDatabase, bool) -> Work<'a>) -> Attempt<Answer> {
        let database = self.connect().await?;
        within(limit, work(database, retry)).await.unwrap_or(Err(Failure::Hung(limit / 1000)))
    }

    async fn report(&self, failure: Failure, writes: Option<usize>) -> Error {
        let room = match (&failure, writes) {
            (Failure::Quota | Failure::Lost(_), Some(bytes)) => Room::estimate(bytes).await,
            _ => None,
        };
        let is_full = matches!(failure, Failure::Quota) || room.as_ref().is_some_and(Room::is_exceeded);
        match failure {
            Failure::Final(error) => error,
            Failure::Lost(_) if let Some(closed) = self.closed() => closed,
            // A transaction, or the opening, that fails for want of room does not always say so.
            Failure::Quota | Failure::Lost(_) if is_full => {
                let room = room.as_ref().map(Room::describe).unwrap_or_default();
                Error::limit_exceeded(format!("the browser's storage quota is exceeded{room}"))
            }
            Failure::Hung(seconds) => {
                let message = format!("IndexedDB did not answer within {seconds} s; whether it wrote is unknown");
                Error::unavailable(message)
            }
            Failure::Lost(why) => Error::unavailable(format!("the connection to IndexedDB was lost: {why}")),
            Failure::Quota => unexpected(),
        }
    }
}

impl Kv for IndexedDb {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        let limit = if keys.len() > 1 { LARGE_LIMIT_MS } else { SMALL_LIMIT_MS };
        let work = |database, _| -> Work<'_> { Box::pin(read_many(database, store, keys)) };
        match self.attempt(limit, None, &work).await? {
            Answer::Found(found) => Ok(found),
            _ => Err(unexpected()),
        }
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        let work = |database, _| -> Work<'_> { Box::pin(read_range(database, store, from, to, limit)) };
        match self.attempt(LARGE_LIMIT_MS, None, &work).await? {
            Answer::Rows(rows) => Ok(rows),
            _ => Err(unexpected()),
        }
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        let work = |database, _| -> Work<'_> { Box::pin(read_keys(database, store, from, to)) };
        match self.attempt(LARGE_LIMIT_MS, None, &work).await? {
            Answer::Keys(keys) => Ok(keys),
            _ => Err(unexpected()),
        }
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        // Everything that allocates happens before the transaction exists.
        let batch = match Batch::new(tx) {
            Ok(batch) => Rc::new(batch),
            Err(failure) => return Err(self.report(failure, None).await),
        };
        let limit = if tx.is_large() { LARGE_LIMIT_MS } else { SMALL_LIMIT_MS };
        let work =
            |database, retry| -> Work<'_> { Box::pin(write(database, tx, Rc::clone(&batch), durability, retry)) };
        self.attempt(limit, Some(tx.bytes()), &work).await.map(|_| ())
    }

    fn backend(&self) -> BackendKind {
        BackendKind::IndexedDb
    }

    fn close(&self) {
        self.link.closed.set(Some(Closed::ByUs));
        self.drop_connection();
    }

    async fn destroy(&self) -> Result<()> {
        self.close();
        let request = match Database::delete_by_name(&self.link.name) {
            Ok(request) => request,
            Err(error) => return Err(self.report(open_failure(error), None).await),
        };
        match within(LARGE_LIMIT_MS, request).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.report(classify(&error), None).await),
            Err(_) => Err(Error::unavailable("another tab keeps the database from being deleted")),
        }
    }
}

/// The browser's own of a connection.
fn raw(database: &Database) -> IdbDatabase {
    database.as_sys().unchecked_ref::<IdbDatabase>().clone()
}

fn unexpected() -> Error {
    Error::internal("a transaction gave another answer than it was asked for")
}

async fn read_many(database: IdbDatabase, store: Store, keys: &[Key]) -> Attempt<Answer> {
    let answers = read(&database, store, &|rows| keys.iter().map(|key| rows.get(&js_bytes(key))).collect()).await?;
    let found = answers.into_iter().map(|row| if row.is_undefined() { Ok(None) } else { blob(row).map(Some) });
    found.collect::<Attempt<_>>().map(Answer::Found)
}

async fn read_range(database: IdbDatabase, store: Store, from: &[u8], to: &[u8], limit: u32) -> Attempt<Answer> {
    let range = bounds(from, to).map_err(thrown)?;
    let place = |rows: &IdbObjectStore| {
        let keys = rows.get_all_keys_with_key_and_limit(&range, limit)?;
        Ok(vec![keys, rows.get_all_with_key_and_limit(&range, limit)?])
    };
    let answers = read(&database, store, &place).await?;
    let [keys, values] = answers.as_slice() else { return Err(Failure::Final(unexpected())) };
    let (keys, values) = (keys.unchecked_ref::<Array>(), values.unchecked_ref::<Array>());
    let pairs = keys.iter().zip(values.iter()).map(|(key, value)| Ok((key_bytes(&key), blob(value)?)));
    pairs.collect::<Attempt<_>>().map(Answer::Rows)
}

async fn read_keys(database: IdbDatabase, store: Store, from: &[u8], to: &[u8]) -> Attempt<Answer> {
    let range = bounds(from, to).map_err(thrown)?;
    let all = |rows: &IdbObjectStore| Ok(vec![rows.get_all_keys_with_key_and_limit(&range, u32::MAX)?]);
    let answers = read(&database, store, &all).await?;
    let [keys] = answers.as_slice() else { return Err(Failure::Final(unexpected())) };
    Ok(Answer::Keys(keys.unchecked_ref::<Array>().iter().map(|key| key_bytes(&key)).collect()))
}

/// Places requests in a transaction of their own, and waits for their answers.
async fn read(
    database: &IdbDatabase,
    store: Store,
    place: &dyn Fn(&IdbObjectStore) -> Thrown<Vec<IdbRequest>>,
) -> Attempt<Vec<JsValue>> {
    let transaction = InFlight::begin(database, &[store], "readonly", Durability::Relaxed).map_err(thrown)?;
    let rows = transaction.0.object_store(store.name()).map_err(thrown)?;
    let requests = place(&rows).map_err(thrown)?;
    transaction.end().await?;
    requests.iter().map(|request| request.result().map_err(thrown)).collect()
}

fn key_bytes(key: &JsValue) -> Key {
    Uint8Array::new(key).to_vec()
}

async fn write(
    database: IdbDatabase,
    tx: &KvTx,
    batch: Rc<Batch>,
    durability: Durability,
    retry: bool,
) -> Attempt<Answer> {
    if retry && was_applied(database.clone(), tx).await? {
        return Ok(Answer::Done);
    }
    let transaction = InFlight::begin(&database, &tx.stores(), "readwrite", durability).map_err(thrown)?;
    let _listener = Rc::clone(&batch).place_when_read(&transaction.0).map_err(thrown)?;
    match transaction.end().await {
        Err(_) if batch.has_moved.get() => {
            Err(Failure::Final(Error::conflict("a row that the transaction depends on has changed")))
        }
        ended => ended.map(|()| Answer::Done),
    }
}

/// A transaction that somebody waits for: aborted, if it still can be, when nobody does any more.
struct InFlight(IdbTransaction);

impl InFlight {
    fn begin(database: &IdbDatabase, stores: &[Store], mode: &str, durability: Durability) -> Thrown<Self> {
        let stores: Array = stores.iter().map(|store| JsValue::from_str(store.name())).collect();
        let durability = match durability {
            Durability::Relaxed => "relaxed",
            Durability::Strict => "strict",
        };
        let options = js_sys::Object::new();
        Reflect::set(&options, &"durability".into(), &durability.into())?;
        let database: &Opened = database.unchecked_ref();
        database.transaction(&stores, mode, &options).map(Self)
    }

    /// Waits until it is over.
    async fn end(&self) -> Attempt<()> {
        let ended = promised(&|complete, abort| {
            self.0.set_oncomplete(Some(complete));
            self.0.set_onabort(Some(abort));
        });
        match (ended.await, self.0.error()) {
            (Ok(_), _) => Ok(()),
            (Err(_), Some(cause)) => Err(by_name(&cause)),
            (Err(_), None) => Err(Failure::Lost("a transaction ended without a reason".into())),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set_oncomplete(None);
        self.0.set_onabort(None);
        let _ = self.0.abort();
    }
}

/// The writes of a transaction, ready to be placed.
struct Batch {
    /// The row that must hold these bytes, if any; else some row, for something must be read.
    fence: (&'static str, JsValue, Option<Vec<u8>>),
    /// The rows that must be there.
    continued: Vec<(&'static str, JsValue)>,
    requests: Vec<(&'static str, Action)>,
    /// Whether what the transaction depends on was found changed.
    has_moved: Cell<bool>,
}

enum Action {
    Put(JsValue, JsValue),
    Add(JsValue, JsValue),
    Delete(JsValue),
}

impl Batch {
    fn new(tx: &KvTx) -> Attempt<Self> {
        let action = |op: &Op| {
            Ok(match op {
                Op::Put(_, key, value) => Action::Put(js_bytes(key), js_bytes(value)),
                Op::Add(_, key, value) => Action::Add(js_bytes(key), js_bytes(value)),
                Op::Delete(_, key) => Action::Delete(js_bytes(key)),
                Op::DeleteRange(_, from, to) => Action::Delete(bounds(from, to).map_err(thrown)?.into()),
            })
        };
        let requests = tx.ops().iter().map(|op| Ok((op.store().name(), action(op)?)));
        let fence = match tx.fence() {
            Some(fence) => (fence.store.name(), js_bytes(&fence.key), Some(fence.value.clone())),
            None => (tx.stores().first().map_or("", |store| store.name()), js_bytes(&[0]), None),
        };
        Ok(Self {
            fence,
            continued: tx.continued().iter().map(|(store, key)| (store.name(), js_bytes(key))).collect(),
            requests: requests.collect::<Attempt<_>>()?,
            has_moved: Cell::new(false),
        })
    }

    /// Reads what the transaction depends on, and places the requests in the listener of the last answer, which the
    /// caller keeps.
    fn place_when_read(self: Rc<Self>, transaction: &IdbTransaction) -> Thrown<Listener> {
        let mut continued = Vec::with_capacity(self.continued.len());
        for (store, key) in &self.continued {
            continued.push(transaction.object_store(store)?.get_key(key)?);
        }
        let (store, key, _) = &self.fence;
        // Answers come in the order of their requests: with this one all are there.
        let last = transaction.object_store(store)?.get(key)?;
        let (answer, transaction) = (last.clone(), transaction.clone());
        let listener = Listener::new(move || {
            if self.holds(&answer, &continued)? {
                self.place(&transaction)
            } else {
                self.has_moved.set(true);
                transaction.abort()
            }
        });
        last.set_onsuccess(Some(listener.as_ref().unchecked_ref()));
        Ok(listener)
    }

    fn holds(&self, answer: &IdbRequest, continued: &[IdbRequest]) -> Thrown<bool> {
        for request in continued {
            if request.result()?.is_undefined() {
                return Ok(false);
            }
        }
        let Some(expected) = &self.fence.2 else { return Ok(true) };
        Ok(answer.result()?.dyn_into::<Uint8Array>().is_ok_and(|row| row.to_vec() == *expected))
    }

    /// Places every request in one go: nothing is awaited and nothing panics between the first and the last.
    #[allow(deprecated, reason = "web-sys has taken over a mark that the standard does not have")]
    fn place(&self, transaction: &IdbTransaction) -> Thrown<()> {
        for (store, action) in &self.requests {
            let store = transaction.object_store(store)?;
            match action {
                Action::Put(key, value) => store.put_with_key(value, key)?,
                Action::Add(key, value) => store.add_with_key(value, key)?,
                Action::Delete(keys) => store.delete(keys)?,
            };
        }
        transaction.commit()
    }
}

/// Whether an earlier attempt whose answer was lost is in the database after all: its added rows tell.
async fn was_applied(database: IdbDatabase, tx: &KvTx) -> Attempt<bool> {
    let Some((store, key, value)) = tx.ops().iter().find_map(|op| match op {
        Op::Add(store, key, value) => Some((*store, key, value)),
        _ => None,
    }) else {
        return Ok(false);
    };
    let Answer::Found(found) = read_many(database, store, slice::from_ref(key)).await? else { return Ok(false) };
    Ok(found.into_iter().flatten().any(|row| row.to_vec() == *value))
}

fn js_bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

fn bounds(from: &[u8], to: &[u8]) -> Thrown<IdbKeyRange> {
    IdbKeyRange::bound_with_lower_open_and_upper_open(&js_bytes(from), &js_bytes(to), false, true)
}

fn blob(value: JsValue) -> Attempt<Blob> {
    let foreign = |_| Failure::Final(Error::corrupted("a stored value is not bytes"));
    value.dyn_into::<Uint8Array>().map(Blob::Js).map_err(foreign)
}

fn thrown(value: JsValue) -> Failure {
    match value.dyn_into::<web_sys::DomException>() {
        Ok(exception) => by_name(&exception),
        Err(_) => Failure::Lost("an unexpected answer".into()),
    }
}

fn open_failure(error: idb::OpenDbError) -> Failure {
    match error {
        idb::OpenDbError::Base(error) => classify(&error),
        idb::OpenDbError::UnsupportedEnvironment | idb::OpenDbError::NullFactory => {
            Failure::Final(Error::unsupported("there is no IndexedDB here"))
        }
        idb::OpenDbError::VersionZero => Failure::Final(Error::internal("a database version of zero")),
    }
}

fn classify(error: &idb::Error) -> Failure {
    match error {
        idb::Error::DomException(exception) => by_name(exception.as_sys()),
        // Not the error's own text: formatting every kind that the crate knows would be part of the download.
        _ => Failure::Lost("an unexpected answer".into()),
    }
}

fn by_name(exception: &web_sys::DomException) -> Failure {
    let said =
        |what: &str| Reflect::get(exception, &what.into()).ok().and_then(|text| text.as_string()).unwrap_or_default();
    let name = said("name");
    let message = || format!("{name}: {}", said("message"));
    match name.as_str() {
        "QuotaExceededError" => Failure::Quota,
        "ConstraintError" => Failure::Final(Error::conflict("a row that may exist only once exists already")),
        "VersionError" => Failure::Final(Error::unsupported("the database was written by a later version")),
        "SecurityError" | "NotAllowedError" => Failure::Final(Error::unsupported(message())),
        "NotFoundError" => Failure::Final(Error::corrupted(message())),
        "DataCloneError" | "DataError" | "ReadOnlyError" => Failure::Final(Error::internal(message())),
        _ => Failure::Lost(message()),
    }
}

#[wasm_bindgen]
extern "C" {
    type Opened;
    #[wasm_bindgen(catch, method)]
    fn transaction(this: &Opened, stores: &Array, mode: &str, options: &JsValue) -> Thrown<IdbTransaction>;
    type Scope;
    #[wasm_bindgen(method, getter, structural)]
    fn navigator(this: &Scope) -> JsValue;
    type Navigator;
    #[wasm_bindgen(method, getter, structural)]
    fn storage(this: &Navigator) -> JsValue;
}

/// What there is room for.
struct Room {
    usage: f64,
    quota: f64,
    wanted: usize,
}

impl Room {
    /// What the browser says; not to be planned by, but it helps whoever reads the error.
    async fn estimate(wanted: usize) -> Option<Self> {
        let navigator = js_sys::global().unchecked_into::<Scope>().navigator();
        if navigator.is_undefined() {
            return None;
        }
        let storage = navigator.unchecked_into::<Navigator>().storage();
        if storage.is_undefined() {
            return None;
        }
        let promise = storage.unchecked_into::<web_sys::StorageManager>().estimate().ok()?;
        let estimate = JsFuture::from(promise).await.ok()?;
        let number = |name| Reflect::get(&estimate, &JsValue::from_str(name)).ok()?.as_f64();
        Some(Self { usage: number("usage")?, quota: number("quota")?, wanted })
    }

    fn is_exceeded(&self) -> bool {
        self.usage + self.wanted as f64 >= self.quota
    }

    #[allow(clippy::cast_sign_loss, reason = "sizes are not negative")]
    fn describe(&self) -> String {
        let Self { usage, quota, wanted } = self;
        let (usage, quota) = (*usage as u64, *quota as u64);
        format!(": {wanted} bytes were to be written, {usage} bytes are used of about {quota}")
    }
}

/// A database that is being opened.
struct Opening {
    request: OpenDbRequest,
    /// Whether another connection is in the way.
    blocked: Rc<Cell<bool>>,
    _listeners: [Listener; 2],
}

impl Opening {
    fn new(request: OpenDbRequest, link: &Rc<Link>) -> Self {
        let blocked = Rc::new(Cell::new(false));
        let (saw, link, database) = (Rc::clone(&blocked), Rc::clone(link), request.as_sys().clone());
        let on_blocked = Listener::new(move || {
            saw.set(true);
            Ok(())
        });
        let on_upgrade = Listener::new(move || link.create(&database.result()?.unchecked_into()));
        request.as_sys().set_onblocked(Some(on_blocked.as_ref().unchecked_ref()));
        request.as_sys().set_onupgradeneeded(Some(on_upgrade.as_ref().unchecked_ref()));
        Self { request, blocked, _listeners: [on_blocked, on_upgrade] }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.request.as_sys().set_onblocked(None);
        self.request.as_sys().set_onupgradeneeded(None);
    }
}

/// Waits for a database that is being opened; not for long when somebody is in the way. One that opens after all is
/// let go of again, and its stores are made: without them nobody could use it.
async fn patiently(mut opening: Opening) -> Option<indexed_db_futures::OpenDbResult<Database>> {
    for limit in [SMALL_LIMIT_MS, LARGE_LIMIT_MS - SMALL_LIMIT_MS] {
        if let Ok(opened) = within(limit, &mut opening.request).await {
            return Some(opened);
        }
        if opening.blocked.get() {
            break;
        }
    }
    wasm_bindgen_futures::spawn_local(async move {
        if let Ok(database) = (&mut opening.request).await {
            database.close();
        }
    });
    None
}
