//! `IndexedDB` behind [`Kv`].
//!
//! One connection. It is given up at once when another context wants to upgrade or delete the database, and when the
//! browser drops it (Safari does so in background tabs); the next use opens a new one, and a transaction that met a
//! dropped connection is tried once more. A row that was to be *added* may then be there already, from the attempt
//! whose answer was lost: equal bytes are success.
//!
//! `indexed_db_futures` says only "aborted" when the quota is exceeded, so the raw transaction's own error is read.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyperspace_core::error::{Error, Result};
use indexed_db_futures::KeyRange;
use indexed_db_futures::database::Database;
use indexed_db_futures::error as idb;
use indexed_db_futures::internals::SystemRepr;
use indexed_db_futures::object_store::ObjectStore;
use indexed_db_futures::prelude::*;
use indexed_db_futures::transaction::{Transaction, TransactionDurability, TransactionMode, TransactionOptions};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

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
    /// The origin's quota is used up.
    Quota,
    /// Trying again changes nothing.
    Final(Error),
}

type Attempt<T> = std::result::Result<T, Failure>;
type Work<'a> = Pin<Box<dyn Future<Output = Attempt<Answer>> + 'a>>;

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
}

struct Link {
    name: String,
    connection: RefCell<Option<Database>>,
    closed: Cell<Option<Closed>>,
}

/// A database of the browser's. See the module's header.
#[derive(Clone)]
pub struct IndexedDb {
    link: Rc<Link>,
}

impl IndexedDb {
    /// Opens the database, creating it when it does not exist.
    ///
    /// # Errors
    /// `Unsupported` where there is no `IndexedDB`; `Unavailable` when the browser refuses, an older connection does
    /// not let go, or nothing answers in time; `LimitExceeded` when there is no room.
    pub async fn open(name: &str) -> Result<Self> {
        let link = Link { name: name.into(), connection: RefCell::default(), closed: Cell::new(None) };
        let this = Self { link: Rc::new(link) };
        match this.connect().await {
            Ok(_) => Ok(this),
            Err(failure) => Err(this.report(failure).await),
        }
    }

    async fn connect(&self) -> Attempt<Database> {
        match self.link.closed.get() {
            None => {}
            Some(Closed::ByUs) => return Err(Failure::Final(Error::closed("the database is closed"))),
            Some(Closed::ForOthers) => {
                let message = "the database was closed, because another tab deletes or upgrades it";
                return Err(Failure::Final(Error::closed(message)));
            }
        }
        if let Some(open) = self.link.connection.borrow().as_ref() {
            return Ok(open.clone());
        }
        let blocked = Rc::new(Cell::new(false));
        let saw = blocked.clone();
        let request = Database::open(self.link.name.as_str())
            .with_version(VERSION)
            .with_on_blocked(move |_| {
                saw.set(true);
                Ok(())
            })
            .with_on_upgrade_needed(|_, database| {
                for store in Store::ALL {
                    database.create_object_store(store.name()).build()?;
                }
                Ok(())
            })
            .build()
            .map_err(open_failure)?;
        let database = match within(LARGE_LIMIT_MS, request).await {
            Ok(opened) => opened.map_err(open_failure)?,
            Err(_) if blocked.get() => {
                let message = "an older version of the page holds the database open: close its tabs";
                return Err(Failure::Final(Error::unavailable(message)));
            }
            Err(_) => return Err(Failure::Final(Error::unavailable("IndexedDB did not open within 30 s"))),
        };
        self.watch(&database).map_err(|e| classify(&e))?;
        *self.link.connection.borrow_mut() = Some(database.clone());
        Ok(database)
    }

    /// Gives the connection up as soon as somebody else needs it to go, or it went.
    fn watch(&self, database: &Database) -> indexed_db_futures::Result<()> {
        let mut changes = database.version_changes()?;
        let (link, database) = (Rc::downgrade(&self.link), database.clone());
        wasm_bindgen_futures::spawn_local(async move {
            let asked_to_go = changes.recv().await.is_some();
            database.clone().close();
            if let Some(link) = link.upgrade() {
                // Only this connection: the answer may come late, when another one is in its place.
                link.connection.borrow_mut().take_if(|open| open.as_sys() == database.as_sys());
                if asked_to_go && link.closed.get().is_none() {
                    link.closed.set(Some(Closed::ForOthers));
                }
            }
        });
        Ok(())
    }

