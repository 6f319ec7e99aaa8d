//! The service `Admin`.

use hyperspace_core::error::{Error, Result};
use tonic::Request;

use super::collections::describe;
use super::convert::small;
use super::handlers::{Answer, Handlers};
use super::log::{LogStream, log};
use super::monitor::{StatsStream, monitor};
use super::status::status;
use super::{keys, lead, recall};
use crate::database::Tuning;
use crate::proto::admin_server::Admin;
use crate::proto::{
    Collection, ConfigureRequest, CreateKeyRequest, CreateKeyResponse, CreateTokenRequest, CreateTokenResponse,
    ListKeysRequest, ListKeysResponse, LogRequest, MeasureRecallRequest, MeasureRecallResponse, MonitorRequest,
    PromoteRequest, PromoteResponse, RebuildRequest, RebuildResponse, RemoveFollowerRequest, RemoveFollowerResponse,
    RevokeKeyRequest, RevokeKeyResponse, SnapshotRequest, SnapshotResponse, UsageRequest, UsageResponse, VacuumRequest,
    VacuumResponse,
};

#[tonic::async_trait]
impl Admin for Handlers {
    async fn configure(&self, request: Request<ConfigureRequest>) -> Answer<Collection> {
        self.answer(request, |call| {
            let message = &call.message;
            let tuning = Tuning {
                ef_search: tuned("ef_search", message.ef_search)?,
                ef_construction: tuned("ef_construction", message.ef_construction)?,
            };
            let collection = call.collection(&message.collection)?;
            call.database.configure(&collection, tuning)?;
            Ok(describe(&collection))
        })
        .await
    }

    type MonitorStream = StatsStream;

    async fn monitor(&self, request: Request<MonitorRequest>) -> Answer<Self::MonitorStream> {
        monitor(self, request)
    }

    type LogStream = LogStream;

    async fn log(&self, request: Request<LogRequest>) -> Answer<Self::LogStream> {
        log(self, request)
    }

    async fn snapshot(&self, request: Request<SnapshotRequest>) -> Answer<SnapshotResponse> {
        self.answer(request, |call| {
            let report = call.database.snapshot()?;
            Ok(SnapshotResponse {
                name: report.name,
                path: report.path.to_string_lossy().into_owned(),
                bytes: report.bytes,
                files: report.files,
            })
        })
        .await
    }

    async fn vacuum(&self, request: Request<VacuumRequest>) -> Answer<VacuumResponse> {
        self.answer(request, |call| {
            let collections = match call.message.collection.as_str() {
                "" => call.collections(),
                name => vec![call.collection(name)?],
            };
            let mut total = VacuumResponse::default();
            for collection in &collections {
                let report = call.database.vacuum(collection)?;
                total.segments_rewritten += report.segments_rewritten;
                total.points_dropped += report.points_dropped;
                total.bytes_before += report.bytes_before;
                total.bytes_after += report.bytes_after;
            }
            Ok(total)
        })
        .await
    }

    async fn rebuild(&self, _: Request<RebuildRequest>) -> Answer<RebuildResponse> {
        Err(status(Error::unsupported("Rebuild is not built yet")))
    }

    async fn measure_recall(&self, request: Request<MeasureRecallRequest>) -> Answer<MeasureRecallResponse> {
        recall::measure(self, request).await
    }

    async fn usage(&self, _: Request<UsageRequest>) -> Answer<UsageResponse> {
        Err(status(Error::unsupported("Usage is not built yet")))
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Answer<CreateKeyResponse> {
        keys::create(self, request).await
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Answer<ListKeysResponse> {
        keys::list(self, request).await
    }

    async fn revoke_key(&self, request: Request<RevokeKeyRequest>) -> Answer<RevokeKeyResponse> {
        keys::revoke(self, request).await
    }

    async fn create_token(&self, request: Request<CreateTokenRequest>) -> Answer<CreateTokenResponse> {
        keys::mint(self, request).await
    }

    async fn promote(&self, request: Request<PromoteRequest>) -> Answer<PromoteResponse> {
        lead::promote(self, request).await
    }

    async fn remove_follower(&self, request: Request<RemoveFollowerRequest>) -> Answer<RemoveFollowerResponse> {
        lead::remove(self, request).await
    }
}

/// Absent leaves a number, 0 goes back to the one that adapts.
#[expect(clippy::option_option, reason = "as the engine has it")]
fn tuned(what: &str, number: Option<u64>) -> Result<Option<Option<u32>>> {
    Ok(small(what, number)?.map(|number| (number != 0).then_some(number)))
}
