//! Files in and out, in chunks, with digests checked at both ends.

use autodidact_proto::{CHUNK_BYTES, v1};
use tonic::{Code, Streaming};

use crate::connection::Client;
use crate::error::ClientError;

/// A downloaded content, complete and of the right digest.
#[derive(Clone, Debug)]
pub struct Content<H> {
    /// What the daemon told of it.
    pub header: H,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// An exported dataset version.
pub type Exported = Content<v1::ExportHeader>;
/// A downloaded adapter: its files one after the other, as the header names them.
pub type Download = Content<v1::DownloadHeader>;

/// What a plugin says in a test, as it comes.
#[derive(Debug)]
pub struct PluginTest(Streaming<v1::TestPluginResponse>);

impl PluginTest {
    /// Receives the next message; none after the summary.
    ///
    /// # Errors
    /// When the daemon refuses the test, or it fails on the way.
    pub async fn next(&mut self) -> Result<Option<v1::test_plugin_response::Message>, ClientError> {
        while let Some(response) = self.0.message().await? {
            if response.message.is_some() {
                return Ok(response.message);
            }
        }
        Ok(None)
    }
}

impl Download {
    /// Takes the files apart.
    pub fn files(&self) -> Vec<(&str, &[u8])> {
        let mut rest = self.bytes.as_slice();
        let files = self.header.files.iter().map(|file| {
            let (content, after) = rest.split_at((file.size as usize).min(rest.len()));
            rest = after;
            (file.name.as_str(), content)
        });
        files.collect()
    }
}

impl Client {
    /// Reads a file's bytes into a new version of a dataset.
    ///
    /// # Errors
    /// When the daemon refuses it. Records that cannot be read are no error: the report names them.
    pub async fn import_dataset(
        &self,
        dataset: &str,
        file_name: &str,
        bytes: Vec<u8>,
        request_id: &str,
    ) -> Result<v1::ImportDatasetResponse, ClientError> {
        self.import_mapped_dataset(dataset, file_name, bytes, None, request_id)
            .await
    }

    /// Reads a file's bytes into a new version of a dataset, its columns named by a mapping file's content, where there is one.
    ///
    /// # Errors
    /// When the daemon refuses it. Records that cannot be read are no error: the report names them.
    pub async fn import_mapped_dataset(
        &self,
        dataset: &str,
        file_name: &str,
        bytes: Vec<u8>,
        mapping: Option<Vec<u8>>,
        request_id: &str,
    ) -> Result<v1::ImportDatasetResponse, ClientError> {
        use v1::import_dataset_request::Message;
        let header = Message::Header(v1::ImportHeader {
            request_id: request_id.to_string(),
            dataset: dataset.to_string(),
            file_name: file_name.to_string(),
            size: Some(bytes.len() as u64),
            digest: Some(digest(&bytes)),
            mapping,
        });
        let messages = std::iter::once(header).chain(chunks(bytes).map(Message::Chunk));
        let messages = messages.map(|message| v1::ImportDatasetRequest {
            message: Some(message),
        });
        Ok(self
            .datasets()
            .import(tokio_stream::iter(messages))
            .await?
            .into_inner())
    }

    /// Installs a plugin's component, and grants it some of what it asks for.
    ///
    /// # Errors
    /// When the daemon refuses it, or what it is to be granted.
    pub async fn install_plugin(
        &self,
        component: Vec<u8>,
        grant: &[String],
        request_id: &str,
    ) -> Result<v1::InstallPluginResponse, ClientError> {
        use v1::install_plugin_request::Message;
        let header = Message::Header(v1::InstallHeader {
            request_id: request_id.to_string(),
            size: Some(component.len() as u64),
            digest: Some(digest(&component)),
            grant: grant.to_vec(),
        });
        let messages = std::iter::once(header).chain(chunks(component).map(Message::Chunk));
        let messages = messages.map(|message| v1::InstallPluginRequest {
            message: Some(message),
        });
        let response = self.plugins().install(tokio_stream::iter(messages)).await?;
        Ok(response.into_inner())
    }

    /// Asks a component that is not installed about a dataset's records, as the header says.
    ///
    /// # Errors
    /// When the daemon cannot be reached; what it refuses comes with the messages.
    pub async fn test_component(
        &self,
        component: Vec<u8>,
        header: v1::TestPluginHeader,
    ) -> Result<PluginTest, ClientError> {
        let header = v1::TestPluginHeader {
            size: Some(component.len() as u64),
            digest: Some(digest(&component)),
            ..header
        };
        self.test(header, component).await
    }

