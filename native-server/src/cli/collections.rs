//! `collections`: list, create, get, delete.

use std::iter::once;

use hyperspace_core::error::Error;
use serde_json::{Map, Value, json};

use super::args::{Collections, Create};
use super::connect::Session;
use super::failure::{Failure, Outcome};
use super::output::{Console, Side, Table, count};
use super::wire;
use crate::proto;

/// Runs `collections` with one of its subcommands.
pub(crate) async fn collections(
    session: &Session,
    command: Option<Collections>,
    console: &mut Console<'_>,
) -> Outcome<()> {
    match command.unwrap_or(Collections::List) {
        Collections::List => list(session, console).await,
        Collections::Create(arguments) => create(session, arguments, console).await,
        Collections::Get { name } => {
            let collection = get(session, &name).await?;
            console.answer(|| to_json(&collection), || describe(&collection))
        }
        Collections::Delete { name, yes } => delete(session, name, yes, console).await,
    }
}

/// Asks the server about one collection.
pub(crate) async fn get(session: &Session, name: &str) -> Result<proto::Collection, tonic::Status> {
    let request = proto::GetCollectionRequest { name: name.to_string() };
    Ok(session.collections().get(request).await?.into_inner())
}

/// The configuration of a collection, which a server always sends.
pub(crate) fn config(collection: &proto::Collection) -> Result<&proto::CollectionConfig, Error> {
    collection
        .config
        .as_ref()
        .ok_or_else(|| Error::internal("the server described a collection without its configuration"))
}

/// A collection as JSON; numbers that adapt are absent.
pub(crate) fn to_json(collection: &proto::Collection) -> Value {
    let mut out = collection.config.as_ref().map(config_to_json).unwrap_or_default();
    out.extend([
        ("id".to_string(), json!(collection.id)),
        ("points".to_string(), json!(collection.points)),
        ("pending".to_string(), json!(collection.pending)),
        ("segments".to_string(), json!(collection.segments)),
    ]);
    Value::Object(out)
}

/// A configuration as JSON; numbers that adapt are absent.
pub(crate) fn config_to_json(config: &proto::CollectionConfig) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("name".to_string(), json!(config.name));
    out.insert("dimension".to_string(), json!(config.dimension));
    out.insert("metric".to_string(), json!(metric_name(config)));
    out.insert("quantization".to_string(), json!(quantization_name(config)));
    let numbers = [("m", config.m), ("ef_construction", config.ef_construction), ("ef_search", config.ef_search)];
    for (name, number) in numbers {
        if let Some(number) = number {
            out.insert(name.to_string(), json!(number));
        }
    }
    out
}

/// The name of a metric; its number when a later server has one that is not known here.
pub(crate) fn metric_name(config: &proto::CollectionConfig) -> String {
    wire::metric_of(config).map_or_else(|_| config.metric.to_string(), |metric| metric.to_string())
}

fn quantization_name(config: &proto::CollectionConfig) -> String {
    wire::quantization_of(config).map_or_else(|_| config.quantization.to_string(), |known| known.to_string())
}

fn number_or_auto(number: Option<u64>) -> String {
    number.map_or_else(|| "auto".to_string(), |number| number.to_string())
}

async fn list(session: &Session, console: &mut Console<'_>) -> Outcome<()> {
    let request = proto::ListCollectionsRequest {};
    let collections = session.collections().list(request).await?.into_inner().collections;
    let json = || json!({ "collections": collections.iter().map(to_json).collect::<Vec<_>>() });
    console.answer(json, || table(&collections))
}

fn table(collections: &[proto::Collection]) -> String {
    if collections.is_empty() {
        return "no collections".to_string();
    }
    let mut table = Table::new(&[
        ("collection", Side::Left),
        ("metric", Side::Left),
        ("dimension", Side::Right),
        ("points", Side::Right),
        ("pending", Side::Right),
        ("segments", Side::Right),
    ]);
    for collection in collections {
        let config = collection.config.clone().unwrap_or_default();
        let metric = metric_name(&config);
        let counts = [config.dimension, collection.points, collection.pending, collection.segments].map(count);
        table.row([config.name, metric].into_iter().chain(counts));
    }
    table.render()
}

/// A collection, one property a line.
pub(crate) fn describe(collection: &proto::Collection) -> String {
    let config = collection.config.clone().unwrap_or_default();
    let lines = [
        ("metric", metric_name(&config)),
        ("dimension", count(config.dimension)),
        ("quantization", quantization_name(&config)),
        ("m", number_or_auto(config.m)),
        ("ef_construction", number_or_auto(config.ef_construction)),
        ("ef_search", number_or_auto(config.ef_search)),
        ("points", count(collection.points)),
        ("pending", count(collection.pending)),
        ("segments", count(collection.segments)),
        ("id", collection.id.clone()),
    ];
    let lines = lines.into_iter().map(|(name, value)| format!("  {name:<15}  {value}"));
    once(config.name).chain(lines).collect::<Vec<_>>().join("\n")
}

async fn create(session: &Session, arguments: Create, console: &mut Console<'_>) -> Outcome<()> {
    let config = proto::CollectionConfig {
        name: arguments.name,
        dimension: arguments.dimension,
        metric: wire::metric_to_wire(arguments.metric).into(),
        quantization: wire::quantization_to_wire(arguments.quantization).into(),
        m: arguments.m,
        ef_construction: arguments.ef_construction,
        ef_search: arguments.ef_search,
        ..Default::default()
    };
    let request = proto::CreateCollectionRequest { config: Some(config) };
    let collection = session.collections().create(request).await?.into_inner();
    console.answer(|| to_json(&collection), || describe(&collection))
}

async fn delete(session: &Session, name: String, yes: bool, console: &mut Console<'_>) -> Outcome<()> {
    if !yes {
        if !console.terminals.input {
            return Err(Failure::usage(format!(
                "deleting `{name}` cannot be undone: say --yes where nobody can be asked"
            )));
        }
        let points = get(session, &name).await?.points;
        if !console.confirm(&format!("Delete collection `{name}` with its {} points?", count(points)))? {
            return Err(Error::invalid_argument(format!("`{name}` was not deleted")).into());
        }
    }
    session.collections().delete(proto::DeleteCollectionRequest { name: name.clone() }).await?;
    console.answer(|| json!({ "deleted": name }), || format!("deleted collection `{name}`"))
}
