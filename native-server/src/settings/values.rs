//! The kinds of values that settings have: each from text and to TOML.

use std::fmt::{self, Debug, Formatter};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use http::uri::Authority;
use hyperspace_core::port::Durability;
use tracing::level_filters::LevelFilter;

/// How a kind of value is given on the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Once; a later flag overrules an earlier one.
    Single,
    /// As a flag that may stand alone, meaning `true`.
    Switch,
    /// Several times, or separated by commas.
    List,
    /// Not at all, and it is not shown: whoever is on the machine sees the command lines of others.
    Secret,
}

/// A kind of value.
pub(super) trait Value: Sized {
    /// How it is given on the command line.
    const SHAPE: Shape = Shape::Single;

    /// Reads a text; the error says what was expected.
    fn parse(text: &str) -> Result<Self, String>;

    /// The value as TOML.
    fn show(&self) -> String;
}

/// What a server is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It accepts writes.
    Leader,
    /// It is equal to a leader, and changes nothing by itself.
    Follower,
}

/// Which servers have a write before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConcern {
    /// The leader.
    Leader,
    /// More than half of the leader and those who follow it.
    Majority,
}

/// The name of a host, in lower case and without a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(String);

impl Host {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a page comes from: `scheme://host` or `scheme://host:port`, in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin; nothing when it has a path or a `*`, or is none.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
        let is_authority = authority.parse::<Authority>().is_ok() && !authority.contains(['*', '@']);
        (is_scheme && is_authority).then(|| Self(text.to_ascii_lowercase()))
    }

    /// The origin as a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What only those know who were told.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The shortest secret that is taken for one, in characters.
const SHORTEST_SECRET: usize = 32;

impl Secret {
    /// A text as a secret; nothing when it is too short, or no header could carry it.
    pub fn new(text: &str) -> Option<Self> {
        let is_one = text.len() >= SHORTEST_SECRET && text.bytes().all(|b| b.is_ascii_graphic());
        is_one.then(|| Self(text.to_owned()))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "an address and a port, such as 127.0.0.1:50051".into())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path".into()) } else { Ok(Self::from(text)) }
    }

    fn show(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

impl Value for Option<PathBuf> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn show(&self) -> String {
        quoted(&self.as_deref().unwrap_or_else(|| Path::new("")).to_string_lossy())
    }
}

impl Value for bool {
    const SHAPE: Shape = Shape::Switch;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "true or false".into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for NonZeroUsize {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "a whole number from 1".into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Durability {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "strict" => Ok(Self::Strict),
            "relaxed" => Ok(Self::Relaxed),
            _ => Err("strict or relaxed".into()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Strict => "strict",
            Self::Relaxed => "relaxed",
        })
    }
}

impl Value for Role {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "leader" => Ok(Self::Leader),
            "follower" => Ok(Self::Follower),
            _ => Err("leader or follower".into()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
        })
    }
}

impl Value for WriteConcern {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "leader" => Ok(Self::Leader),
            "majority" => Ok(Self::Majority),
            _ => Err("leader or majority".into()),
        }
    }

    fn show(&self) -> String {
        quoted(match self {
            Self::Leader => "leader",
            Self::Majority => "majority",
        })
    }
}

impl Value for LevelFilter {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "off, error, warn, info, debug or trace".into())
    }

    fn show(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Option<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn show(&self) -> String {
        quoted(self.as_deref().unwrap_or_default())
    }
}

impl Value for Option<Secret> {
    const SHAPE: Shape = Shape::Secret;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(None);
        }
        let secret = Secret::new(text).ok_or_else(|| format!("at least {SHORTEST_SECRET} characters of visible ASCII"));
        secret.map(Some)
    }

    fn show(&self) -> String {
        quoted(if self.is_some() { "(set)" } else { "" })
    }
}

impl Value for Host {
    fn parse(text: &str) -> Result<Self, String> {
        let is_host = text.parse::<Authority>().is_ok_and(|a| a.host() == text && !text.contains('*'));
        if is_host { Ok(Self(text.to_ascii_lowercase())) } else { Err("a host's name without a port".into()) }
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

impl Value for Origin {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).ok_or_else(|| "an origin such as http://localhost:5173, without a path and without `*`".into())
    }

    fn show(&self) -> String {
        quoted(&self.0)
    }
}

/// In one text, the items of a list are separated by commas.
impl<T: Value> Value for Vec<T> {
    const SHAPE: Shape = Shape::List;

    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| T::parse(item).map_err(|expected| format!("a list, each item {expected}"))).collect()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(Value::show).collect::<Vec<_>>().join(", "))
    }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_are_plain_names_without_wildcards() {
        for good in ["db.example.org", "DB.local", "192.168.1.2", "[fe80::1]"] {
            assert_eq!(Host::parse(good).unwrap().as_str(), good.to_ascii_lowercase());
        }
        for bad in ["", "*", "*.example.org", "host:80", "user@host", "a b", "http://host", "host/"] {
            assert!(Host::parse(bad).is_err(), "{bad}");
        }
        for good in ["http://localhost:5173", "https://Example.org", "tauri://localhost"] {
            assert_eq!(Origin::parse(good).unwrap().as_str(), good.to_ascii_lowercase());
        }
        for bad in ["*", "null", "localhost", "http://", "http://a/", "http://a/b", "http://u@a", "http://*.a", "://a"]
        {
            assert!(Origin::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let hosts = <Vec<Host>>::parse(" a.org, b.org ,").unwrap();
        assert_eq!(hosts.show(), r#"["a.org", "b.org"]"#);
        assert!(<Vec<Host>>::parse("a.org,*").unwrap_err().contains("a host's name"));
        assert_eq!(<Vec<Host>>::parse("").unwrap(), []);
    }

    #[test]
    fn a_secret_is_long_enough_and_never_shown() {
        let parse = <Option<Secret>>::parse;
        assert_eq!(parse("").unwrap(), None);
        let long = "a1-".repeat(11);
        let secret = parse(&long).unwrap();
        assert_eq!(secret.as_ref().unwrap().reveal(), long);
        assert_eq!((secret.show(), format!("{secret:?}")), ("\"(set)\"".into(), "Some(Secret(..))".into()));
        for bad in [&long[..31], "(set)", &long.replace('-', " "), &long.replace('-', "\u{e4}")] {
            assert!(parse(bad).unwrap_err().contains("at least 32"), "{bad}");
        }
    }

    #[test]
    fn a_path_with_quotes_is_still_toml() {
        let shown = PathBuf::from("a \"b\"\\c").show();
        let table: toml::Table = format!("x = {shown}").parse().unwrap();
        assert_eq!(table["x"].as_str(), Some("a \"b\"\\c"));
    }
}
