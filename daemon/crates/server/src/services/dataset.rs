//! `DatasetService`: keeps named, versioned sets of examples.

use std::sync::Arc;

use autodidact_domain::{DatasetName, DatasetSummary, Digest, PortError, WorkflowSummary};
use autodidact_proto::v1;
use autodidact_proto::v1::ErrorReason;
use autodidact_proto::v1::dataset_service_server::DatasetService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use super::api;
use crate::blocking::{blocking, mutate, read};
use crate::context::Context;
use crate::convert;
use crate::import::{IncomingFile, import_file};
use crate::in_use::refuse_if_used;
use crate::pages::{Page, page_by_name, page_size, position_token, read_position_token};
use crate::requests::Mutation;
use crate::status::{OrStatus, bad_field, bad_name, from_port, refuse};
use crate::stream::{End, Outgoing, Sink, outgoing};
use crate::transfer::{self, Part};

/// Records read from the store at once.
const STRIDE: usize = 256;
/// The longest file name of an import, in bytes; what file systems take.
const MAX_FILE_NAME_BYTES: usize = 255;

api!(
    /// Answers the calls of `DatasetService`.
    DatasetApi
);

#[tonic::async_trait]
impl DatasetService for DatasetApi {
    type ExportStream = Outgoing<v1::ExportDatasetResponse>;

    async fn import(
        &self,
        request: Request<Streaming<v1::ImportDatasetRequest>>,
    ) -> Result<Response<v1::ImportDatasetResponse>, Status> {
        use v1::import_dataset_request::Message;
        let _permit = self.context.transfer_permit().await?;
        let limit = self.context.limits.import_bytes;
        let upload = transfer::receive(
            &self.context,
            &mut request.into_inner(),
            limit,
            |message: v1::ImportDatasetRequest| match message.message {
                Some(Message::Header(header)) => Part::Header(header),
                Some(Message::Chunk(chunk)) => Part::Chunk(chunk),
                None => Part::Empty,
            },
        )
        .await?;
        let (header, bytes) = (upload.header, upload.bytes);
        let name = dataset_name("header.dataset", &header.dataset)?;
        check_file_name(&header.file_name)?;
        let response = blocking(&self.context, move |context| {
            let digest = transfer::check(&bytes, header.size, header.digest.as_ref())?;
            let mutation =
                Mutation::of_upload("DatasetService/Import", &header.request_id, &header, digest);
            crate::requests::once(context, &mutation, || {
                let file = IncomingFile {
                    name: &header.file_name,
                    bytes: &bytes,
                    mapping: header.mapping.as_deref(),
                };
                let imported = import_file(&context.ports, &context.supervisor, &name, file);
                let imported = imported.or_status()?;
                Ok(v1::ImportDatasetResponse {
                    dataset: imported.dataset.as_ref().map(convert::dataset),
                    already_present: imported.already_present,
                    report: Some(convert::file_report(imported.report)),
                    started_workflows: imported
                        .started
                        .iter()
                        .map(|started| started.spec.name.to_string())
                        .collect(),
                })
            })
        });
        response.await.map(Response::new)
    }

    async fn get(
        &self,
        request: Request<v1::GetDatasetRequest>,
    ) -> Result<Response<v1::GetDatasetResponse>, Status> {
        let v1::GetDatasetRequest { name, version } = request.into_inner();
        let name = dataset_name("name", &name)?;
        read(&self.context, move |context| {
            let summary = context.ports.datasets.get(&name, version).or_status()?;
            Ok(v1::GetDatasetResponse {
                dataset: Some(convert::dataset(&summary)),
            })
        })
        .await
    }

    async fn list(
        &self,
        request: Request<v1::ListDatasetsRequest>,
    ) -> Result<Response<v1::ListDatasetsResponse>, Status> {
        let v1::ListDatasetsRequest {
            page_size,
            page_token,
        } = request.into_inner();
        read(&self.context, move |context| {
            let all = context.ports.datasets.list().or_status()?;
            let (datasets, next_page_token) = page_by_name(
                all,
                |summary| summary.name.as_str(),
                convert::dataset,
                page_size,
                &page_token,
            )?;
            Ok(v1::ListDatasetsResponse {
                datasets,
                next_page_token,
            })
        })
        .await
    }

