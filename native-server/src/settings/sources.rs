//! Where settings come from: each source becomes names with texts, applied in order, and the table remembers who spoke
//! last. What a source says that the table does not know is an error that names it, never passed over.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use hyperspace_core::error::{Error, Result};

use super::{Row, Settings, Shape, TABLE};

/// What every variable of ours begins with.
const PREFIX: &str = "HYPERSPACE_";
/// The one that is for the command line, of a person who may start a server too.
const FOR_THE_CLI: &str = "HYPERSPACE_API_KEY";

/// What the program was asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// To serve.
    Serve(Settings),
    /// To print the settings and where each came from.
    PrintConfig(Chosen),
    /// To check a data directory that nobody serves.
    Check {
        /// The directory.
        directory: PathBuf,
        /// Whether the answer is read by a machine.
        json: bool,
    },
}

/// Why the program does not start.
#[derive(Debug)]
pub enum Refused {
    /// The command line is wrong, or asked for help or the version: clap knows what to print and how to exit.
    CommandLine(clap::Error),
    /// A setting is wrong, or what was asked for is not built.
    Settings(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Settings(error)
    }
}

/// Settings, and who chose each of them.
#[derive(Debug, Default)]
pub struct Chosen {
    /// The values.
    pub settings: Settings,
    /// In the order of the table; missing ones are defaults.
    by: Vec<(&'static str, String)>,
}

impl Chosen {
    /// Applies what one source says.
    fn apply(&mut self, row: &'static Row, text: &str, source: String) -> Result<()> {
        (row.set)(&mut self.settings, text).map_err(|expected| {
            let not = if row.shape == Shape::Secret { String::new() } else { format!(", not {text:?}") };
            Error::invalid_argument(format!("`{}` is {expected}{not} ({source})", row.name))
        })?;
        self.by.retain(|(name, _)| *name != row.name);
        self.by.push((row.name, source));
        Ok(())
    }

    /// A file with these settings, each with its source in a comment.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        for row in TABLE {
            let source = self.by.iter().find(|(name, _)| *name == row.name).map_or("default", |(_, source)| source);
            let line = format!("{} = {}", row.name, (row.show)(&self.settings));
            let _ = writeln!(out, "{line:<48} # {source}");
        }
        out
    }
}

/// Reads a command line (its first word is the program's name) and an environment.
///
/// # Errors
/// What the program is refused for, naming the flag, the variable or the key.
pub fn read(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> std::result::Result<Invocation, Refused> {
    let matches = command().try_get_matches_from(arguments).map_err(Refused::CommandLine)?;
    if let Some(("check", matches)) = matches.subcommand() {
        let directory = matches.get_one::<PathBuf>("dir").cloned().expect("clap asks for it");
        return Ok(Invocation::Check { directory, json: matches.get_flag("json") });
    }
    let mut chosen = Chosen::default();
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        apply_file(&mut chosen, path)?;
    }
    apply_environment(&mut chosen, environment)?;
    apply_flags(&mut chosen, &matches)?;
    if matches.get_flag("print-config") {
        return Ok(Invocation::PrintConfig(chosen));
    }
    chosen.settings.check()?;
    Ok(Invocation::Serve(chosen.settings))
}

/// The command line, from the table.
fn command() -> Command {
    let settings = flags().map(|row| {
        let value = row.name.to_ascii_uppercase();
        let arg = Arg::new(row.name).long(flag(row)).help(row.help).value_name(value).action(ArgAction::Append);
        match row.shape {
            Shape::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            Shape::Single | Shape::List | Shape::Secret => arg,
        }
    });
    Command::new("hyperspace-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Serves a database over gRPC, gRPC-web and HTTP, on one port.")
        .after_help(
            "Every setting is also a key of the file (data_dir) and a variable (HYPERSPACE_DATA_DIR). \
             Later ones win: defaults, file, environment, flags. The administrator's key, admin_api_key, is no flag: it \
             comes from HYPERSPACE_ADMIN_API_KEY or the file.",
        )
        .args_conflicts_with_subcommands(true)
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .help("TOML file with settings.")
                .value_parser(clap::value_parser!(PathBuf)),
        )
        .arg(
            Arg::new("print-config")
                .long("print-config")
                .help("Print each setting and where it came from, and exit.")
                .action(ArgAction::SetTrue),
        )
        .args(settings)
        .subcommand(
            Command::new("check")
                .about("Verifies every checksum and invariant of a database that nobody serves, and changes nothing.")
                .after_help("Exit codes: 0 when it is sound, 1 when it is damaged, 2 when it cannot be checked.")
                .arg(
                    Arg::new("dir")
                        .value_name("DIR")
                        .required(true)
                        .help("Data directory or snapshot.")
                        .value_parser(clap::value_parser!(PathBuf)),
                )
                .arg(Arg::new("json").long("json").help("Answer with one JSON document.").action(ArgAction::SetTrue)),
        )
}