    /// Asks an installed plugin about a dataset's records, as the header says.
    ///
    /// # Errors
    /// As [`Client::test_component`].
    pub async fn test_plugin(
        &self,
        header: v1::TestPluginHeader,
    ) -> Result<PluginTest, ClientError> {
        self.test(header, Vec::new()).await
    }

    async fn test(
        &self,
        header: v1::TestPluginHeader,
        component: Vec<u8>,
    ) -> Result<PluginTest, ClientError> {
        use v1::test_plugin_request::Message;
        let header = std::iter::once(Message::Header(header));
        let messages = header.chain(chunks(component).map(Message::Chunk));
        let messages = messages.map(|message| v1::TestPluginRequest {
            message: Some(message),
        });
        let mut plugins = self.plugins();
        let answers = plugins.test(tokio_stream::iter(messages)).await?;
        Ok(PluginTest(answers.into_inner()))
    }

    /// Writes a dataset version in a format.
    ///
    /// # Errors
    /// When the daemon refuses it, or the content arrives damaged.
    pub async fn export_dataset(
        &self,
        dataset: &str,
        version: Option<u32>,
        format: &str,
    ) -> Result<Exported, ClientError> {
        use v1::export_dataset_response::Message;
        let request = v1::ExportDatasetRequest {
            dataset: dataset.to_string(),
            version,
            format: format.to_string(),
        };
        let stream = self.datasets().export(request).await?.into_inner();
        collect(stream, |message| match message.message {
            Some(Message::Header(header)) => Part::Header(header),
            Some(Message::Chunk(chunk)) => Part::Chunk(chunk),
            Some(Message::End(end)) => Part::End(end),
            None => Part::Unknown,
        })
        .await
    }

    /// Takes an adapter that another tool made: names and contents of its files.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub async fn import_checkpoint(
        &self,
        id: &str,
        model: &str,
        files: Vec<(String, Vec<u8>)>,
        request_id: &str,
    ) -> Result<v1::Checkpoint, ClientError> {
        use v1::import_checkpoint_request::Message;
        let named = files.iter().map(|(name, bytes)| v1::AdapterFile {
            name: name.clone(),
            size: bytes.len() as u64,
        });
        let named = named.collect();
        let bytes: Vec<u8> = files.into_iter().flat_map(|(_, bytes)| bytes).collect();
        let header = Message::Header(v1::ImportCheckpointHeader {
            request_id: request_id.to_string(),
            id: id.to_string(),
            model: model.to_string(),
            files: named,
            digest: Some(digest(&bytes)),
        });
        let messages = std::iter::once(header).chain(chunks(bytes).map(Message::Chunk));
        let messages = messages.map(|message| v1::ImportCheckpointRequest {
            message: Some(message),
        });
        let messages = tokio_stream::iter(messages);
        let imported = self.checkpoints().import(messages).await?.into_inner();
        imported.checkpoint.ok_or_else(|| {
            ClientError::local(Code::Internal, "the daemon answered without a checkpoint")
        })
    }