    async fn list_records(
        &self,
        request: Request<v1::ListRecordsRequest>,
    ) -> Result<Response<v1::ListRecordsResponse>, Status> {
        let request = request.into_inner();
        let name = dataset_name("dataset", &request.dataset)?;
        read(&self.context, move |context| {
            list_records(context, &name, &request)
        })
        .await
    }

    async fn get_record(
        &self,
        request: Request<v1::GetRecordRequest>,
    ) -> Result<Response<v1::GetRecordResponse>, Status> {
        let v1::GetRecordRequest {
            dataset,
            version,
            record,
        } = request.into_inner();
        let name = dataset_name("dataset", &dataset)?;
        let record =
            record.ok_or_else(|| bad_field("record", "neither an id nor an index is set"))?;
        read(&self.context, move |context| {
            let summary = context.ports.datasets.get(&name, version).or_status()?;
            let found = find_record(context, &summary, &record)?;
            Ok(v1::GetRecordResponse {
                record: Some(convert::example(found)),
            })
        })
        .await
    }

    async fn export(
        &self,
        request: Request<v1::ExportDatasetRequest>,
    ) -> Result<Response<Self::ExportStream>, Status> {
        let v1::ExportDatasetRequest {
            dataset,
            version,
            format,
        } = request.into_inner();
        let name = dataset_name("dataset", &dataset)?;
        let permit = self.context.transfer_permit().await?;
        let content = blocking(&self.context, move |context| {
            export_content(context, &name, version, &format)
        })
        .await?;
        let (sink, outgoing) = outgoing(&self.context);
        let context = Arc::clone(&self.context);
        let send = async move {
            let result = send_export(&context, &sink, content).await;
            sink.end(result);
            drop(permit);
        };
        tokio::spawn(send.in_current_span());
        Ok(Response::new(outgoing))
    }

    async fn preview(
        &self,
        request: Request<v1::PreviewDatasetRequest>,
    ) -> Result<Response<v1::PreviewDatasetResponse>, Status> {
        let shown = super::preview::preview(&self.context, request.into_inner()).await;
        shown.map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteDatasetRequest>,
    ) -> Result<Response<v1::DeleteDatasetResponse>, Status> {
        let request = request.into_inner();
        let mutation = Mutation::of("DatasetService/Delete", &request.request_id, &request);
        let name = dataset_name("name", &request.name)?;
        mutate(&self.context, mutation, move |context| {
            refuse_if_used(context, "dataset", |workflow| needs(workflow, &name))?;
            context.ports.datasets.delete(&name).or_status()?;
            Ok(v1::DeleteDatasetResponse {})
        })
        .await
    }
}

fn needs(workflow: &WorkflowSummary, dataset: &DatasetName) -> bool {
    let spec = &workflow.spec;
    let train = spec.stages.train.as_ref();
    let eval_dataset = train.and_then(|train| train.eval_dataset.as_ref());
    [&spec.seeds, &spec.held_out, &spec.on_drop]
        .into_iter()
        .flatten()
        .chain(eval_dataset)
        .any(|name| name == dataset)
}

fn dataset_name(field: &'static str, name: &str) -> Result<DatasetName, Status> {
    DatasetName::new(name).map_err(bad_name(field))
}

/// Refuses names that are paths: they stand in reports and logs, and name no file here.
fn check_file_name(name: &str) -> Result<(), Status> {
    let good = (1..=MAX_FILE_NAME_BYTES).contains(&name.len()) && !name.contains(['/', '\\', '\0']);
    if good {
        return Ok(());
    }
    Err(bad_field(
        "header.file_name",
        format!("expected a file name without folders of 1 to {MAX_FILE_NAME_BYTES} bytes"),
    ))
}