/// The settings that are flags.
fn flags() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(|row| row.shape != Shape::Secret)
}

fn flag(row: &Row) -> String {
    row.name.replace('_', "-")
}

fn variable(row: &Row) -> String {
    format!("{PREFIX}{}", row.name.to_ascii_uppercase())
}

fn apply_file(chosen: &mut Chosen, path: &Path) -> Result<()> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::invalid_argument(format!("the settings in {shown} cannot be read: {error}")))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| Error::invalid_argument(format!("{shown}: {}", error.message())))?;
    for (key, value) in &table {
        let row = TABLE.iter().find(|row| row.name == key);
        let row = row.ok_or_else(|| Error::invalid_argument(format!("{shown}: there is no setting `{key}`")))?;
        let text = text_of(value).ok_or_else(|| {
            Error::invalid_argument(format!("{shown}: `{key}` is of a kind that no setting is: {}", value.type_str()))
        })?;
        chosen.apply(row, &text, format!("{shown}"))?;
    }
    Ok(())
}

/// A value of a file as the one text that every source is parsed from.
pub(super) fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(truth) => Some(truth.to_string()),
        toml::Value::Array(items) => Some(items.iter().map(toml::Value::as_str).collect::<Option<Vec<_>>>()?.join(",")),
        toml::Value::Float(_) | toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn apply_environment(chosen: &mut Chosen, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<()> {
    for (name, value) in environment {
        let ours = |name: &&str| name.starts_with(PREFIX) && *name != FOR_THE_CLI;
        let Some(name) = name.to_str().filter(ours) else { continue };
        let row = TABLE.iter().find(|row| variable(row) == name);
        let row = row.ok_or_else(|| Error::invalid_argument(format!("there is no setting for the variable {name}")))?;
        let text = value.to_str().ok_or_else(|| Error::invalid_argument(format!("{name} is not UTF-8")))?;
        chosen.apply(row, text, name.to_owned())?;
    }
    Ok(())
}

fn apply_flags(chosen: &mut Chosen, matches: &ArgMatches) -> Result<()> {
    for row in flags() {
        let Some(texts) = matches.get_many::<String>(row.name) else { continue };
        let texts: Vec<&str> = texts.map(String::as_str).collect();
        let text = match row.shape {
            Shape::List => texts.join(","),
            Shape::Single | Shape::Switch | Shape::Secret => texts.last().copied().unwrap_or_default().to_owned(),
        };
        chosen.apply(row, &text, format!("--{}", flag(row)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Chosen> {
        let words = ["hyperspace-server", "--print-config"].iter().chain(arguments).map(OsString::from);
        let variables = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        match read(words, variables) {
            Ok(Invocation::PrintConfig(chosen)) => Ok(chosen),
            Err(Refused::Settings(error)) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn later_sources_overrule_earlier_ones_and_each_value_tells_its_source() {
        let config =
            file("data_dir = \"from-file\"\nindexers = 3\ninsecure = true\nallowed_hosts = [\"a.org\", \"b.org\"]");
        let path = config.path().to_str().unwrap();
        let environment = [("HYPERSPACE_INDEXERS", "4"), ("HYPERSPACE_LISTEN", "127.0.0.1:1"), ("OTHER", "x")];
        let chosen = asked(&["--config", path, "--listen", "127.0.0.1:2"], &environment).unwrap();
        let settings = &chosen.settings;
        assert_eq!(settings.data_dir, Path::new("from-file"));
        assert_eq!(settings.indexers.get(), 4);
        assert_eq!(settings.listen.port(), 2);
        assert!(settings.insecure);
        let toml = chosen.to_toml();
        let source = |name: &str| {
            let line = toml.lines().find(|line| line.starts_with(&format!("{name} = "))).unwrap();
            line.rsplit_once("# ").unwrap().1.to_owned()
        };
        assert_eq!(source("data_dir"), path);
        assert_eq!(source("indexers"), "HYPERSPACE_INDEXERS");
        assert_eq!(source("listen"), "--listen");
        assert_eq!(source("durability"), "default");

        let again = file(&toml);
        let read_back = asked(&["--config", again.path().to_str().unwrap()], &[]).unwrap();
        assert_eq!(&read_back.settings, settings, "what is printed is a file with the same settings");
    }

    #[test]
    fn what_nobody_knows_is_an_error_that_names_it() {
        let unknown = file("data_dirr = \"x\"");
        let odd = file("log_limit_bytes = 1.5");
        #[expect(clippy::type_complexity, reason = "a table")]
        let cases: [(&[&str], &[(&str, &str)], &str); 7] = [
            (&["--config", unknown.path().to_str().unwrap()], &[], "data_dirr"),
            (&["--config", odd.path().to_str().unwrap()], &[], "log_limit_bytes"),
            (&["--config", "/no/such/file"], &[], "/no/such/file"),
            (&[], &[("HYPERSPACE_LISTE", "127.0.0.1:1")], "HYPERSPACE_LISTE"),
            (&[], &[("HYPERSPACE_listen", "127.0.0.1:1")], "HYPERSPACE_listen"),
            (&["--indexers", "0"], &[], "`indexers` is a whole number from 1, not \"0\" (--indexers)"),
            (&[], &[("HYPERSPACE_DURABILITY", "maybe")], "HYPERSPACE_DURABILITY"),
        ];
        for (arguments, environment, named) in cases {
            let error = asked(arguments, environment).unwrap_err();
            assert!(error.message().contains(named), "{error}");
        }
        let refused = read(["hyperspace-server", "--no-such-flag"].map(OsString::from), []);
        assert!(matches!(refused, Err(Refused::CommandLine(_))));
    }

    #[test]
    fn the_administrators_key_comes_by_file_or_environment_and_is_repeated_nowhere() {
        let key = "0123456789abcdef0123456789abcdef";
        let config = file(&format!("admin_api_key = \"{key}\""));
        let path = config.path().to_str().unwrap();
        for chosen in [asked(&["--config", path], &[]), asked(&[], &[("HYPERSPACE_ADMIN_API_KEY", key)])] {
            let chosen = chosen.unwrap();
            assert_eq!(chosen.settings.admin_api_key.as_ref().unwrap().reveal(), key);
            let shown = [chosen.to_toml(), format!("{chosen:?}")].concat();
            assert!(shown.contains("admin_api_key = \"(set)\"") && !shown.contains(key), "{shown}");
        }
        let short = asked(&[], &[("HYPERSPACE_ADMIN_API_KEY", "hunter2")]).unwrap_err();
        assert!(
            short.message().contains("HYPERSPACE_ADMIN_API_KEY") && !short.message().contains("hunter2"),
            "{short}"
        );
        let flag = read(["hyperspace-server", "--admin-api-key", key].map(OsString::from), []);
        assert!(matches!(flag, Err(Refused::CommandLine(_))));
        assert_eq!(asked(&[], &[("HYPERSPACE_API_KEY", "for the command line")]).unwrap().settings.admin_api_key, None);
    }

    #[test]
    fn switches_stand_alone_and_lists_grow() {
        let chosen = asked(&["--insecure", "--allowed-hosts", "a.org", "--allowed-hosts", "b.org,c.org"], &[]).unwrap();
        assert!(chosen.settings.insecure);
        let hosts: Vec<&str> = chosen.settings.allowed_hosts.iter().map(super::super::Host::as_str).collect();
        assert_eq!(hosts, ["a.org", "b.org", "c.org"]);
        let off = asked(&["--insecure=false"], &[("HYPERSPACE_INSECURE", "true")]).unwrap();
        assert!(!off.settings.insecure);
        let last = asked(&["--indexers", "2", "--indexers", "5"], &[]).unwrap();
        assert_eq!(last.settings.indexers.get(), 5);
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        for words in [&["--role", "follower"], &["--leader", "http://a:1"]] {
            let arguments = ["hyperspace-server"].iter().chain(words).map(OsString::from);
            let Err(Refused::Settings(error)) = read(arguments, []) else { panic!("{words:?} was accepted") };
            assert!(error.message().contains("--leader"), "{error}");
        }
    }

    #[test]
    fn a_check_needs_a_directory_and_no_settings() {
        let read = |words: &[&str]| {
            let arguments = ["hyperspace-server"].iter().chain(words).map(OsString::from);
            read(arguments, [("HYPERSPACE_INDEXERS".into(), "0".into())])
        };
        let Ok(Invocation::Check { directory, json }) = read(&["check", "data", "--json"]) else { panic!("no check") };
        assert_eq!((directory, json), (PathBuf::from("data"), true));
        assert!(matches!(read(&["check"]), Err(Refused::CommandLine(_))));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }
}
