//! The way to a server: one connection, which mends itself, and who the caller says to be.

use std::error::Error as _;
use std::time::Duration;

use hyperspace_core::error::Error;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Uri};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;

use super::args::Connection;
use super::failure::{Failure, Outcome, chain};
use crate::proto::admin_client::AdminClient;
use crate::proto::collections_client::CollectionsClient;
use crate::proto::points_client::PointsClient;
use crate::remote::{self, is_loopback};

/// How long a call may take when nobody says.
const DEFAULT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long connecting may take at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing comes back for twice this time is given up.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// What the server may send in one message: its own limit.
const MOST_RECEIVED: usize = 64 << 20;

type Service = InterceptedService<Channel, Caller>;

/// Calls about points, over a shared connection.
pub(crate) type Points = PointsClient<Service>;

/// A connection to a server.
pub(crate) struct Session {
    channel: Channel,
    server: String,
    api_key: Option<MetadataValue<Ascii>>,
    user_id: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

/// Adds to every request who the caller is and how long it waits.
#[derive(Clone)]
pub(crate) struct Caller {
    api_key: Option<MetadataValue<Ascii>>,
    user_id: Option<MetadataValue<Ascii>>,
    timeout: Option<Duration>,
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(api_key) = &self.api_key {
            request.metadata_mut().insert("x-api-key", api_key.clone());
        }
        if let Some(user_id) = &self.user_id {
            request.metadata_mut().insert("x-hyperspace-user-id", user_id.clone());
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

impl Session {
    /// Connects.
    ///
    /// # Errors
    /// `Usage` for an address, a key or a user that cannot be, and for a key that everybody on the way could read; `Unavailable` when nobody answers there.
    pub(crate) async fn open(connection: &Connection) -> Outcome<Self> {
        let server = address(&connection.server)?;
        let api_key = connection.api_key.as_deref().map(|key| api_key(key, &server)).transpose()?;
        let user_id = connection.user_id.as_deref().map(user_id).transpose()?;
        let endpoint = remote::endpoint(&server, connection.ca.as_deref())
            .map_err(|error| Failure::usage(error.message().to_owned()))?
            .connect_timeout(connection.timeout.map_or(CONNECT_TIMEOUT, |timeout| timeout.min(CONNECT_TIMEOUT)))
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE);
        let unreachable = |error: tonic::transport::Error| {
            // It says `transport error`; the cause says which.
            let why = error.source().map_or_else(|| error.to_string(), chain);
            Error::unavailable(format!("cannot reach {server}: {why}"))
        };
        let channel = endpoint.connect().await.map_err(unreachable)?;
        Ok(Self { channel, server, api_key, user_id, timeout: connection.timeout })
    }

    /// The address, in one form whichever way it was written.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The tenant the caller asks for.
    pub(crate) fn user_id(&self) -> Option<&str> {
        self.user_id.as_ref().and_then(|user_id| user_id.to_str().ok())
    }

    /// Calls about points.
    pub(crate) fn points(&self) -> Points {
        PointsClient::new(self.service(Some(DEFAULT_TIMEOUT))).max_decoding_message_size(MOST_RECEIVED)
    }

    /// Calls about collections.
    pub(crate) fn collections(&self) -> CollectionsClient<Service> {
        CollectionsClient::new(self.service(Some(DEFAULT_TIMEOUT))).max_decoding_message_size(MOST_RECEIVED)
    }

    /// Calls of an administrator that answer at once.
    pub(crate) fn admin(&self) -> AdminClient<Service> {
        AdminClient::new(self.service(Some(DEFAULT_TIMEOUT))).max_decoding_message_size(MOST_RECEIVED)
    }

    /// Whether the server is well.
    pub(crate) fn health(&self) -> HealthClient<Service> {
        HealthClient::new(self.service(Some(DEFAULT_TIMEOUT)))
    }

    /// Those that take as long as there is data, and streams: no limit unless the user sets one.
    pub(crate) fn patient_admin(&self) -> AdminClient<Service> {
        AdminClient::new(self.service(None)).max_decoding_message_size(MOST_RECEIVED)
    }

    fn service(&self, timeout: Option<Duration>) -> Service {
        let (api_key, user_id) = (self.api_key.clone(), self.user_id.clone());
        let caller = Caller { api_key, user_id, timeout: self.timeout.or(timeout) };
        InterceptedService::new(self.channel.clone(), caller)
    }
}

/// `host:port` as `http://host:port`, or a URL.
fn address(text: &str) -> Outcome<String> {
    let wrong = |why: &str| {
        Failure::usage(format!("--server {text:?}: {why}; it is host:port, http://host:port or https://host:port"))
    };
    let full = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
    let uri: Uri = full.parse().map_err(|error| wrong(&format!("{error}")))?;
    let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme));
    let scheme = scheme.ok_or_else(|| wrong("unknown scheme"))?;
    let authority = uri.authority().ok_or_else(|| wrong("no host"))?;
    if uri.path() != "/" || uri.query().is_some() || authority.as_str().contains('@') {
        return Err(wrong("more than a host and a port"));
    }
    if authority.port_u16().is_none() {
        return Err(wrong("no port"));
    }
    Ok(format!("{scheme}://{authority}"))
}