    fn drop_connection(&self) {
        if let Some(database) = self.link.connection.borrow_mut().take() {
            database.close();
        }
    }

    /// Runs a transaction; once more on a fresh connection when the first was lost.
    async fn attempt<'a>(&self, limit: u32, work: &dyn Fn(Database, bool) -> Work<'a>) -> Result<Answer> {
        let mut retry = false;
        loop {
            let failure = match self.once(limit, retry, work).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            if !matches!(failure, Failure::Lost(_)) {
                return Err(self.report(failure).await);
            }
            self.drop_connection();
            if retry || self.link.closed.get().is_some() {
                return Err(self.report(failure).await);
            }
            retry = true;
        }
    }

    async fn once<'a>(&self, limit: u32, retry: bool, work: &dyn Fn(Database, bool) -> Work<'a>) -> Attempt<Answer> {
        let database = self.connect().await?;
        let Ok(outcome) = within(limit, work(database, retry)).await else {
            self.drop_connection();
            let message = format!("IndexedDB did not answer within {} s; whether it wrote is unknown", limit / 1000);
            return Err(Failure::Final(Error::unavailable(message)));
        };
        outcome
    }

    async fn report(&self, failure: Failure) -> Error {
        match failure {
            Failure::Final(error) => error,
            Failure::Lost(why) if self.link.closed.get().is_some() => {
                Error::closed(format!("the database was closed: {why}"))
            }
            Failure::Lost(why) => Error::unavailable(format!("the connection to IndexedDB was lost: {why}")),
            Failure::Quota => {
                let room = estimate()
                    .await
                    .map_or_else(String::new, |(usage, quota)| format!(": {usage} bytes are used of about {quota}"));
                Error::limit_exceeded(format!("the browser's storage quota is exceeded{room}"))
            }
        }
    }
}

impl Kv for IndexedDb {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        let limit = if keys.len() > 1 { LARGE_LIMIT_MS } else { SMALL_LIMIT_MS };
        match self.attempt(limit, &|database, _| Box::pin(read_many(database, store, keys))).await? {
            Answer::Found(found) => Ok(found),
            _ => Err(unexpected()),
        }
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        let work = |database, _| -> Work<'_> { Box::pin(read_range(database, store, bounds(from, to), limit)) };
        match self.attempt(LARGE_LIMIT_MS, &work).await? {
            Answer::Rows(rows) => Ok(rows),
            _ => Err(unexpected()),
        }
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        let work = |database, _| -> Work<'_> { Box::pin(read_keys(database, store, bounds(from, to))) };
        match self.attempt(LARGE_LIMIT_MS, &work).await? {
            Answer::Keys(keys) => Ok(keys),
            _ => Err(unexpected()),
        }
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        // Everything that allocates happens before the transaction exists.
        let requests: Vec<Request> = tx.ops().iter().map(Request::new).collect();
        let limit = if tx.is_large() { LARGE_LIMIT_MS } else { SMALL_LIMIT_MS };
        let requests = requests.as_slice();
        let work = |database, retry| -> Work<'_> { Box::pin(write(database, tx, requests, durability, retry)) };
        self.attempt(limit, &work).await.map(|_| ())
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
            Err(error) => return Err(self.report(open_failure(error)).await),
        };
        match within(LARGE_LIMIT_MS, request).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.report(classify(&error)).await),
            Err(_) => Err(Error::unavailable("another tab keeps the database from being deleted")),
        }
    }
}

fn unexpected() -> Error {
    Error::internal("a transaction gave another answer than it was asked for")
}

async fn read_many(database: Database, store: Store, keys: &[Key]) -> Attempt<Answer> {
    let tx = read_only(&database, store)?;
    let rows = object_store(&tx, store)?;
    let requests =
        keys.iter().map(|key| rows.get::<JsValue, _, _>(js_bytes(key)).primitive().map_err(|e| classify(&e)));
    let requests = requests.collect::<Attempt<Vec<_>>>()?;
    let mut found = Vec::with_capacity(keys.len());
    for request in requests {
        found.push(request.await.map_err(|e| classify(&e))?.map(blob).transpose()?);
    }
    Ok(Answer::Found(found))
}

