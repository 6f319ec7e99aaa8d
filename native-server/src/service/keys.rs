//! Keys and tokens over the wire: the administrator's calls of the service `Admin`.

use std::sync::Arc;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;
use tonic::Request;

use super::handlers::{Answer, Handlers};
use crate::auth::{self, KeyId, NewKey, NewToken, Scope, Scopes};
use crate::proto;
use crate::proto::{
    CreateKeyRequest, CreateKeyResponse, CreateTokenRequest, CreateTokenResponse, ListKeysRequest, ListKeysResponse,
    RevokeKeyRequest, RevokeKeyResponse,
};

pub(super) async fn create(handlers: &Handlers, request: Request<CreateKeyRequest>) -> Answer<CreateKeyResponse> {
    let keyring = Arc::clone(&handlers.keyring);
    handlers
        .answer(request, move |call| {
            call.caller.require_key()?;
            let CreateKeyRequest { name, tenant, scopes, collections, expires_in_ms } = call.message;
            let wanted = NewKey { name, tenant, scopes: scopes_from(&scopes)?, collections, expires_in_ms };
            let (id, key, api_key) = keyring.create(&call.caller, wanted)?;
            tracing::info!(key = %id, "a key was made");
            Ok(CreateKeyResponse { key: Some(key_to(id, &key)), api_key })
        })
        .await
}

pub(super) async fn list(handlers: &Handlers, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
    let keyring = Arc::clone(&handlers.keyring);
    handlers
        .answer(request, move |call| {
            call.caller.require_key()?;
            Ok(ListKeysResponse { keys: keyring.list().iter().map(|(id, key)| key_to(*id, key)).collect() })
        })
        .await
}

pub(super) async fn revoke(handlers: &Handlers, request: Request<RevokeKeyRequest>) -> Answer<RevokeKeyResponse> {
    let keyring = Arc::clone(&handlers.keyring);
    handlers
        .answer(request, move |call| {
            call.caller.require_key()?;
            let id = KeyId::parse(&call.message.id).ok_or_else(|| {
                Error::invalid_argument("the id of a key is 16 hexadecimal digits, not the key itself")
            })?;
            let revoked = keyring.revoke(&call.caller, id)?;
            tracing::info!(key = %id, revoked, "a key was to be revoked");
            Ok(RevokeKeyResponse { revoked })
        })
        .await
}

pub(super) async fn mint(handlers: &Handlers, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
    let keyring = Arc::clone(&handlers.keyring);
    handlers
        .answer(request, move |call| {
            let CreateTokenRequest { scopes, collections, origin, ttl_ms } = call.message;
            let wanted = NewToken { scopes: scopes_from(&scopes)?, collections, origin, ttl_ms };
            let (token, expires_ms) = keyring.mint(&call.caller, &wanted)?;
            Ok(CreateTokenResponse { token, expires_ms })
        })
        .await
}

fn scopes_from(numbers: &[i32]) -> Result<Scopes> {
    let scope = |&number: &i32| match proto::Scope::try_from(number) {
        Ok(proto::Scope::Read) => Ok(Scope::Read),
        Ok(proto::Scope::Write) => Ok(Scope::Write),
        Ok(proto::Scope::Sync) => Ok(Scope::Sync),
        Ok(proto::Scope::Admin) => Ok(Scope::Admin),
        Ok(proto::Scope::Unspecified) | Err(_) => {
            Err(Error::invalid_argument(format!("there is no scope {number}: one of read, write, sync, admin")))
        }
    };
    numbers.iter().map(scope).collect()
}

const fn scope_to(scope: Scope) -> proto::Scope {
    match scope {
        Scope::Read => proto::Scope::Read,
        Scope::Write => proto::Scope::Write,
        Scope::Sync => proto::Scope::Sync,
        Scope::Admin => proto::Scope::Admin,
    }
}

fn key_to(id: KeyId, key: &auth::Key) -> proto::Key {
    proto::Key {
        id: id.to_string(),
        name: key.name.clone(),
        tenant: key.tenant.as_ref().map_or("", Tenant::name).to_owned(),
        scopes: key.scopes.each().map(|scope| scope_to(scope).into()).collect(),
        collections: key
            .collections
            .iter()
            .flat_map(|names| names.iter())
            .map(|name| name.as_str().to_owned())
            .collect(),
        created_ms: key.created_ms,
        expires_ms: key.expires_ms,
    }
}
