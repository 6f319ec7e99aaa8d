//! `keys`: who may use the server. A key is on standard output alone, so that a script can take it from there.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use super::args::{CreateKey, CreateToken, Keys};
use super::connect::Session;
use super::failure::Outcome;
use super::output::{Console, Side, Table, duration};
use crate::proto;

/// Runs `keys` with one of its subcommands.
pub(crate) async fn keys(session: &Session, command: Keys, console: &mut Console<'_>) -> Outcome<()> {
    match command {
        Keys::Create(arguments) => create(session, arguments, console).await,
        Keys::List => list(session, console).await,
        Keys::Revoke { id } => revoke(session, id, console).await,
        Keys::Token(arguments) => token(session, arguments, console).await,
    }
}

async fn create(session: &Session, arguments: CreateKey, console: &mut Console<'_>) -> Outcome<()> {
    let request = proto::CreateKeyRequest {
        name: arguments.name.unwrap_or_default(),
        tenant: arguments.tenant.unwrap_or_default(),
        scopes: arguments.scopes.into_iter().map(|scope| proto::Scope::from(scope).into()).collect(),
        collections: arguments.collections,
        expires_in_ms: arguments.expires.map(milliseconds),
    };
    let made = session.admin().create_key(request).await?.into_inner();
    let key = made.key.unwrap_or_default();
    console.remark(&format!("key {}, shown this once and kept nowhere:", key.id));
    console.answer(
        || {
            let mut out = to_json(&key);
            out.insert("api_key".into(), json!(made.api_key));
            Value::Object(out)
        },
        || made.api_key.clone(),
    )
}

async fn list(session: &Session, console: &mut Console<'_>) -> Outcome<()> {
    let keys = session.admin().list_keys(proto::ListKeysRequest {}).await?.into_inner().keys;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, milliseconds);
    console.answer(
        || json!({ "keys": keys.iter().map(|key| Value::Object(to_json(key))).collect::<Vec<_>>() }),
        || if keys.is_empty() { "no keys".to_string() } else { table(&keys, now) },
    )
}

async fn revoke(session: &Session, id: String, console: &mut Console<'_>) -> Outcome<()> {
    let done = session.admin().revoke_key(proto::RevokeKeyRequest { id: id.clone() }).await?.into_inner();
    console.answer(
        || json!({ "id": id, "revoked": done.revoked }),
        || if done.revoked { format!("revoked key {id}") } else { format!("there is no key {id}") },
    )
}

async fn token(session: &Session, arguments: CreateToken, console: &mut Console<'_>) -> Outcome<()> {
    let request = proto::CreateTokenRequest {
        scopes: arguments.scopes.into_iter().map(|scope| proto::Scope::from(scope).into()).collect(),
        collections: arguments.collections,
        origin: arguments.origin.unwrap_or_default(),
        ttl_ms: arguments.ttl.map_or(0, milliseconds),
    };
    let made = session.admin().create_token(request).await?.into_inner();
    console.answer(|| json!({ "token": made.token, "expires_ms": made.expires_ms }), || made.token.clone())
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A key as JSON; one that does not expire has no time for it.
fn to_json(key: &proto::Key) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("id".into(), json!(key.id));
    out.insert("name".into(), json!(key.name));
    out.insert("tenant".into(), json!(key.tenant));
    out.insert("scopes".into(), json!(key.scopes().map(scope_name).collect::<Vec<_>>()));
    out.insert("collections".into(), json!(key.collections));
    out.insert("created_ms".into(), json!(key.created_ms));
    if let Some(expires_ms) = key.expires_ms {
        out.insert("expires_ms".into(), json!(expires_ms));
    }
    out
}

fn table(keys: &[proto::Key], now: u64) -> String {
    let columns = ["id", "name", "tenant", "scopes", "collections", "expires"].map(|name| (name, Side::Left));
    let mut table = Table::new(&columns);
    for key in keys {
        let expires = match key.expires_ms {
            None => "never".to_string(),
            Some(at) if at <= now => "expired".to_string(),
            Some(at) => format!("in {}", duration(Duration::from_millis(at - now))),
        };
        let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_string() } else { text };
        table.row([
            key.id.clone(),
            key.name.clone(),
            or(key.tenant.clone(), "(any)"),
            key.scopes().map(scope_name).collect::<Vec<_>>().join(","),
            or(key.collections.join(","), "(all)"),
            expires,
        ]);
    }
    table.render()
}

const fn scope_name(scope: proto::Scope) -> &'static str {
    match scope {
        proto::Scope::Read => "read",
        proto::Scope::Write => "write",
        proto::Scope::Sync => "sync",
        proto::Scope::Admin => "admin",
        proto::Scope::Unspecified => "?",
    }
}
