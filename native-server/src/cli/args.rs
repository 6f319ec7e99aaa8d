//! The command line, parsed once: what passes here has the right form and is within the limits that are known here.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hyperspace_core::collection::{MAX_EF, MAX_TOP_K};
use hyperspace_core::metric::Metric;
use hyperspace_core::quant::Quantization;
use hyperspace_core::types::PointId;

use super::wire;
use crate::proto;

/// Looks after a HyperspaceDB server. Without a command: Mission Control, the server on one screen, live.
#[derive(Parser, Debug)]
#[command(name = "hyperspace-cli", version, max_term_width = 110)]
#[command(after_help = "Exit codes: 0 done, 1 it failed, 2 the command line is wrong or asks for what is not built.\n\
    Not built yet: usage.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Answer with JSON: one document on standard output, errors as one on standard error.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Which server, as whom, for how long.
#[derive(Args, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Connection {
    /// The server: host:port, http://host:port, or https://host:port for TLS.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    pub(crate) server: String,
    /// PEM file with the authorities by which the server is known, instead of the system's.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The key or token that says who you are. Sent over TLS, or to this machine only.
    // In a variable it is not seen by others on the machine, as command lines are.
    #[arg(long, global = true, value_name = "KEY", env = "HYPERSPACE_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// The tenant, while the server has no keys, or of an administrator [default: the server's `default`].
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) user_id: Option<String>,
    /// How long a call may take [default: 60; no limit for snapshot, vacuum and watching].
    #[arg(long, global = true, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Show the figures of the server and of its collections.
    Stats(Stats),
    /// Ask whether the server accepts writes, which needs no key: exit code 0 when it does.
    Health,
    /// List collections, or look after one.
    Collections {
        #[command(subcommand)]
        command: Option<Collections>,
    },
    /// Find the nearest points.
    Search(Search),
    /// Write the points of a file, going on where an import was interrupted.
    Import(Import),
    /// Write collections to a file that `import` and the tab read.
    Export(Export),
    /// Change how a collection searches and builds, from the next request on.
    Configure(Configure),
    /// Write a consistent copy of the whole database beside it.
    Snapshot,
    /// Rewrite the segments that hold dead points and return their space.
    Vacuum {
        /// One collection [default: all of yours].
        collection: Option<String>,
    },
    /// Measure how many of the nearest points searches find.
    Recall(Recall),
    /// Say who may use the server.
    Keys {
        #[command(subcommand)]
        command: Keys,
    },
    /// Make a follower the leader of what it has.
    Promote,
    /// Count a follower no more, until it comes back.
    RemoveFollower {
        /// Its number, as `stats` shows it.
        id: String,
    },
    #[command(hide = true, disable_help_flag = true)]
    Usage(Anything),
    /// Measure how many searches the server answers, and how soon.
    Bench(Bench),
}

/// What a command that is not built is given.
#[derive(Args, Debug)]
pub(crate) struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) given: Vec<OsString>,
}

