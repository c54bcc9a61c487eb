//! The configured models, and the port that they serve.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use autodidact_domain::generation::ResponseLoss;
use autodidact_domain::ports::Engine;
use autodidact_domain::training::TrainProgress;
use autodidact_domain::{
    Account, Completion, Constraint, Digest, EmbedReport, EmbedderRef, Embeddings, FinishReason,
    GenerateRequest, Interrupt, Message, ModelName, ModelRef, ModelSummary, NoAccount, PortError,
    PortResult, ScoreRequest, TrainRequest, TrainSegment,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::Answer;
use crate::background::Background;
use crate::embeddings;
use crate::error::RemoteError;
use crate::http::{self, Call, Wanted};
use crate::pay::{Reservation, Usage, cost, most_tokens};
use crate::request::{Body, body};
use crate::retry::{Failure, with_retries};
use crate::settings::{Identity, Key, RemoteSettings};
use crate::stream as events;

/// Every configured model, by name.
#[derive(Debug, Default)]
pub struct RemoteModels(BTreeMap<ModelName, RemoteModel>);

impl RemoteModels {
    /// Makes clients for these models. No server is asked anything.
    ///
    /// # Errors
    /// [`RemoteError::Internal`] where threads or certificates cannot be had.
    pub fn open(
        models: impl IntoIterator<Item = (ModelName, RemoteSettings, Option<Key>)>,
    ) -> Result<Self, RemoteError> {
        let mut models = models.into_iter().peekable();
        if models.peek().is_none() {
            return Ok(Self::default());
        }
        let runtime = Arc::new(Background::start()?);
        let open = |(name, settings, key): (ModelName, RemoteSettings, Option<Key>)| {
            let identity = Identity {
                name: name.clone(),
                settings,
                key,
            };
            Ok((name, RemoteModel::open(identity, Arc::clone(&runtime))?))
        };
        Ok(Self(models.map(open).collect::<Result<_, RemoteError>>()?))
    }

    /// Finds one.
    pub fn get(&self, name: &ModelName) -> Option<&RemoteModel> {
        self.0.get(name)
    }

    /// Goes through all, by name.
    pub fn iter(&self) -> impl Iterator<Item = &RemoteModel> {
        self.0.values()
    }
}

/// A model that a server runs.
#[derive(Debug)]
pub struct RemoteModel {
    identity: Identity,
    client: reqwest::Client,
    runtime: Arc<Background>,
    /// Bounds the requests under way, over all callers.
    permits: Semaphore,
}

impl RemoteModel {
    fn open(identity: Identity, runtime: Arc<Background>) -> Result<Self, RemoteError> {
        Ok(Self {
            client: http::client(&identity)?,
            permits: Semaphore::new(identity.settings.concurrency.max(1)),
            identity,
            runtime,
        })
    }

    /// Describes it as registered models are described.
    pub fn summary(&self) -> ModelSummary {
        let Identity { name, settings, .. } = &self.identity;
        let source = settings.source();
        ModelSummary {
            name: name.clone(),
            digest: Digest::of(format!("{source}\n{}", settings.model).as_bytes()),
            source,
            path: settings.model.clone(),
            sha256: String::new(),
            architecture: "remote".into(),
            parameters: 0,
            quantization: String::new(),
            context_length: 0,
            details: Default::default(),
        }
    }

    /// Makes vectors as [`Engine::embed`] does, where each request is paid for. What the server's embedder does not know is
    /// not told, so no token counts as unknown.
    ///
    /// # Errors
    /// As [`Engine::generate_paid`].
    pub fn embed_paid(
        &self,
        texts: &[String],
        account: &dyn Account,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        let work = async {
            let batches: Vec<(Vec<Vec<f32>>, Option<Usage>)> =
                stream::iter(texts.chunks(embeddings::TEXTS_A_REQUEST))
                    .map(|texts| self.embed_batch(texts, account))
                    .buffered(self.identity.settings.concurrency.max(1))
                    .try_collect()
                    .await?;
            let used = batches.iter().filter_map(|(_, usage)| *usage);
            let tokens = used.map(|usage| usage.prompt_tokens).sum();
            let vectors: Vec<Vec<f32>> = batches
                .into_iter()
                .flat_map(|(vectors, _)| vectors)
                .collect();
            match vectors
                .windows(2)
                .all(|pair| pair[0].len() == pair[1].len())
            {
                true => Ok(Embeddings {
                    vectors,
                    tokens,
                    unknown_tokens: 0,
                }),
                false => Err(RemoteError::Malformed(format!(
                    "remote model {} answered embeddings of several lengths; see that its server runs one embedder",
                    self.identity.name
                ))),
            }
        };
        self.runtime.run(interrupt, work)
    }

    async fn embed_batch(
        &self,
        texts: &[String],
        account: &dyn Account,
    ) -> Result<(Vec<Vec<f32>>, Option<Usage>), RemoteError> {
        let _permit = self.permit().await?;
        let most = Usage {
            prompt_tokens: texts.iter().map(|text| text.len() as u64 + 2).sum(),
            completion_tokens: 0,
        };
        let reservation = Reservation::ask(account, cost(&self.identity.settings, most)).await?;
        let call = self.call("/embeddings");
        let body = embeddings::body(&self.identity.settings.model, texts);
        let (vectors, usage) = with_retries(&self.identity.patience(), async || {
            let value = self.whole_answer(&call, &body).await?;
            embeddings::read(&call, value, texts.len())
        })
        .await?;
        reservation.settle(&self.identity, usage)?;
        Ok((vectors, usage))
    }

    /// Continues prompts, several at a time; the first failure ends all.
    fn complete_all(
        &self,
        requests: &[GenerateRequest],
        account: &dyn Account,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        // What cannot be asked at all is refused before anything is paid for.
        let bodies: Vec<Body> = requests
            .iter()
            .map(|request| body(&self.identity, request, false))
            .collect::<Result<_, _>>()?;
        let progress = RefCell::new(progress);
        let work = async {
            stream::iter(requests.iter().zip(&bodies))
                .map(async |(request, body)| {
                    let completion = self.complete(request, body, account).await?;
                    (progress.borrow_mut())(u64::from(completion.completion_tokens));
                    Ok(completion)
                })
                .buffered(self.identity.settings.concurrency.max(1))
                .try_collect()
                .await
        };
        self.runtime.run(interrupt, work)
    }

    async fn complete(
        &self,
        request: &GenerateRequest,
        body: &Body,
        account: &dyn Account,
    ) -> Result<Completion, RemoteError> {
        let _permit = self.permit().await?;
        let most = cost(&self.identity.settings, most_tokens(request));
        let reservation = Reservation::ask(account, most).await?;
        let call = self.call(body.path);
        let patience = self.identity.patience();
        let answered = with_retries(&patience, async || {
            let value = self.whole_answer(&call, &body.json).await?;
            Answer::read(&call, value)?.into_parts(&call)
        });
        let (parts, usage) = match answered.await {
            // The server computed nothing, so nothing is paid, and the other prompts are answered.
            Err(RemoteError::TooLong(_)) => return Ok(no_room()),
            answered => answered?,
        };
        // It is paid for whatever is found wrong with it.
        reservation.settle(&self.identity, usage)?;
        parts
            .into_completion(&call, request, &body.stops, usage)
            .map_err(final_error)
    }

    /// Continues prompts for someone who waits.
    fn stream_all(
        &self,
        requests: &[GenerateRequest],
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        let bodies: Vec<Body> = requests
            .iter()
            .map(|request| body(&self.identity, request, true))
            .collect::<Result<_, _>>()?;
        let piece = RefCell::new(piece);
        let work = async {
            stream::iter(requests.iter().zip(&bodies).enumerate())
                .map(async |(index, (request, body))| {
                    let mut tell = |text: &str| (piece.borrow_mut())(index, text);
                    self.stream_one(request, body, &mut tell).await
                })
                .buffered(self.identity.settings.concurrency.max(1))
                .try_collect()
                .await
        };
        self.runtime.run(interrupt, work)
    }

    async fn stream_one(
        &self,
        request: &GenerateRequest,
        body: &Body,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Completion, RemoteError> {
        let _permit = self.permit().await?;
        let call = self.call(body.path);
        let silence = Duration::from_secs(self.identity.settings.timeout_s);
        // Some servers know no `stream_options`; the text is what counts, so the second attempt goes without.
        let plain = Cell::new(false);
        let (completion, _) = with_retries(&self.identity.patience(), async || {
            let mut json = body.json.clone();
            if plain.get() {
                json.as_object_mut()
                    .map(|fields| fields.remove("stream_options"));
            }
            let sent = timeout(silence, call.send(&json, Wanted::Events)).await;
            let response = match sent.map_err(|_| call.late())? {
                Err(Failure::Final(RemoteError::Refused(text)))
                    if !plain.get() && text.contains("stream_options") =>
                {
                    plain.set(true);
                    return Err(Failure::Again {
                        what: text,
                        after: None,
                    });
                }
                sent => sent?,
            };
            events::read(&call, response, request, body, &mut *tell).await
        })
        .await?;
        Ok(completion)
    }

    /// Sends a request and reads its answer, in the time allowed for both.
    async fn whole_answer(
        &self,
        call: &Call<'_>,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Failure> {
        let whole = async {
            let response = call.send(body, Wanted::Json).await?;
            call.json(response).await
        };
        let limit = Duration::from_secs(self.identity.settings.timeout_s);
        timeout(limit, whole).await.map_err(|_| call.late())?
    }

    fn call(&self, path: &'static str) -> Call<'_> {
        Call {
            identity: &self.identity,
            client: &self.client,
            path,
        }
    }

    async fn permit(&self) -> Result<tokio::sync::SemaphorePermit<'_>, RemoteError> {
        let permit = self.permits.acquire().await;
        permit.map_err(|_| RemoteError::Internal("the permits are closed".into()))
    }

    fn check_adapter(&self, model: &ModelRef) -> PortResult<()> {
        match &model.adapter {
            None => Ok(()),
            Some(adapter) => Err(PortError::Invalid(format!(
                "remote model {} takes no adapter, and {adapter} was asked for",
                self.identity.name
            ))),
        }
    }

    fn only_generates<T>(&self, what: &str) -> PortResult<T> {
        Err(PortError::Invalid(format!(
            "cannot {what} {}: a remote model can only generate and embed; name a model on this machine",
            self.identity.name
        )))
    }
}

impl Engine for RemoteModel {
    fn generate(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        self.generate_paid(model, requests, &NoAccount, interrupt, progress)
    }

    fn generate_paid(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        account: &dyn Account,
        interrupt: &Interrupt,
        progress: &mut dyn FnMut(u64),
    ) -> PortResult<Vec<Completion>> {
        self.check_adapter(model)?;
        self.complete_all(&requests, account, interrupt, progress)
    }

    fn response_loss(
        &self,
        _: &ModelRef,
        _: Vec<Vec<Message>>,
        _: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        self.only_generates("measure the loss of")
    }

    fn train(
        &self,
        _: TrainRequest,
        _: &Interrupt,
        _: &mut dyn FnMut(TrainProgress),
    ) -> PortResult<TrainSegment> {
        self.only_generates("train")
    }

    fn generate_stream(
        &self,
        model: &ModelRef,
        requests: Vec<GenerateRequest>,
        interrupt: &Interrupt,
        piece: &mut dyn FnMut(usize, &str),
    ) -> PortResult<Vec<Completion>> {
        self.check_adapter(model)?;
        self.stream_all(&requests, interrupt, piece)
    }

    fn score(
        &self,
        _: &ModelRef,
        _: Vec<ScoreRequest>,
        _: &Interrupt,
    ) -> PortResult<Vec<ResponseLoss>> {
        self.only_generates("score texts by")
    }

    fn embed(
        &self,
        embedder: &EmbedderRef,
        texts: Vec<String>,
        interrupt: &Interrupt,
    ) -> PortResult<Embeddings> {
        if let EmbedderRef::Generator(model) | EmbedderRef::LastState(model) = embedder {
            self.check_adapter(model)?;
        }
        self.embed_paid(&texts, &NoAccount, interrupt)
    }

    fn embed_report(
        &self,
        _: &EmbedderRef,
        _: Vec<String>,
        _: &Interrupt,
    ) -> PortResult<EmbedReport> {
        Ok(EmbedReport::default())
    }

    /// The server compiles them, where it can.
    fn check_constraint(&self, _: &Constraint) -> Result<(), String> {
        Ok(())
    }

    fn compute(&self) -> &'static str {
        "remote"
    }
}

/// What comes of a prompt that the context has no room for; how many tokens it has is the server's to know.
fn no_room() -> Completion {
    Completion {
        text: String::new(),
        finish: FinishReason::NoRoom,
        prompt_tokens: 0,
        completion_tokens: 0,
        logprobs: Vec::new(),
    }
}

/// Takes a failure for good where nothing is sent again.
fn final_error(failure: Failure) -> RemoteError {
    match failure {
        Failure::Final(error) => error,
        Failure::Again { what, .. } => RemoteError::Failed(what),
    }
}
