//! `CheckpointService`: shows and hands out what training made.

use std::sync::Arc;

use autodidact_domain::exchange::{AdapterFile, FORMATS, MODEL_FORMATS};
use autodidact_domain::{CheckpointId, EventBody, ModelName, PortError};
use autodidact_proto::v1;
use autodidact_proto::v1::checkpoint_service_server::CheckpointService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::api;
use super::promote::{OF_WORKFLOWS, Promotion};
use crate::blocking::{blocking, mutate, read};
use crate::convert;
use crate::pages::page_by_name;
use crate::requests::Mutation;
use crate::safetensors;
use crate::status::{OrStatus, bad_field, bad_name};
use crate::stream::{Outgoing, outgoing};
use crate::transfer::{self, Part};

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
        let v1::DownloadCheckpointRequest { id, format } = request.into_inner();
        let id = CheckpointId::new(id).map_err(bad_name("id"))?;
        if MODEL_FORMATS.contains(&format.as_str()) {
            let outgoing = super::export::start(&self.context, id, format).await?;
            return Ok(Response::new(outgoing));
        }
        let permit = self.context.transfer_permit().await?;
        let (header, bytes, end) = blocking(&self.context, move |context| {
            let summary = context.ports.checkpoints.get(&id).or_status()?;
            let files = match format.is_empty() {
                true => {
                    let checkpoint = context.ports.checkpoints.load(&id).or_status()?;
                    vec![AdapterFile {
                        name: "adapter_model.safetensors".into(),
                        bytes: safetensors::to_bytes(&checkpoint.adapter),
                    }]
                }
                false => {
                    check_format(&format)?;
                    let engine = &context.ports.engine;
                    engine.export_adapter(&id, &format).or_status()?
                }
            };
            let told = files.iter().map(|file| v1::AdapterFile {
                name: file.name.clone(),
                size: file.bytes.len() as u64,
            });
            let told: Vec<v1::AdapterFile> = told.collect();
            let bytes: Vec<u8> = files.into_iter().flat_map(|file| file.bytes).collect();
            let header = v1::DownloadHeader {
                checkpoint: Some(convert::checkpoint(&summary)),
                size: bytes.len() as u64,
                files: told,
                logits_apart: None,
                base_apart: None,
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

    async fn promote(
        &self,
        request: Request<v1::PromoteCheckpointRequest>,
    ) -> Result<Response<v1::PromoteCheckpointResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("CheckpointService/Promote", &request.request_id, &request);
        let promotion = Promotion::read(&request)?;
        mutate(&self.context, mutation, move |context| {
            promotion.make(context)
        })
        .await
    }

    async fn import(
        &self,
        request: Request<Streaming<v1::ImportCheckpointRequest>>,
    ) -> Result<Response<v1::ImportCheckpointResponse>, Status> {
        use v1::import_checkpoint_request::Message;
        let _permit = self.context.transfer_permit().await?;
        let limit = self.context.limits.import_bytes;
        let upload = transfer::receive(
            &self.context,
            &mut request.into_inner(),
            limit,
            |message: v1::ImportCheckpointRequest| match message.message {
                Some(Message::Header(header)) => Part::Header(header),
                Some(Message::Chunk(chunk)) => Part::Chunk(chunk),
                None => Part::Empty,
            },
        )
        .await?;
        let (header, bytes) = (upload.header, upload.bytes);
        let id = CheckpointId::new(header.id.clone()).map_err(bad_name("header.id"))?;
        let model = ModelName::new(header.model.clone()).map_err(bad_name("header.model"))?;
        if header.id.contains(OF_WORKFLOWS) {
            return Err(bad_field(
                "header.id",
                format!("expected a name without {OF_WORKFLOWS:?}, which workflows give to theirs"),
            ));
        }
        let response = blocking(&self.context, move |context| {
            let size = header
                .files
                .iter()
                .fold(0u64, |sum, file| sum.saturating_add(file.size));
            let digest = transfer::check(&bytes, Some(size), header.digest.as_ref())?;
            let method = "CheckpointService/Import";
            let mutation = Mutation::of_upload(method, &header.request_id, &header, digest);
            crate::requests::once(context, &mutation, || {
                let mut rest = bytes.as_slice();
                let files = header.files.iter().map(|file| {
                    // The sizes add up to what came.
                    let (content, after) = rest.split_at(file.size as usize);
                    rest = after;
                    AdapterFile {
                        name: file.name.clone(),
                        bytes: content.to_vec(),
                    }
                });
                let files: Vec<AdapterFile> = files.collect();
                let ports = &context.ports;
                let checkpoint = ports.engine.import_adapter(&model, files).or_status()?;
                // The same again changes nothing; another one does not take a place that is taken.
                if let Ok(there) = ports.checkpoints.get(&id)
                    && there.adapter_digest != checkpoint.adapter_digest()
                {
                    return Err(taken(&id)).or_status();
                }
                let summary = ports.checkpoints.save(&id, &checkpoint).or_status()?;
                let step = checkpoint.meta.step;
                let id = id.to_string();
                let event = EventBody::CheckpointSaved { id, step };
                ports.events.publish(None, event).or_status()?;
                Ok(v1::ImportCheckpointResponse {
                    checkpoint: Some(convert::checkpoint(&summary)),
                })
            })
        });
        response.await.map(Response::new)
    }
}

fn taken(id: &CheckpointId) -> PortError {
    PortError::Exists {
        what: "checkpoint",
        name: id.to_string(),
        detail: "it is another adapter; import this one under another name".into(),
    }
}

fn check_format(format: &str) -> Result<(), Status> {
    match FORMATS.contains(&format) {
        true => Ok(()),
        false => {
            let known = [&FORMATS[..], &MODEL_FORMATS].concat().join(", ");
            Err(bad_field(
                "format",
                format!("expected one of {known}, found {format:?}"),
            ))
        }
    }
}
