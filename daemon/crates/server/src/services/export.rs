//! Whole models out of the daemon: written, compared, then streamed from where they lie, never held in memory.

use std::sync::Arc;

use autodidact_domain::exchange::{ExportProgress, ExportedModel};
use autodidact_domain::{CheckpointId, Digest};
use autodidact_proto::{CHUNK_BYTES, v1};
use sha2::{Digest as _, Sha256};
use tonic::Status;
use tracing::Instrument;

use super::generation::Job;
use crate::blocking::blocking;
use crate::context::Context;
use crate::convert;
use crate::status::OrStatus;
use crate::stream::{End, Outgoing, Sink, outgoing};
use crate::transfer;

use v1::download_checkpoint_response::Message;

/// Begins to write a model and to send it. Dropping the messages stops the work.
pub(super) async fn start(
    context: &Arc<Context>,
    id: CheckpointId,
    format: String,
) -> Result<Outgoing<v1::DownloadCheckpointResponse>, Status> {
    let permit = context.transfer_permit().await?;
    let (sink, outgoing) = outgoing(context);
    let context = Arc::clone(context);
    let work = async move {
        let result = export(&context, &sink, id, format).await;
        sink.end(result);
        drop(permit);
    };
    tokio::spawn(work.in_current_span());
    Ok(outgoing)
}

fn message(message: Message) -> v1::DownloadCheckpointResponse {
    v1::DownloadCheckpointResponse {
        message: Some(message),
    }
}

async fn export(
    context: &Arc<Context>,
    sink: &Sink<v1::DownloadCheckpointResponse>,
    id: CheckpointId,
    format: String,
) -> Result<(), End> {
    let job = Job::start(context, sink);
    let interrupt = job.interrupt.clone();
    let told = sink.clone();
    let (summary, model) = blocking(context, move |context| {
        let summary = context.ports.checkpoints.get(&id).or_status()?;
        let mut progress = |ExportProgress { done, total }| {
            // What finds no room is told by the next.
            let progress = v1::ExportProgress { done, total };
            let _ = told.offer(message(Message::Progress(progress)));
        };
        let engine = &context.ports.engine;
        let model = engine
            .export_model(&id, &format, &interrupt, &mut progress)
            .or_status()?;
        Ok((summary, model))
    })
    .await?;
    drop(job);
    let merged = model.model();
    let files = merged.files.iter().map(|file| v1::AdapterFile {
        name: file.name.clone(),
        size: file.size,
    });
    let header = v1::DownloadHeader {
        checkpoint: Some(convert::checkpoint(&summary)),
        size: merged.files.iter().map(|file| file.size).sum(),
        files: files.collect(),
        logits_apart: Some(merged.logits_apart),
        base_apart: Some(merged.base_apart),
    };
    sink.send(message(Message::Header(header)), context).await?;
    let end = send_content(context, sink, model).await?;
    sink.send(message(Message::End(end)), context).await
}

/// Sends the files' bytes in chunks; gives their size and digests.
async fn send_content(
    context: &Arc<Context>,
    sink: &Sink<v1::DownloadCheckpointResponse>,
    mut model: Box<dyn ExportedModel>,
) -> Result<v1::TransferEnd, End> {
    let (mut blake3, mut sha256) = (blake3::Hasher::new(), Sha256::new());
    let mut offset = 0u64;
    loop {
        let (back, data) = blocking(context, move |_| {
            let data = read_chunk(model.as_mut())?;
            Ok((model, data))
        })
        .await?;
        model = back;
        if data.is_empty() {
            break;
        }
        blake3.update(&data);
        sha256.update(&data);
        let next = offset + data.len() as u64;
        let chunk = v1::Chunk { offset, data };
        sink.send(message(Message::Chunk(chunk)), context).await?;
        offset = next;
    }
    let blake3 = Digest::from_bytes(*blake3.finalize().as_bytes());
    Ok(transfer::end(offset, blake3, &sha256.finalize()))
}

fn read_chunk(model: &mut dyn ExportedModel) -> Result<Vec<u8>, Status> {
    let mut data = vec![0; CHUNK_BYTES];
    let mut filled = 0;
    while filled < data.len() {
        match model.read(&mut data[filled..]).or_status()? {
            0 => break,
            count => filled += count,
        }
    }
    data.truncate(filled);
    Ok(data)
}
