//! Which embedder is right for texts of a language: the one the configuration sets, or the first registered encoder that
//! knows the texts, or the generator.

use autodidact_domain::embedding::{EmbedderSetting, is_encoder};
use autodidact_domain::ports::Ports;
use autodidact_domain::{EmbedderRef, Embeddings, Interrupt, Language, ModelRef, PortResult};

/// Chooses an embedder by language and makes the texts' vectors with it; `generator` stands in where no encoder will do.
///
/// # Errors
/// [`autodidact_domain::PortError::Invalid`] when the configuration sets an embedder to which over 5% of the texts' tokens
/// are unknown; otherwise the engine's.
pub fn embed_by_language(
    ports: &Ports,
    language: Language,
    generator: &ModelRef,
    texts: Vec<String>,
    interrupt: &Interrupt,
) -> PortResult<(EmbedderRef, Embeddings)> {
    let embedder = choose_embedder(ports, language, generator, &texts, interrupt)?;
    let embeddings = ports.engine.embed(&embedder, texts, interrupt)?;
    Ok((embedder, embeddings))
}

/// Chooses an embedder by language, without making vectors.
///
/// # Errors
/// As [`embed_by_language`].
pub fn choose_embedder(
    ports: &Ports,
    language: Language,
    generator: &ModelRef,
    texts: &[String],
    interrupt: &Interrupt,
) -> PortResult<EmbedderRef> {
    let by_states = || EmbedderRef::Generator(generator.clone());
    let report = |embedder: &EmbedderRef| {
        ports
            .engine
            .embed_report(embedder, texts.to_vec(), interrupt)
    };
    match ports.embedders.get(language) {
        Some(EmbedderSetting::Generator) => Ok(by_states()),
        Some(EmbedderSetting::Model(name)) => {
            let embedder = EmbedderRef::of(&ports.models.get(name)?);
            report(&embedder)?.check(&embedder)?;
            Ok(embedder)
        }
        None => {
            let registered = ports.models.list()?;
            for encoder in registered
                .iter()
                .filter(|model| is_encoder(&model.architecture))
            {
                let embedder = EmbedderRef::of(encoder);
                if report(&embedder)?.check(&embedder).is_ok() {
                    return Ok(embedder);
                }
            }
            Ok(by_states())
        }
    }
}