#[derive(Args, Debug)]
pub(crate) struct Stats {
    /// Show them again and again, until interrupted.
    #[arg(long)]
    pub(crate) watch: bool,
    /// How often, in milliseconds.
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub(crate) interval_ms: u64,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Collections {
    /// List collections (the default).
    List,
    /// Make an empty collection.
    Create(Create),
    /// Describe one collection.
    Get {
        /// Its name.
        name: String,
    },
    /// Delete a collection with everything in it.
    Delete {
        /// Its name.
        name: String,
        /// Do not ask. Needed where nobody can be asked.
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct Create {
    /// Its name: [a-z0-9_-]{1,64}.
    pub(crate) name: String,
    /// Components a vector. Never changes.
    #[arg(long, value_name = "N")]
    pub(crate) dimension: u64,
    /// How distance is measured: l2, cosine, dot or poincare. Never changes.
    #[arg(long, value_parser = parse_metric)]
    pub(crate) metric: Metric,
    /// How vectors are compressed for graphs: `none`, or `scalar_i8` for a byte a component.
    #[arg(long, value_parser = Quantization::parse, default_value = "none")]
    pub(crate) quantization: Quantization,
    /// Links a node of the graph has [default: by metric and dimension].
    #[arg(long, value_name = "N")]
    pub(crate) m: Option<u64>,
    /// Candidates kept while a graph is built [default: by metric and dimension].
    #[arg(long, value_name = "N")]
    pub(crate) ef_construction: Option<u64>,
    /// Candidates kept while searching [default: by dimension and size].
    #[arg(long, value_name = "N")]
    pub(crate) ef_search: Option<u64>,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("query").required(true).args(["vector", "vector_file", "id"]))]
pub(crate) struct Search {
    /// The collection's name.
    pub(crate) collection: String,
    /// The vector, as numbers with commas between them.
    #[arg(long, value_name = "NUMBERS", allow_hyphen_values = true, value_parser = parse_numbers)]
    pub(crate) vector: Option<Numbers>,
    /// A row of a file as `import` reads them.
    #[arg(long, value_name = "FILE")]
    pub(crate) vector_file: Option<PathBuf>,
    /// Which row of the file, counted from 0.
    #[arg(long, value_name = "N", conflicts_with_all = ["vector", "id"], default_value_t = 0)]
    pub(crate) row: u64,
    /// What is like this point: a number, or a string (in quotes if it looks like a number).
    #[arg(long, value_parser = wire::parse_id)]
    pub(crate) id: Option<PointId>,
    /// How many points.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = up_to(MAX_TOP_K))]
    pub(crate) top_k: u64,
    /// Only points whose metadata match, in JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Candidates kept [default: the collection's number].
    #[arg(long, value_name = "N", value_parser = up_to(MAX_EF))]
    pub(crate) ef: Option<u64>,
    /// Compare with every point: the true nearest.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Show the vectors of what is found.
    #[arg(long)]
    pub(crate) with_vector: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "The queries are 256 points of the collection. Each connection sends a search when it has the \
    answer to the one before.")]
pub(crate) struct Bench {
    /// The collection's name.
    pub(crate) collection: String,
    /// How many clients search at once.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = up_to(256))]
    pub(crate) connections: u64,
    /// For how long.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = up_to(600))]
    pub(crate) seconds: u64,
    /// How many points each search asks for.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = up_to(MAX_TOP_K))]
    pub(crate) top_k: u64,
    /// Only points whose metadata match, in JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,
    /// Candidates kept [default: the collection's number].
    #[arg(long, value_name = "N", value_parser = up_to(MAX_EF))]
    pub(crate) ef: Option<u64>,
    /// Compare with every point: the true nearest.
    #[arg(long)]
    pub(crate) exact: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A .npy matrix of floats, an .fvecs file, a .jsonl file of {"id", "vector", "metadata"}, or a .hyperspace archive.
    pub(crate) file: PathBuf,
    /// The collection to write to; of an archive with one collection, its name here [default: as in the archive].
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
    /// Write the points of an archive into collections that exist, too.
    #[arg(long)]
    pub(crate) merge: bool,
    /// Make the collection with this metric and the file's dimension when there is none.
    #[arg(long, value_parser = parse_metric)]
    pub(crate) metric: Option<Metric>,
    /// Make it with this quantization: `none`, or `scalar_i8` for graphs on a byte a component [default: none].
    #[arg(long, value_parser = Quantization::parse)]
    pub(crate) quantization: Option<Quantization>,
    /// How much is sent at once.
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = parse_batch_bytes)]
    pub(crate) batch_bytes: usize,
    /// What an acknowledged batch survives.
    // Whatever the server's default: rows that a checkpoint counts must not be lost with the power.
    #[arg(long, value_enum, default_value_t = Durability::Strict)]
    pub(crate) durability: Durability,
    /// What is added to the row's number, which is the id of a point that has none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) id_offset: u64,
    /// Metadata for a file that has none: a .jsonl file with an object for each row.
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: Option<PathBuf>,
    /// Start with the first row, whatever an interrupted import has done.
    #[arg(long)]
    pub(crate) restart: bool,
    /// Wait until the server has indexed the points.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Where to remember how far the import came [default: beside the file].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state_dir: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Collections are read page by page while writes go on: a point that is there all the while is in \
    the file once, one that is written or deleted meanwhile perhaps. `snapshot` copies one moment."
)]
pub(crate) struct Export {
    /// The archive, such as notes.hyperspace; one that is there is replaced when the new one is complete.
    pub(crate) file: PathBuf,
    /// A collection; may be given several times [default: all of yours].
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<String>,
}

/// What an acknowledged write survives.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// A crash of the server's machine.
    Strict,
    /// The death of the server's process; after a crash of its machine, import with --restart.
    Relaxed,
}