    /// Downloads an adapter in a format; empty takes the stored tensors as they are.
    ///
    /// # Errors
    /// When the daemon refuses it, or the content arrives damaged.
    pub async fn download_checkpoint(
        &self,
        id: &str,
        format: &str,
    ) -> Result<Download, ClientError> {
        let mut bytes = Vec::new();
        let mut take = |part: DownloadPart<'_>| {
            if let DownloadPart::Bytes(data) = part {
                bytes.extend_from_slice(data);
            }
            Ok::<_, ClientError>(())
        };
        let header = self.download_parts(id, format, &mut take).await?;
        Ok(Content { header, bytes })
    }

    /// Downloads an adapter, or the whole model that it makes of its base, handing each part on as it comes. The digest is
    /// checked at the end: what was handed on is to be thrown away where this fails.
    ///
    /// # Errors
    /// When the daemon refuses it, the content arrives damaged, or `take` fails.
    pub async fn download_parts<E: From<ClientError>>(
        &self,
        id: &str,
        format: &str,
        take: &mut dyn FnMut(DownloadPart<'_>) -> Result<(), E>,
    ) -> Result<v1::DownloadHeader, E> {
        use v1::download_checkpoint_response::Message;
        let request = v1::DownloadCheckpointRequest {
            id: id.to_string(),
            format: format.to_string(),
        };
        let stream = self.checkpoints().download(request).await;
        let mut stream = stream.map_err(ClientError::from)?.into_inner();
        let (mut header, mut end) = (None, None);
        let (mut hasher, mut size) = (blake3::Hasher::new(), 0u64);
        while let Some(message) = stream.message().await.map_err(ClientError::from)? {
            match message.message {
                Some(Message::Progress(progress)) => take(DownloadPart::Progress(&progress))?,
                Some(Message::Header(found)) => {
                    take(DownloadPart::Header(&found))?;
                    header = Some(found);
                }
                Some(Message::Chunk(chunk)) if chunk.offset != size => {
                    return Err(damaged("a chunk is missing").into());
                }
                Some(Message::Chunk(chunk)) => {
                    hasher.update(&chunk.data);
                    size += chunk.data.len() as u64;
                    take(DownloadPart::Bytes(&chunk.data))?;
                }
                Some(Message::End(found)) => end = Some(found),
                None => {}
            }
        }
        check_end(end, size, &hasher)?;
        Ok(header.ok_or_else(|| damaged("it has no header"))?)
    }
}

/// A part of a download.
#[derive(Clone, Copy, Debug)]
pub enum DownloadPart<'a> {
    /// How far the writing of a whole model is.
    Progress(&'a v1::ExportProgress),
    /// What follows.
    Header(&'a v1::DownloadHeader),
    /// The next bytes of the files.
    Bytes(&'a [u8]),
}

fn damaged(what: &str) -> ClientError {
    ClientError::local(
        Code::DataLoss,
        format!("the content arrived damaged: {what}"),
    )
}

fn check_end(
    end: Option<v1::TransferEnd>,
    size: u64,
    hasher: &blake3::Hasher,
) -> Result<(), ClientError> {
    let end = end.ok_or_else(|| damaged("it has no end"))?;
    let announced = end.digest.and_then(|digest| digest.blake3);
    let found = hasher.finalize().to_hex();
    match end.size == size && announced.as_deref() == Some(found.as_str()) {
        true => Ok(()),
        false => Err(damaged("its digest differs")),
    }
}

fn digest(bytes: &[u8]) -> v1::ContentDigest {
    v1::ContentDigest {
        blake3: Some(blake3::hash(bytes).to_hex().to_string()),
        sha256: None,
    }
}

fn chunks(bytes: Vec<u8>) -> impl Iterator<Item = v1::Chunk> + Send {
    let mut offset = 0;
    std::iter::from_fn(move || {
        let data = bytes
            .get(offset..bytes.len().min(offset + CHUNK_BYTES))
            .filter(|data| !data.is_empty())?;
        let chunk = v1::Chunk {
            offset: offset as u64,
            data: data.to_vec(),
        };
        offset += data.len();
        Some(chunk)
    })
}

enum Part<H> {
    Header(H),
    Chunk(v1::Chunk),
    End(v1::TransferEnd),
    Unknown,
}

async fn collect<M, H>(
    mut stream: Streaming<M>,
    take_apart: impl Fn(M) -> Part<H>,
) -> Result<Content<H>, ClientError> {
    let (mut header, mut bytes, mut end) = (None, Vec::new(), None);
    while let Some(message) = stream.message().await? {
        match take_apart(message) {
            Part::Header(found) => header = Some(found),
            Part::End(found) => end = Some(found),
            Part::Unknown => {}
            Part::Chunk(chunk) if chunk.offset == bytes.len() as u64 => {
                bytes.extend_from_slice(&chunk.data)
            }
            Part::Chunk(_) => return Err(damaged("a chunk is missing")),
        }
    }
    let header = header.ok_or_else(|| damaged("it has no header"))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&bytes);
    check_end(end, bytes.len() as u64, &hasher)?;
    Ok(Content { header, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_a_content_once() {
        for length in [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1] {
            let bytes: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut joined = Vec::new();
            for chunk in chunks(bytes.clone()) {
                assert_eq!(chunk.offset, joined.len() as u64);
                joined.extend(chunk.data);
            }
            assert_eq!(joined, bytes);
        }
    }
}
