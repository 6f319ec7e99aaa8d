//! `search`: the nearest points to a vector that is typed, read from a file, or another point's.

use std::path::Path;
use std::time::{Duration, Instant};

use hyperspace_core::error::Error;
use hyperspace_core::types::PointId;
use serde_json::{Value, json};

use super::args;
use super::connect::Session;
use super::failure::{Outcome, at};
use super::import::source::{self, Row};
use super::output::{Console, Side, Table, count, duration};
use super::wire::{components, doubles, id_to_json, id_to_wire, metadata};
use crate::proto;
use crate::proto::vectors::Rows;

/// How many components of a vector a person is shown.
const SHOWN: usize = 8;

/// Searches and shows what was found, nearest first.
pub(crate) async fn search(session: &Session, arguments: args::Search, console: &mut Console<'_>) -> Outcome<()> {
    let vector = query(session, &arguments).await?;
    let request = proto::SearchRequest {
        collection: arguments.collection,
        vector: Some(vector),
        top_k: arguments.top_k,
        filter: arguments.filter.unwrap_or_default(),
        ef_search: arguments.ef,
        exact: arguments.exact,
        with_vector: arguments.with_vector,
        ..Default::default()
    };
    let start = Instant::now();
    let found = session.points().search(request).await?.into_inner();
    let time = start.elapsed();
    let hits = found.hits.iter().map(Shown::new).collect::<Result<Vec<_>, _>>()?;
    console.answer(
        || json!({ "hits": hits.iter().map(Shown::to_json).collect::<Vec<_>>(), "distances": found.distances }),
        || to_text(&hits, found.distances, time),
    )
}

/// The vector to search for. What is typed or read goes as doubles, which the server rounds as the metric needs.
async fn query(session: &Session, arguments: &args::Search) -> Outcome<proto::Vectors> {
    if let Some(numbers) = &arguments.vector {
        return Ok(doubles(&numbers.0));
    }
    if let Some(path) = &arguments.vector_file {
        return Ok(doubles(&row_of_file(path, arguments.row)?));
    }
    let id = arguments.id.as_ref().expect("the parser asks for a vector, a file or an id");
    row_of_point(session, &arguments.collection, id).await
}

fn row_of_file(path: &Path, number: u64) -> Result<Vec<f64>, Error> {
    let mut rows = source::open(path)?;
    let mut row = Row::default();
    rows.skip(number).map_err(|error| at(path.display(), &error))?;
    if !rows.next(&mut row).map_err(|error| at(path.display(), &error))? {
        return Err(Error::not_found(format!("{} has no row {number}", path.display())));
    }
    Ok(row.vector)
}

async fn row_of_point(session: &Session, collection: &str, id: &PointId) -> Outcome<proto::Vectors> {
    let request = proto::GetRequest {
        collection: collection.to_string(),
        ids: vec![id_to_wire(id)],
        with_vector: true,
        with_metadata: Some(false),
    };
    let points = session.points().get(request).await?.into_inner().points;
    let point = points.into_iter().next();
    let point = point.ok_or_else(|| Error::not_found(format!("collection `{collection}` has no point {id}")))?;
    Ok(proto::Vectors { rows: Some(Rows::F32(point.vector.into())) })
}

/// A hit in the forms in which it is shown.
struct Shown {
    id: Value,
    distance: f64,
    metadata: Value,
    vector: Vec<f32>,
}

impl Shown {
    fn new(hit: &proto::Hit) -> Result<Self, Error> {
        Ok(Self {
            id: id_to_json(hit.id.as_ref()),
            distance: hit.distance,
            metadata: metadata(&hit.metadata)?,
            vector: components(&hit.vector),
        })
    }

    fn to_json(&self) -> Value {
        let mut hit = json!({ "id": self.id, "distance": self.distance, "metadata": self.metadata });
        if !self.vector.is_empty() {
            // Widened: exactly what is stored, at the price of some digits.
            hit["vector"] = self.vector.iter().map(|&component| f64::from(component)).collect();
        }
        hit
    }

    fn vector_to_text(&self) -> String {
        let shown: Vec<_> = self.vector.iter().take(SHOWN).map(ToString::to_string).collect();
        let rest =
            if self.vector.len() > SHOWN { format!(", … {} in all", self.vector.len()) } else { String::new() };
        format!("[{}{rest}]", shown.join(", "))
    }
}

fn to_text(hits: &[Shown], distances: u64, time: Duration) -> String {
    let summary = format!("{} hits, {} distances, {}", count(hits.len() as u64), count(distances), duration(time));
    if hits.is_empty() {
        return summary;
    }
    let has_vectors = hits.iter().any(|hit| !hit.vector.is_empty());
    let mut columns = vec![("distance", Side::Right), ("id", Side::Left), ("metadata", Side::Left)];
    columns.extend(has_vectors.then_some(("vector", Side::Left)));
    let mut table = Table::new(&columns);
    for hit in hits {
        let cells = [format!("{:.6}", hit.distance), hit.id.to_string(), hit.metadata.to_string()];
        table.row(cells.into_iter().chain(has_vectors.then(|| hit.vector_to_text())));
    }
    format!("{}\n{summary}", table.render())
}