impl From<Durability> for proto::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Strict => Self::Strict,
            Durability::Relaxed => Self::Relaxed,
        }
    }
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("numbers").required(true).multiple(true).args(["ef_search", "ef_construction"]))]
pub(crate) struct Configure {
    /// The collection's name.
    pub(crate) collection: String,
    /// Candidates kept while searching, or `auto`: by dimension and size.
    #[arg(long, value_name = "N|auto", value_parser = parse_ef)]
    pub(crate) ef_search: Option<u64>,
    /// Candidates kept in graphs that are built from now on, or `auto`: by metric and dimension.
    #[arg(long, value_name = "N|auto", value_parser = parse_ef)]
    pub(crate) ef_construction: Option<u64>,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Keys {
    /// Make a key. The first one has the scope admin and does not expire; from then on every call needs a key.
    Create(CreateKey),
    /// List keys, without their secrets.
    List,
    /// End a key at once, with the tokens that it made.
    Revoke {
        /// Its id, as `keys list` shows it.
        id: String,
    },
    /// Make a token for a browser: a part of what your key allows, for minutes.
    Token(CreateToken),
}

#[derive(Args, Debug)]
pub(crate) struct Recall {
    /// The collection's name.
    pub(crate) collection: String,
    /// How many of its points to ask about: 100 to 1000.
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) queries: u64,
    /// How many nearest of each.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub(crate) top_k: u64,
    /// Candidates kept while searching [default: the collection's].
    #[arg(long, value_name = "N")]
    pub(crate) ef_search: Option<u64>,
}

#[derive(Args, Debug)]
pub(crate) struct CreateKey {
    /// What it allows; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub(crate) scopes: Vec<Scope>,
    /// Whose it is; needed without the scope admin.
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant: Option<String>,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) name: Option<String>,
    /// A collection that it is for; may be given several times [default: all].
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<String>,
    /// When it ends, such as 30d, 12h, 15m or 90s from now [default: never].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) expires: Option<Duration>,
}

#[derive(Args, Debug)]
pub(crate) struct CreateToken {
    /// What it allows: yours or fewer, never admin; may be given several times.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',')]
    pub(crate) scopes: Vec<Scope>,
    /// A collection that it is for; may be given several times [default: all that yours is for].
    #[arg(long = "collection", value_name = "NAME")]
    pub(crate) collections: Vec<String>,
    /// The only pages that may use it, such as `https://app.example` [default: whoever has it].
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: Option<String>,
    /// How long it lives, such as 90s [default: 15m, which is the most].
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) ttl: Option<Duration>,
}

/// What a key or a token allows.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// To search and look.
    Read,
    /// To change points and collections.
    Write,
    /// To replicate.
    Sync,
    /// To keep the server, for all tenants.
    Admin,
}

impl From<Scope> for proto::Scope {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Read => Self::Read,
            Scope::Write => Self::Write,
            Scope::Sync => Self::Sync,
            Scope::Admin => Self::Admin,
        }
    }
}

/// The components of a vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Numbers(pub(crate) Vec<f64>);

/// The largest batch: a message has at most 64 MiB, and holds more than its points.
const MAX_BATCH_BYTES: usize = 60 << 20;

fn up_to(most: usize) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=most as u64)
}

fn parse_metric(text: &str) -> Result<Metric, String> {
    Metric::parse(text).map_err(|error| error.message().to_string())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time >= Duration::from_millis(1) => Ok(time),
        _ => Err("a timeout is at least 0.001 seconds".to_string()),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let units = [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60), ("s", 1)];
    let unit = units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let seconds = unit.and_then(|(number, unit)| number.parse::<u64>().ok()?.checked_mul(unit));
    match seconds {
        Some(seconds @ 1..) => Ok(Duration::from_secs(seconds)),
        _ => Err("a time is a whole number from 1 with d, h, m or s behind it".to_string()),
    }
}

fn parse_numbers(text: &str) -> Result<Numbers, String> {
    let number = |part: &str| part.trim().parse().map_err(|_| format!("{:?} is not a number", part.trim()));
    text.split(',').map(number).collect::<Result<_, _>>().map(Numbers)
}

/// `auto` is 0 on the wire.
pub(super) fn parse_ef(text: &str) -> Result<u64, String> {
    if text == "auto" {
        return Ok(0);
    }
    match text.parse() {
        Ok(ef) if (1..=MAX_EF as u64).contains(&ef) => Ok(ef),
        _ => Err(format!("neither `auto` nor 1 to {MAX_EF}")),
    }
}

