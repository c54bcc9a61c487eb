//! `CheckpointService`: shows and hands out what training made.

use std::sync::Arc;

use autodidact_domain::CheckpointId;
use autodidact_proto::v1;
use autodidact_proto::v1::checkpoint_service_server::CheckpointService;
use tonic::{Request, Response, Status};
use tracing::Instrument;

use super::api;
use crate::blocking::{blocking, read};
use crate::convert;
use crate::pages::page_by_name;
use crate::safetensors;
use crate::status::{OrStatus, bad_name};
use crate::stream::{Outgoing, outgoing};
use crate::transfer;

api!(
    /// Answers the calls of `CheckpointService`.
    CheckpointApi
);

#[tonic::async_trait]
impl CheckpointService for CheckpointApi {
    type DownloadStream = Outgoing<v1::DownloadCheckpointResponse>;

    async fn list(
        &self,
        request: Request<v1::ListCheckpointsRequest>,
    ) -> Result<Response<v1::ListCheckpointsResponse>, Status> {
        let v1::ListCheckpointsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        read(&self.context, move |context| {
            let all = context.ports.checkpoints.list().or_status()?;
            let (checkpoints, next_page_token) = page_by_name(
                all,
                |summary| summary.id.as_str(),
                convert::checkpoint,
                page_size,
                &page_token,
            )?;
            Ok(v1::ListCheckpointsResponse {
                checkpoints,
                next_page_token,
            })
        })
        .await
    }

    async fn get(
        &self,
        request: Request<v1::GetCheckpointRequest>,
    ) -> Result<Response<v1::GetCheckpointResponse>, Status> {
        let id = CheckpointId::new(request.into_inner().id).map_err(bad_name("id"))?;
        read(&self.context, move |context| {
            let summary = context.ports.checkpoints.get(&id).or_status()?;
            Ok(v1::GetCheckpointResponse {
                checkpoint: Some(convert::checkpoint(&summary)),
            })
        })
        .await
    }

    async fn download(
        &self,
        request: Request<v1::DownloadCheckpointRequest>,
    ) -> Result<Response<Self::DownloadStream>, Status> {
        use v1::download_checkpoint_response::Message;
        let message = |message| v1::DownloadCheckpointResponse {
            message: Some(message),
        };
        let id = CheckpointId::new(request.into_inner().id).map_err(bad_name("id"))?;
        let permit = self.context.transfer_permit().await?;
        let (header, bytes, end) = blocking(&self.context, move |context| {
            let summary = context.ports.checkpoints.get(&id).or_status()?;
            let checkpoint = context.ports.checkpoints.load(&id).or_status()?;
            let bytes = safetensors::to_bytes(&checkpoint.adapter);
            let header = v1::DownloadHeader {
                checkpoint: Some(convert::checkpoint(&summary)),
                size: bytes.len() as u64,
            };
            let end = transfer::end_of(&bytes);
            Ok((header, bytes, end))
        })
        .await?;
        let (sink, outgoing) = outgoing(&self.context);
        let context = Arc::clone(&self.context);
        let send = async move {
            let chunk = |chunk| message(Message::Chunk(chunk));
            let last = |end| message(Message::End(end));
            let header = message(Message::Header(header));
            let result =
                transfer::send_all(&context, &sink, header, &bytes, end, chunk, last).await;
            sink.end(result);
            drop(permit);
        };
        tokio::spawn(send.in_current_span());
        Ok(Response::new(outgoing))
    }
}
