//! What an administrator chooses: one table, from which the fields, their defaults, the keys of the file, the names of
//! environment variables, the flags and their help all come.
//!
//! Later sources win: defaults, the TOML file, `HYPERSPACE_*` variables, flags. Every value is parsed by its type, from
//! text, whatever source it came from. Knows nothing of how a setting is used, but for the two rules of
//! [`Settings::check`].

mod sources;
mod values;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use http::Uri;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::port::Durability;
use tracing::level_filters::LevelFilter;

use crate::database::DatabaseOptions;
use crate::remote::is_loopback;

pub use sources::{Chosen, Invocation, Refused, read};
pub use values::{Host, Origin, Role, Secret, WriteConcern};

use values::{Shape, Value};

/// One row of the table.
struct Row {
    /// As in the file; `-` for `_` in flags, in capitals behind `HYPERSPACE_` in the environment.
    name: &'static str,
    help: &'static str,
    shape: Shape,
    /// Parses a text into its field; the error says what was expected.
    set: fn(&mut Settings, &str) -> std::result::Result<(), String>,
    /// The value as TOML.
    show: fn(&Settings) -> String,
}

macro_rules! settings {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ty = $default:expr;)+) => {
        /// Everything that an administrator chooses.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings {
            $($(#[doc = $help])+ pub $name: $kind,)+
        }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        const TABLE: &[Row] = &[$(Row {
            name: stringify!($name),
            help: concat!($($help),+).trim_ascii(),
            shape: <$kind as Value>::SHAPE,
            set: |settings, text| <$kind as Value>::parse(text).map(|value| settings.$name = value),
            show: |settings| settings.$name.show(),
        },)+];
    };
}

settings! {
    /// Address and port to listen on; port 0 takes a free one.
    listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 50051));
    /// Folder of the database, made when it is missing.
    data_dir: PathBuf = PathBuf::from("./data");
    /// What a write survives that does not say: strict (a crash of the machine) or relaxed (the death of the process).
    durability: Durability = Durability::Strict;
    /// PEM file of the server's certificate and those between it and its authority. With it the port speaks TLS 1.2 and 1.3, and no plain text; a file that changes is taken within ten seconds.
    tls_cert: Option<PathBuf> = None;
    /// PEM file of the certificate's private key.
    tls_key: Option<PathBuf> = None;
    /// Listen beyond loopback without TLS or without keys: in plain text keys and data can be read on the way, and without keys whoever reaches the port may do everything.
    insecure: bool = false;
    /// The administrator's key, which is not kept in the data directory.
    admin_api_key: Option<Secret> = None;
    /// Names under which requests may address the server, beside `localhost`, `127.0.0.1` and `[::1]`.
    allowed_hosts: Vec<Host> = Vec::new();
    /// Origins whose pages may use the server, such as `http://localhost:5173`; its own pages always may.
    allowed_origins: Vec<Origin> = Vec::new();
    /// Folder of the built demo page, served at `/`.
    demo_dir: PathBuf = PathBuf::from("web-demo/dist");
    /// Threads that build graphs, each graph with all of them.
    indexers: NonZeroUsize = count(DatabaseOptions::default().indexers);
    /// Writers wait while a collection has more bytes than this in memory that are in no segment yet.
    memtable_limit_bytes: NonZeroUsize = count(DatabaseOptions::default().memtable_limit);
    /// Log beyond this many bytes is cut, by sealing small memtables too.
    log_limit_bytes: NonZeroUsize = count(DatabaseOptions::default().log_limit as usize);
    /// Bytes of one file of the log.
    log_file_bytes: NonZeroUsize = count(DatabaseOptions::default().log_file_bytes as usize);
    /// Largest message of a native client.
    max_message_bytes: NonZeroUsize = count(64 << 20);
    /// Largest message from a browser.
    max_browser_message_bytes: NonZeroUsize = count(4 << 20);
    /// What is told on standard error: off, error, warn, info, debug or trace.
    log: LevelFilter = LevelFilter::INFO;
    /// leader, or follower: a copy of its leader, which it keeps equal, for reading.
    role: Role = Role::Leader;
    /// URL of the leader that a follower follows, such as `http://localhost:50051` or `https://db.example:50051`.
    leader: Option<String> = None;
    /// PEM file with the authorities by which the leader is known, instead of the system's.
    leader_ca: Option<PathBuf> = None;
    /// The key by which a follower asks its leader, with the scope `admin`; none when the leader has no keys.
    leader_api_key: Option<Secret> = None;
    /// Seconds after which the digests of all collections are computed anew from the stored bytes; a week.
    recount_seconds: NonZeroUsize = count(7 * 24 * 3600);
    /// Seconds for which deletes are remembered, so that a replica hears of them: a month. One that was away for longer takes everything anew.
    tombstone_seconds: NonZeroUsize = count(30 * 24 * 3600);
    /// Which servers have a write before it is answered: the leader, or a majority of it and its followers.
    write_concern: WriteConcern = WriteConcern::Leader;
}