fn parse_batch_bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("B", 1)];
    let unit = units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    let bytes = number.trim().parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    match bytes {
        Some(bytes) if (1..=MAX_BATCH_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err("a size is a number with B, KiB or MiB behind it, from 1B to 60MiB".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("hyperspace-cli").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_parser_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_behind_the_command() {
        for line in ["--json --server h:1 --timeout 1.5 stats", "stats --json --server h:1 --timeout 1.5"] {
            let arguments = parse(line).unwrap();
            assert!(arguments.json);
            assert_eq!(arguments.connection.server, "h:1");
            assert_eq!(arguments.connection.timeout, Some(Duration::from_millis(1500)));
        }
        assert_eq!(parse("stats").unwrap().connection.server, "http://127.0.0.1:50051");
    }

    #[test]
    fn a_search_has_exactly_one_query() {
        let Ok(Arguments { command: Some(Command::Search(search)), .. }) = parse("search c --vector -0.5,1e-3,.25")
        else {
            panic!("a vector may begin with a minus")
        };
        assert_eq!(search.vector, Some(Numbers(vec![-0.5, 1e-3, 0.25])));
        assert_eq!(search.top_k, 10);
        let wrong = [
            "search c",
            "search c --vector 1 --id 2",
            "search c --vector 1,x",
            "search c --id 1 --row 2",
            "search c --row 2",
            "search c --id 1 --top-k 0",
            "search c --id 1 --top-k 1001",
            "search c --id 1 --ef 4097",
        ];
        for line in wrong {
            assert!(parse(line).is_err(), "{line} passed");
        }
    }

    #[test]
    fn configure_sets_at_least_one_number() {
        let Ok(Arguments { command: Some(Command::Configure(configure)), .. }) =
            parse("configure c --ef-search auto --ef-construction 4096")
        else {
            panic!("both numbers may be set")
        };
        assert_eq!((configure.ef_search, configure.ef_construction), (Some(0), Some(4096)));
        for line in ["configure c", "configure c --ef-search 0", "configure c --ef-search 4097"] {
            assert!(parse(line).is_err(), "{line} passed");
        }
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        let cases = [("4MiB", 4 << 20), ("512KiB", 512 << 10), ("1000", 1000), ("7B", 7), ("60MiB", 60 << 20)];
        for (text, expected) in cases {
            assert_eq!(parse_batch_bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "61MiB", "4MB", "-1", "1.5MiB", "99999999999999999MiB"] {
            assert!(parse_batch_bytes(text).is_err(), "{text} passed");
        }
    }

    #[test]
    fn times_are_read_with_their_unit() {
        let cases = [("30d", 2_592_000), ("12h", 43_200), ("15m", 900), ("1s", 1)];
        for (text, seconds) in cases {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "15", "d", "0s", "-1d", "1.5h", "1 d", "99999999999999999999d", "999999999999999999d"] {
            assert!(parse_time(text).is_err(), "{text} passed");
        }
    }

    #[test]
    fn keys_have_scopes() {
        let line =
            "keys create --scope read,sync --scope write --tenant ada --collection a --collection b --expires 30d";
        let Ok(Arguments { command: Some(Command::Keys { command: Keys::Create(create) }), .. }) = parse(line) else {
            panic!("scopes are listed or repeated")
        };
        assert_eq!(create.scopes, [Scope::Read, Scope::Sync, Scope::Write]);
        assert_eq!(create.collections, ["a", "b"]);
        for line in ["keys", "keys create", "keys create --scope all", "keys revoke", "keys token --ttl 1m"] {
            assert!(parse(line).is_err(), "{line} passed");
        }
    }

    #[test]
    fn timeouts_that_are_no_time_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "x"] {
            assert!(parse_seconds(text).is_err(), "{text} passed");
        }
    }

    #[test]
    fn what_is_not_built_takes_any_arguments_and_stays_out_of_the_help() {
        for line in ["usage --help", "usage"] {
            assert!(parse(line).is_ok(), "{line}");
        }
        let help = Arguments::command().render_long_help().to_string();
        let commands = help.split("Options:").next().unwrap();
        assert!(!commands.contains("  usage:"), "the help promises usage");
        assert!(help.contains("Not built yet"));
    }
}