async fn read_range(database: Database, store: Store, query: KeyRange<JsValue>, limit: u32) -> Attempt<Answer> {
    let tx = read_only(&database, store)?;
    let rows = object_store(&tx, store)?;
    let keys = rows.get_all_keys().with_query::<JsValue, _>(query.clone()).with_limit(limit).primitive();
    let values = rows.get_all().with_query::<JsValue, _>(query).with_limit(limit).primitive();
    let keys = keys.map_err(|e| classify(&e))?.await.map_err(|e| classify(&e))?;
    let values = values.map_err(|e| classify(&e))?.await.map_err(|e| classify(&e))?;
    let pairs = keys.zip(values).map(|(key, value)| Ok((key_bytes(key)?, blob(value.map_err(|e| classify(&e))?)?)));
    pairs.collect::<Attempt<_>>().map(Answer::Rows)
}

async fn read_keys(database: Database, store: Store, query: KeyRange<JsValue>) -> Attempt<Answer> {
    let tx = read_only(&database, store)?;
    let keys = object_store(&tx, store)?.get_all_keys().with_query::<JsValue, _>(query).primitive();
    let keys = keys.map_err(|e| classify(&e))?.await.map_err(|e| classify(&e))?;
    keys.map(key_bytes).collect::<Attempt<_>>().map(Answer::Keys)
}

fn key_bytes(key: indexed_db_futures::Result<JsValue>) -> Attempt<Key> {
    key.map(|key| Uint8Array::new(&key).to_vec()).map_err(|e| classify(&e))
}

fn object_store<'a>(tx: &'a Transaction<'_>, store: Store) -> Attempt<ObjectStore<'a>> {
    tx.object_store(store.name()).map_err(|e| classify(&e))
}

async fn write(
    database: Database,
    tx: &KvTx,
    requests: &[Request],
    durability: Durability,
    retry: bool,
) -> Attempt<Answer> {
    if retry && was_applied(&database, tx).await? {
        return Ok(Answer::Done);
    }
    let options = TransactionOptions::new().with_durability(match durability {
        Durability::Relaxed => TransactionDurability::Relaxed,
        Durability::Strict => TransactionDurability::Strict,
    });
    let stores: Vec<&str> = tx.stores().into_iter().map(Store::name).collect();
    let transaction = database.transaction(stores.as_slice()).with_mode(TransactionMode::Readwrite);
    let transaction = transaction.with_options(options).build().map_err(|e| classify(&e))?;
    check_fence(&transaction, tx).await?;
    place(&transaction, requests).map_err(|e| classify(&e))?;
    let raw: web_sys::IdbTransaction = JsValue::from(transaction.as_sys()).unchecked_into();
    match transaction.commit().await {
        Ok(()) => Ok(Answer::Done),
        Err(error) => Err(raw.error().map_or_else(|| classify(&error), |cause| by_name(&cause))),
    }
}

/// One write, ready to be placed.
struct Request {
    store: Store,
    action: Action,
}

enum Action {
    Put(JsValue, JsValue),
    Add(JsValue, JsValue),
    Delete(JsValue),
    DeleteRange(KeyRange<JsValue>),
}

impl Request {
    fn new(op: &Op) -> Self {
        let action = match op {
            Op::Put(_, key, value) => Action::Put(js_bytes(key), js_bytes(value)),
            Op::Add(_, key, value) => Action::Add(js_bytes(key), js_bytes(value)),
            Op::Delete(_, key) => Action::Delete(js_bytes(key)),
            Op::DeleteRange(_, from, to) => Action::DeleteRange(bounds(from, to)),
        };
        Self { store: op.store(), action }
    }
}

/// Places every request in one go: no await and nothing that panics between the first and the last.
fn place(transaction: &Transaction<'_>, requests: &[Request]) -> indexed_db_futures::Result<()> {
    for request in requests {
        let store = transaction.object_store(request.store.name())?;
        match &request.action {
            Action::Put(key, value) => drop(store.put(value).with_key(key).without_key_type().primitive()?),
            Action::Add(key, value) => drop(store.add(value).with_key(key).without_key_type().primitive()?),
            Action::Delete(key) => drop(store.delete::<JsValue, _>(key.clone()).primitive()?),
            Action::DeleteRange(range) => drop(store.delete::<JsValue, _>(range.clone()).primitive()?),
        }
    }
    Ok(())
}

