//! `SystemService`: describes the daemon.

use autodidact_domain::ports::SystemInfo;
use autodidact_proto::v1;
use autodidact_proto::v1::system_service_server::SystemService;
use tonic::{Request, Response, Status};

use super::api;
use crate::blocking::read;

api!(
    /// Answers the calls of `SystemService`.
    SystemApi
);

#[tonic::async_trait]
impl SystemService for SystemApi {
    async fn get_info(
        &self,
        _request: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        read(&self.context, |context| {
            let SystemInfo {
                version,
                data_dir,
                compute,
                threads,
                schema_version,
                listening,
            } = context.info.clone();
            Ok(v1::GetInfoResponse {
                version,
                data_dir,
                compute,
                threads,
                schema_version,
                listening,
                peak_rss_mb: context.ports.clock.peak_rss_mb(),
                last_sequence: context.ports.events.last_sequence(),
            })
        })
        .await
    }
}
