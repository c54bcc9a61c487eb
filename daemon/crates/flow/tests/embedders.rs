//! The choice of an embedder by language.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use std::sync::Arc;

use autodidact_domain::embedding::EmbedderSetting;
use autodidact_domain::ports::Ports;
use autodidact_domain::{
    EmbedderRef, EmbedderTable, Interrupt, Language, ModelName, ModelRef, PortResult,
};
use autodidact_flow::embed_by_language;
use common::{World, ports};

fn chosen(ports: &Ports, language: Language, text: &str) -> PortResult<EmbedderRef> {
    let generator = ModelRef {
        model: ModelName::new("tiny").unwrap(),
        adapter: None,
    };
    let texts = vec![text.to_string(); 3];
    let (embedder, embeddings) =
        embed_by_language(ports, language, &generator, texts, &Interrupt::new())?;
    assert_eq!(embeddings.vectors.len(), 3);
    Ok(embedder)
}

fn with(settings: &[(Language, &str)]) -> Ports {
    let table = EmbedderTable {
        settings: settings
            .iter()
            .map(|(language, text)| (*language, EmbedderSetting::parse(text).unwrap()))
            .collect(),
    };
    Ports {
        embedders: Arc::new(table),
        ..ports(&Arc::new(World::default()))
    }
}

#[test]
fn the_first_encoder_that_knows_the_texts_is_taken_else_the_generator() {
    let ports = with(&[]);
    let english = chosen(&ports, Language::En, "name three rivers").unwrap();
    assert_eq!(english.model().as_str(), "minilm");
    assert!(matches!(english, EmbedderRef::Encoder(_)));
    let chinese = chosen(&ports, Language::Zh, "说出三条河流").unwrap();
    assert!(matches!(chinese, EmbedderRef::Generator(_)), "{chinese:?}");
}

#[test]
fn what_the_configuration_sets_is_taken_or_refused_with_the_share() {
    let ports = with(&[(Language::En, "generator"), (Language::Zh, "minilm")]);
    let english = chosen(&ports, Language::En, "name three rivers").unwrap();
    assert!(matches!(english, EmbedderRef::Generator(_)));
    let message = chosen(&ports, Language::Zh, "说出三条河流")
        .unwrap_err()
        .to_string();
    for part in ["minilm", "100.0%", "`generator` under [embedders]"] {
        assert!(message.contains(part), "{message}");
    }
    let missing = with(&[(Language::En, "nowhere")]);
    assert!(chosen(&missing, Language::En, "a").is_err());
}
