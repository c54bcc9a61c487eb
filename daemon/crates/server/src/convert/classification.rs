//! Requests for labels, checked, and the labels.

use autodidact_domain::{Classifications, ClassifyInput, LabelScores, ModelRef};
use autodidact_proto::{MAX_MESSAGE_BYTES, v1};
use prost::Message;
use tonic::Status;

use super::generation::model_ref;
use crate::status::{bad_field, refuse};

/// The most texts or sentences of a call; several calls take more.
const MAX_ITEMS: usize = 256;

/// Reads and checks a request: the model with its adapter, and what is labelled.
pub(crate) fn classify_request(
    request: v1::ClassifyRequest,
) -> Result<(ModelRef, Vec<ClassifyInput>), Status> {
    let v1::ClassifyRequest {
        model,
        adapter,
        items,
    } = request;
    let model = model_ref(model, adapter)?;
    if model.adapter.is_none() {
        return Err(bad_field(
            "adapter",
            "expected an adapter that was trained with SEQ_CLS or TOKEN_CLS, found none",
        ));
    }
    if !(1..=MAX_ITEMS).contains(&items.len()) {
        return Err(bad_field(
            "items",
            format!("expected 1 to {MAX_ITEMS}, found {}", items.len()),
        ));
    }
    let inputs = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| input(&format!("items[{index}]"), item));
    Ok((model, inputs.collect::<Result<_, _>>()?))
}

fn input(field: &str, item: v1::ClassifyItem) -> Result<ClassifyInput, Status> {
    match item.input {
        None => Err(bad_field(
            &format!("{field}.input"),
            "neither a text nor words are set",
        )),
        Some(v1::classify_item::Input::Text(text)) if text.trim().is_empty() => Err(bad_field(
            &format!("{field}.text"),
            "expected some text, found none",
        )),
        Some(v1::classify_item::Input::Text(text)) => Ok(ClassifyInput::Text(text)),
        Some(v1::classify_item::Input::Words(words)) => {
            check_words(field, &words.tokens)?;
            Ok(ClassifyInput::Words(words.tokens))
        }
    }
}

fn check_words(field: &str, words: &[String]) -> Result<(), Status> {
    let field = format!("{field}.words.tokens");
    if words.is_empty() {
        return Err(bad_field(&field, "expected some words, found none"));
    }
    match words.iter().position(|word| word.trim().is_empty()) {
        Some(index) => Err(bad_field(
            &format!("{field}[{index}]"),
            "expected a word, found none",
        )),
        None => Ok(()),
    }
}

/// Writes the labels.
pub(crate) fn classify_response(
    classified: Classifications,
) -> Result<v1::ClassifyResponse, Status> {
    let Classifications {
        task,
        labels,
        results,
    } = classified;
    let result = |units: Vec<LabelScores>| v1::Classification {
        units: units
            .into_iter()
            .map(|scores| label_score(&labels, scores))
            .collect(),
    };
    let results: Vec<v1::Classification> = results.into_iter().map(result).collect();
    let response = v1::ClassifyResponse {
        task_type: task.name().to_string(),
        labels,
        results,
    };
    let bytes = response.encoded_len();
    if bytes > MAX_MESSAGE_BYTES {
        return Err(refuse(
            v1::ErrorReason::TooLarge,
            format!(
                "the labels take {bytes} bytes, more than a message holds; ask for fewer items at once"
            ),
        ));
    }
    Ok(response)
}

fn label_score(labels: &[String], scores: LabelScores) -> v1::LabelScore {
    let best = scores.best().and_then(|best| labels.get(best));
    v1::LabelScore {
        label: best.cloned().unwrap_or_default(),
        log_probabilities: scores.0,
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::TrainTask;
    use v1::classify_item::Input;

    use super::*;
    use crate::status::reason_of;

    fn words(words: &[&str]) -> Input {
        let tokens = words.iter().map(ToString::to_string).collect();
        Input::Words(v1::Words { tokens })
    }

    fn request(inputs: Vec<Option<Input>>) -> v1::ClassifyRequest {
        let items = inputs.into_iter().map(|input| v1::ClassifyItem { input });
        v1::ClassifyRequest {
            model: "m".into(),
            adapter: Some("a".into()),
            items: items.collect(),
        }
    }

    #[test]
    fn requests_are_checked() {
        let text = |text: &str| Some(Input::Text(text.into()));
        let good = request(vec![text("It broke."), Some(words(&["in", "Bern"]))]);
        let (model, inputs) = classify_request(good.clone()).unwrap();
        assert_eq!(model.adapter.unwrap().as_str(), "a");
        let expect = [
            ClassifyInput::Text("It broke.".into()),
            ClassifyInput::Words(vec!["in".into(), "Bern".into()]),
        ];
        assert_eq!(inputs, expect);
        let check = |request: v1::ClassifyRequest, field: &str| {
            let refused = classify_request(request).unwrap_err();
            let named = refused.message().starts_with(&format!("{field}: "));
            assert!(named, "{field}: {refused}");
        };
        check(request(Vec::new()), "items");
        check(request(vec![text("a"); MAX_ITEMS + 1]), "items");
        check(request(vec![text("a"), None]), "items[1].input");
        check(request(vec![text(" ")]), "items[0].text");
        check(request(vec![Some(words(&[]))]), "items[0].words.tokens");
        let blank = Some(words(&["in", "\t"]));
        check(request(vec![blank]), "items[0].words.tokens[1]");
        let changed = |model: &str, adapter: Option<&str>| v1::ClassifyRequest {
            model: model.into(),
            adapter: adapter.map(Into::into),
            ..good.clone()
        };
        check(changed("../m", Some("a")), "model");
        check(changed("m", Some("../a")), "adapter");
        check(changed("m", None), "adapter");
    }

    #[test]
    fn labels_that_no_message_holds_are_refused() {
        let classified = |words: usize, labels: usize| Classifications {
            task: TrainTask::TokenClassification,
            labels: (0..labels).map(|label| label.to_string()).collect(),
            results: vec![vec![LabelScores(vec![-1.0; labels]); words]],
        };
        let response = classify_response(classified(1000, 100)).unwrap();
        assert_eq!(response.results[0].units[0].label, "0");
        let refused = classify_response(classified(10_000, 200)).unwrap_err();
        assert_eq!(reason_of(&refused), Some(v1::ErrorReason::TooLarge));
    }
}
