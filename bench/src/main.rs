//! `ours`: the engine as `compare/` drives it, in a process of its own, one JSON object a line in and one out.
//!
//! | command | answer |
//! |---|---|
//! | `{"load": {"base", "queries"}}` | `{}` |
//! | `{"build": {"metric", "quantization", "ef_construction", "hands"}}` | `{"cpu_nanos", "wall_nanos", "bytes"}` |
//! | `{"search": {"top_k", "ef", "exact"}}` | `{"cpu_nanos", "distances", "ids"}` |
//!
//! What cannot be done is answered with `{"error"}`. Times are of the work alone, not of reading and writing lines. With
//! `hands` a graph is built in batches by so many threads, as a server does; without, node by node, as a tab does.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};
use std::path::PathBuf;
use std::time::Instant;

use hyperspace_bench::clock::timed;
use hyperspace_bench::hands::Hands;
use hyperspace_bench::index::Index;
use hyperspace_bench::rows::Rows;
use hyperspace_core::collection::{CollectionConfig, Plan};
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    Load {
        base: PathBuf,
        queries: PathBuf,
    },
    Build {
        metric: String,
        quantization: String,
        ef_construction: Option<u32>,
        hands: Option<usize>,
    },
    Search {
        top_k: usize,
        ef: Option<usize>,
        #[serde(default)]
        exact: bool,
    },
}

#[derive(Default)]
struct State {
    base: Rows,
    queries: Rows,
    index: Option<Index>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut state = State::default();
    for line in stdin().lock().lines() {
        let answer = serde_json::from_str(&line?).map_err(Into::into).and_then(|command| state.obey(command));
        let answer = answer.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        writeln!(stdout(), "{answer}")?;
    }
    Ok(())
}

impl State {
    fn obey(&mut self, command: Command) -> Result<Value, Box<dyn Error>> {
        match command {
            Command::Load { base, queries } => {
                (self.base, self.queries) = (Rows::read(&base)?, Rows::read(&queries)?);
                Ok(json!({}))
            }
            Command::Build { metric, quantization, ef_construction, hands } => {
                let metric = Metric::parse(&metric)?;
                let quantization = Quantization::parse(&quantization)?;
                let config = CollectionConfig::new("bench", self.base.dimension, metric)?;
                let config = CollectionConfig { quantization, ef_construction, ..config };
                self.index = None;
                let hands = hands.map(Hands::new).transpose()?;
                let began = Instant::now();
                let (index, cpu_nanos) = timed(|| Index::build(config, &self.base, hands.as_ref()));
                let wall_nanos = began.elapsed().as_nanos() as u64;
                let index = self.index.insert(index?);
                Ok(json!({ "cpu_nanos": cpu_nanos, "wall_nanos": wall_nanos, "bytes": index.bytes() }))
            }
            Command::Search { top_k, ef, exact } => {
                let plan = if exact { Plan::Exact } else { Plan::Graph };
                let index = self.index.as_mut().ok_or("nothing is built")?;
                let (answers, cpu_nanos) = timed(|| index.search(&self.queries, top_k, ef, plan));
                let answers = answers?;
                Ok(json!({ "cpu_nanos": cpu_nanos, "distances": answers.distances, "ids": answers.ids }))
            }
        }
    }
}