/// Reads the fence inside the transaction that is about to write: nothing has been placed when it has moved.
async fn check_fence(transaction: &Transaction<'_>, tx: &KvTx) -> Attempt<()> {
    let Some(fence) = tx.fence() else { return Ok(()) };
    let rows = object_store(transaction, fence.store)?;
    let request = rows.get::<JsValue, _, _>(js_bytes(&fence.key)).primitive().map_err(|e| classify(&e))?;
    let found = request.await.map_err(|e| classify(&e))?.map(blob).transpose()?;
    if found.is_some_and(|row| row.to_vec() == fence.value) {
        return Ok(());
    }
    Err(Failure::Final(Error::conflict("another tab has taken the database over")))
}

/// Whether an earlier attempt whose answer was lost is in the database after all: its added rows tell.
async fn was_applied(database: &Database, tx: &KvTx) -> Attempt<bool> {
    let Some((store, key, value)) = tx.ops().iter().find_map(|op| match op {
        Op::Add(store, key, value) => Some((*store, key, value)),
        _ => None,
    }) else {
        return Ok(false);
    };
    let transaction = read_only(database, store)?;
    let rows = object_store(&transaction, store)?;
    let request = rows.get::<JsValue, _, _>(js_bytes(key)).primitive().map_err(|e| classify(&e))?;
    let found = request.await.map_err(|e| classify(&e))?.map(blob).transpose()?;
    Ok(found.is_some_and(|row| row.to_vec() == *value))
}

fn read_only(database: &Database, store: Store) -> Attempt<Transaction<'_>> {
    database.transaction(store.name()).with_mode(TransactionMode::Readonly).build().map_err(|e| classify(&e))
}

fn js_bytes(bytes: &[u8]) -> JsValue {
    Uint8Array::from(bytes).into()
}

fn bounds(from: &[u8], to: &[u8]) -> KeyRange<JsValue> {
    KeyRange::Bound(js_bytes(from), false, js_bytes(to), true)
}

fn blob(value: JsValue) -> Attempt<Blob> {
    let foreign = |_| Failure::Final(Error::corrupted("a stored value is not bytes"));
    value.dyn_into::<Uint8Array>().map(Blob::Js).map_err(foreign)
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
    if let idb::Error::DomException(exception) = error {
        return by_name(exception.as_sys());
    }
    // Not the error's own text: formatting every kind that the crate knows would be part of the download.
    Failure::Lost(match error {
        idb::Error::MissingData(_) => "a transaction ended without a reason".into(),
        _ => "an unexpected answer".into(),
    })
}

fn by_name(exception: &web_sys::DomException) -> Failure {
    let message = || format!("{}: {}", exception.name(), exception.message());
    match exception.name().as_str() {
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
    type Scope;
    #[wasm_bindgen(method, getter, structural)]
    fn navigator(this: &Scope) -> JsValue;
    type Navigator;
    #[wasm_bindgen(method, getter, structural)]
    fn storage(this: &Navigator) -> JsValue;
}

/// What the browser says of usage and quota; not to be planned by, but it helps whoever reads the error.
async fn estimate() -> Option<(String, String)> {
    let navigator = js_sys::global().unchecked_into::<Scope>().navigator();
    if navigator.is_undefined() {
        return None;
    }
    let storage = navigator.unchecked_into::<Navigator>().storage();
    if storage.is_undefined() {
        return None;
    }
    let promise = storage.unchecked_into::<web_sys::StorageManager>().estimate().ok()?;
    let estimate = wasm_bindgen_futures::JsFuture::from(promise).await.ok()?;
    let number = |name| js_sys::Reflect::get(&estimate, &JsValue::from_str(name)).ok()?.as_f64();
    // Written by JavaScript: the numbers are whole and may be beyond a u32.
    let text = |bytes: f64| js_sys::Number::from(bytes).to_string_with_radix(10).map(String::from).ok();
    Some((text(number("usage")?)?, text(number("quota")?)?))
}