impl Settings {
    /// Checks what no single setting can tell.
    ///
    /// # Errors
    /// `InvalidArgument` when the server would be open to a network unasked, or does not know whom to follow.
    pub fn check(&self) -> Result<()> {
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            return Err(Error::invalid_argument("--tls-cert and --tls-key go together"));
        }
        match (self.role, &self.leader) {
            (Role::Follower, None) => return Err(Error::invalid_argument("a follower needs --leader URL")),
            (Role::Leader, Some(leader)) => {
                return Err(Error::invalid_argument(format!("--leader {leader} is for --role follower")));
            }
            (Role::Follower, Some(leader)) => check_leader(leader, self.leader_api_key.is_some(), self.insecure)?,
            (Role::Leader, None) => {}
        }
        if self.is_for_strangers() && self.tls_cert.is_none() {
            return Err(Error::invalid_argument(format!(
                "{} can be reached from other machines: give it --tls-cert and --tls-key, listen on 127.0.0.1, or say \
                 --insecure when keys and data may travel in plain text, and whoever reaches the port may do everything \
                 until there are keys",
                self.listen
            )));
        }
        Ok(())
    }

    /// Whether other machines reach the server, and nobody said that it may be without protection.
    pub(crate) fn is_for_strangers(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback() && !self.insecure
    }

    /// What the database wants to know of it.
    pub fn database_options(&self) -> DatabaseOptions {
        DatabaseOptions {
            durability: self.durability,
            indexers: self.indexers.get(),
            memtable_limit: self.memtable_limit_bytes.get(),
            log_limit: self.log_limit_bytes.get() as u64,
            log_file_bytes: self.log_file_bytes.get() as u64,
            ..DatabaseOptions::default()
        }
    }
}

/// Checks the address of a leader, to which no key travels in plain text.
fn check_leader(leader: &str, has_key: bool, insecure: bool) -> Result<()> {
    let uri: Option<Uri> = leader.parse().ok();
    let uri = uri.filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.port_u16().is_some() && uri.path() == "/"
    });
    let Some(uri) = uri.filter(|uri| uri.host().is_some_and(|host| !host.is_empty())) else {
        return Err(Error::invalid_argument(format!(
            "--leader {leader:?} is no address such as http://localhost:50051 or https://db.example:50051"
        )));
    };
    if uri.scheme_str() == Some("https") || is_loopback(&uri) || insecure || !has_key {
        return Ok(());
    }
    Err(Error::invalid_argument(format!(
        "the key for the leader would travel to {leader} in plain text: use https, or say --insecure"
    )))
}

fn count(default: usize) -> NonZeroUsize {
    NonZeroUsize::new(default).expect("a default is not 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_others_can_reach_has_to_be_asked_for() {
        let on = |listen: &str, insecure| Settings { listen: listen.parse().unwrap(), insecure, ..Settings::default() };
        for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            on(listen, false).check().unwrap();
        }
        for listen in ["0.0.0.0:1", "[::]:1", "192.168.1.2:1"] {
            let error = on(listen, false).check().unwrap_err();
            assert!(error.message().contains(listen) && error.message().contains("--insecure"), "{error}");
            on(listen, true).check().unwrap();
            let pair = || Some(PathBuf::from("x.pem"));
            Settings { tls_cert: pair(), tls_key: pair(), ..on(listen, false) }.check().unwrap();
            assert!(Settings { tls_cert: pair(), ..on(listen, true) }.check().is_err(), "half a pair");
            assert!(Settings { tls_key: pair(), ..on(listen, true) }.check().is_err(), "half a pair");
        }
    }

    #[test]
    fn a_follower_knows_its_leader_and_tells_its_key_to_nobody_on_the_way() {
        let key = Secret::new(&"k".repeat(40)).unwrap();
        let follower = |leader: &str, leader_api_key: Option<Secret>, insecure| {
            let leader = Some(leader.to_owned());
            Settings { role: Role::Follower, leader, leader_api_key, insecure, ..Settings::default() }.check()
        };
        for leader in ["http://localhost:1", "http://127.0.0.1:50051/", "http://[::1]:1"] {
            follower(leader, Some(key.clone()), false).unwrap();
        }
        follower("http://db.example:1", None, false).unwrap();
        follower("http://db.example:1", Some(key.clone()), true).unwrap();
        follower("https://db.example:1", Some(key.clone()), false).unwrap();
        assert!(follower("http://db.example:1", Some(key), false).is_err());
        for leader in ["", "localhost:1", "ftp://localhost:1", "https://localhost", "http://localhost:1/a", "http://:1"]
        {
            assert!(follower(leader, None, false).is_err(), "{leader:?}");
        }
        let none = [
            Settings { role: Role::Follower, ..Settings::default() },
            Settings { leader: Some("http://localhost:1".into()), ..Settings::default() },
        ];
        none.iter().for_each(|settings| assert!(settings.check().is_err(), "{settings:?}"));
    }

    #[test]
    fn every_default_can_be_said_in_words_too() {
        let defaults = Settings::default();
        for row in TABLE {
            let toml: toml::Table = format!("{} = {}", row.name, (row.show)(&defaults)).parse().unwrap();
            let mut settings = Settings::default();
            (row.set)(&mut settings, &sources::text_of(&toml[row.name]).unwrap()).unwrap();
            assert_eq!(settings, defaults, "{}", row.name);
        }
    }
}