/// A key as it travels to a server, which may be read by nobody in between. It is never repeated in a message.
fn api_key(text: &str, server: &str) -> Outcome<MetadataValue<Ascii>> {
    if !server.parse().is_ok_and(|uri: Uri| uri.scheme_str() == Some("https") || is_loopback(&uri)) {
        return Err(Failure::usage(format!(
            "an API key does not go to {server} in plain text: use https, or loopback"
        )));
    }
    let key = text.parse().ok().filter(|_| !text.is_empty());
    let mut key: MetadataValue<Ascii> =
        key.ok_or_else(|| Failure::usage("--api-key is empty or has characters that a header cannot carry"))?;
    key.set_sensitive(true);
    Ok(key)
}

fn user_id(text: &str) -> Outcome<MetadataValue<Ascii>> {
    text.parse().map_err(|_| Failure::usage(format!("--user-id {text:?} has characters that a header cannot carry")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_form_whichever_way_it_is_written() {
        for text in ["localhost:50051", "http://localhost:50051", "http://localhost:50051/"] {
            assert_eq!(address(text).unwrap(), "http://localhost:50051");
        }
        assert_eq!(address("https://db.example:1/").unwrap(), "https://db.example:1");
        assert_eq!(address("[::1]:80").unwrap(), "http://[::1]:80");
    }

    #[test]
    fn an_address_that_cannot_be_meant_is_refused() {
        let cases =
            ["", "localhost", "ftp://localhost:1", "http://localhost:1/path", "http://u:p@localhost:1", "a b:1"];
        for text in cases {
            let Err(Failure::Usage(error)) = address(text) else { panic!("{text:?} passed") };
            assert!(error.message().contains(&format!("{text:?}")), "{error}");
            assert_eq!(error.kind().code(), "invalid_argument");
        }
    }

    #[test]
    fn a_key_goes_over_tls_or_to_this_machine() {
        for server in
            ["http://localhost:1", "http://127.0.0.1:1", "http://127.9.9.9:1", "http://[::1]:1", "https://db.example:1"]
        {
            let key = api_key("hs_secret", server).unwrap();
            assert!(key == "hs_secret" && key.is_sensitive(), "{server}");
        }
        let elsewhere =
            ["http://db.example:1", "http://192.168.1.2:1", "http://[fe80::1]:1", "http://localhost.example:1"];
        for server in elsewhere {
            let Err(Failure::Usage(error)) = api_key("hs_secret", server) else { panic!("a key goes to {server}") };
            assert!(error.message().contains(server) && !error.message().contains("secret"), "{error}");
        }
        for odd in ["", "hs_\nsecret"] {
            let Err(Failure::Usage(error)) = api_key(odd, "http://localhost:1") else { panic!("{odd:?} passed") };
            assert!(!error.message().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_user_that_a_header_cannot_carry_is_refused() {
        assert_eq!(user_id("ada@example").unwrap(), "ada@example");
        assert!(user_id("a\nb").is_err());
    }
}