fn list_records(
    context: &Context,
    name: &DatasetName,
    request: &v1::ListRecordsRequest,
) -> Result<v1::ListRecordsResponse, Status> {
    let (version, mut position) = match read_position_token(&request.page_token)? {
        Some((version, position)) => (Some(version), position),
        None => (request.version, 0),
    };
    let version = context
        .ports
        .datasets
        .get(name, version)
        .or_status()?
        .version;
    let mut page = Page::new(page_size(request.page_size));
    loop {
        let records = context
            .ports
            .datasets
            .records(name, version, position, STRIDE)
            .or_status()?;
        let last = records.len() < STRIDE;
        for record in records {
            if page.push(convert::example(record)).is_err() {
                let next_page_token = position_token(version, position);
                return Ok(v1::ListRecordsResponse {
                    records: page.into_items(),
                    next_page_token,
                    version,
                });
            }
            position += 1;
        }
        if last {
            let next_page_token = String::new();
            return Ok(v1::ListRecordsResponse {
                records: page.into_items(),
                next_page_token,
                version,
            });
        }
    }
}

fn find_record(
    context: &Context,
    dataset: &DatasetSummary,
    record: &v1::get_record_request::Record,
) -> Result<autodidact_domain::Example, Status> {
    let missing = |name: String| {
        from_port(PortError::NotFound {
            what: "record",
            name,
            nearest: None,
        })
    };
    let read = |from: u64, limit: usize| {
        context
            .ports
            .datasets
            .records(&dataset.name, dataset.version, from, limit)
            .or_status()
    };
    match record {
        v1::get_record_request::Record::Index(index) => {
            let missing = || missing(index.to_string());
            if *index >= dataset.records {
                return Err(missing());
            }
            read(*index, 1)?.pop().ok_or_else(missing)
        }
        v1::get_record_request::Record::Id(id) => {
            let wanted: Digest = id
                .parse()
                .map_err(|error| bad_field("id", format!("{error}")))?;
            let mut from = 0;
            while from < dataset.records {
                let records = read(from, STRIDE)?;
                if records.is_empty() {
                    break;
                }
                from += records.len() as u64;
                if let Some(found) = records.into_iter().find(|record| record.id == wanted) {
                    return Ok(found);
                }
            }
            Err(missing(id.clone()))
        }
    }
}

/// A version written in a format.
struct ExportContent {
    header: v1::ExportHeader,
    bytes: Vec<u8>,
    end: v1::TransferEnd,
}

fn export_content(
    context: &Context,
    name: &DatasetName,
    version: Option<u32>,
    format: &str,
) -> Result<ExportContent, Status> {
    let summary = context.ports.datasets.get(name, version).or_status()?;
    let most = context.limits.export_records;
    if summary.records > most {
        let message = format!(
            "{name}@{} has {} records; at most {most} are exported",
            summary.version, summary.records
        );
        return Err(refuse(ErrorReason::TooLarge, message));
    }
    let mut examples = Vec::new();
    loop {
        let records = context
            .ports
            .datasets
            .records(name, summary.version, examples.len() as u64, STRIDE)
            .or_status()?;
        if records.is_empty() {
            break;
        }
        examples.extend(records);
    }
    let written = context.ports.reader.write(format, &examples).or_status()?;
    let header = v1::ExportHeader {
        dataset: Some(convert::dataset(&summary)),
        size: written.bytes.len() as u64,
        records: written.written,
        refused: written.refused,
        errors: written
            .faults
            .into_iter()
            .map(convert::line_fault)
            .collect(),
    };
    Ok(ExportContent {
        header,
        end: transfer::end_of(&written.bytes),
        bytes: written.bytes,
    })
}

async fn send_export(
    context: &Context,
    sink: &Sink<v1::ExportDatasetResponse>,
    content: ExportContent,
) -> Result<(), End> {
    use v1::export_dataset_response::Message;
    let message = |message| v1::ExportDatasetResponse {
        message: Some(message),
    };
    let ExportContent { header, bytes, end } = content;
    let chunk = |chunk| message(Message::Chunk(chunk));
    let last = |end| message(Message::End(end));
    transfer::send_all(
        context,
        sink,
        message(Message::Header(header)),
        &bytes,
        end,
        chunk,
        last,
    )
    .await
}
