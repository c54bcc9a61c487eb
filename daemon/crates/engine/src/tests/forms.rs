//! Completions of a given form: choices, regular expressions, JSON schemas; beside others, and on every kind of vocabulary.

use autodidact_domain::{Completion, Constraint, FinishReason, GenerateRequest, Message, Prompt};
use serde_json::json;

use super::gguf_writer::Folder;
use super::*;
use crate::{EngineError, Silent};

fn choices(texts: &[&str]) -> Constraint {
    Constraint::Choices(texts.iter().map(ToString::to_string).collect())
}

fn animal() -> Json {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 6},
            "mood": {"enum": ["calm", "wild", "平静"]},
            "age": {"type": "integer", "minimum": 3, "maximum": 120},
            "tags": {"type": "array", "items": {"type": "string", "maxLength": 4}, "maxItems": 3}
        },
        "required": ["name", "mood", "age", "tags"],
        "additionalProperties": false
    })
}

/// A constraint, and whether a text fulfils it.
type FormAndCheck = (Constraint, fn(&str) -> bool);

fn forms() -> Vec<FormAndCheck> {
    vec![
        (choices(&["yes", "no", "no way", "maybe (not)?"]), |text| {
            ["yes", "no", "no way", "maybe (not)?"].contains(&text)
        }),
        (choices(&["是", "不是", "不知道", "🦉"]), |text| {
            ["是", "不是", "不知道", "🦉"].contains(&text)
        }),
        (
            Constraint::Regex(r"^\d{4}-(0[\d]|1[0-2])/[a-f]{1,3}$".into()),
            |text| {
                let (digits, rest) = text.split_at(4);
                let (month, letters) = rest[1..].split_once('/').unwrap();
                digits.bytes().all(|byte| byte.is_ascii_digit())
                    && rest.starts_with('-')
                    && month.len() == 2
                    && month.parse::<u8>().unwrap() <= 12
                    && (1..=3).contains(&letters.len())
                    && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte))
            },
        ),
        (
            Constraint::Regex("[\u{4e00}-\u{9fa5}]{2,4}。".into()),
            |text| {
                let characters: Vec<char> = text.chars().collect();
                let (last, words) = characters.split_last().unwrap();
                *last == '。'
                    && (2..=4).contains(&words.len())
                    && words.iter().all(|c| ('\u{4e00}'..='\u{9fa5}').contains(c))
            },
        ),
        (Constraint::JsonSchema(animal()), is_animal),
    ]
}

fn is_animal(text: &str) -> bool {
    let json: Json = serde_json::from_str(text).unwrap();
    let fields: Vec<&String> = json.as_object().unwrap().keys().collect();
    let short = |json: &Json, most| json.as_str().unwrap().chars().count() <= most;
    let tags = json["tags"].as_array().unwrap();
    fields == ["name", "mood", "age", "tags"]
        && short(&json["name"], 6)
        && ["calm", "wild", "平静"].contains(&json["mood"].as_str().unwrap())
        && (3..=120).contains(&json["age"].as_i64().unwrap())
        && tags.len() <= 3
        && tags.iter().all(|tag| short(tag, 4))
        && !text.contains('\n')
}

fn request(index: u64, constraint: Option<Constraint>) -> GenerateRequest {
    let texts = ["Is an owl a bird?", "猫头鹰是鸟吗？", "Describe an animal."];
    let prompt = Prompt::Chat(vec![Message::user(texts[index as usize % texts.len()])]);
    let greedy = Sampling {
        max_tokens: 120,
        ..Sampling::default()
    };
    let sampling = match index % 3 {
        0 => greedy,
        1 => sampled(index, 120),
        _ => Sampling {
            temperature: 1.5,
            ..sampled(index, 120)
        },
    };
    GenerateRequest {
        constraint,
        logprobs: index.is_multiple_of(4).then_some(2),
        ..GenerateRequest::new(prompt, sampling)
    }
}

fn generate(model: &LoadedModel, requests: &[GenerateRequest]) -> Vec<Completion> {
    model
        .generate(None, requests, &mut Silent, &calm())
        .unwrap()
}

fn one(model: &LoadedModel, request: GenerateRequest) -> Completion {
    generate(model, &[request]).remove(0)
}

fn check_forms(model: &LoadedModel, seeds: u64) {
    for (constraint, fulfils) in forms() {
        for seed in 0..seeds {
            let completion = one(model, request(seed, Some(constraint.clone())));
            let what = format!("{constraint:?}, seed {seed}: {completion:?}");
            assert_eq!(completion.finish, FinishReason::Eos, "{what}");
            assert!(fulfils(&completion.text), "{what}");
        }
    }
}

#[test]
fn every_text_has_its_form() {
    check_forms(&tiny(Compute::Exact, 2), 12);
}

#[test]
fn every_text_has_its_form_on_the_real_model() {
    if let Some(model) = Real::SmolLm2.load(Compute::Fast) {
        check_forms(model, 4);
        let answer = |text: &str, texts: &[&str]| {
            let mut asked = request(0, Some(choices(texts)));
            asked.prompt = Prompt::Chat(vec![Message::user(text)]);
            one(model, asked).text
        };
        let capital = "What is the capital of France? Answer with one word.";
        assert_eq!(answer(capital, &["Berlin", "Paris", "Rome"]), "Paris");
    }
}

/// Some constrained, some not, some waiting: each as if alone.
#[test]
fn neighbours_do_not_change_a_bit() {
    let model = tiny(Compute::Fast, 2);
    let forms = forms();
    let constraint = |index: u64| {
        let form = forms.get(index as usize % (forms.len() + 2));
        form.map(|(constraint, _)| constraint.clone())
    };
    let requests: Vec<GenerateRequest> = (0..40)
        .map(|index| request(index, constraint(index)))
        .collect();
    let together = generate(&model, &requests);
    for (request, together) in requests.iter().zip(&together) {
        let alone = generate(&model, std::slice::from_ref(request));
        assert_eq!(&alone[0], together);
    }
    let free = |request: &&GenerateRequest| request.constraint.is_none();
    let free: Vec<GenerateRequest> = requests.iter().filter(free).cloned().collect();
    let among_themselves = generate(&model, &free);
    let without = together.iter().zip(&requests);
    let without = without.filter(|(_, request)| request.constraint.is_none());
    assert!(without.map(|(done, _)| done).eq(&among_themselves));
}

#[test]
fn what_cuts_a_text_short_is_told() {
    let model = tiny(Compute::Exact, 1);
    let long = Constraint::Regex("[a-z]{40}".into());
    let mut short = request(0, Some(long.clone()));
    short.sampling.max_tokens = 3;
    let cut = one(&model, short);
    assert_eq!(
        (cut.finish, cut.completion_tokens),
        (FinishReason::Length, 3)
    );
    let whole = one(&model, request(0, Some(long.clone())));
    assert_eq!((whole.finish, whole.text.len()), (FinishReason::Eos, 40));
    let mut stopped = request(0, Some(long));
    stopped.sampling.stop = vec![whole.text[10..14].to_string()];
    let stopped = one(&model, stopped);
    assert_eq!(stopped.finish, FinishReason::Stop);
    assert!(whole.text.starts_with(&stopped.text) && stopped.text.len() <= 10);

    // Every token that could go on is forbidden: the text ends, whole or not, and never breaks its form.
    let vocabulary = model.config.vocab_size as u32;
    let mut forbidden = request(0, Some(choices(&["yes", "no"])));
    let bias = (0..vocabulary).map(|id| (id, f32::NEG_INFINITY));
    forbidden.sampling.logit_bias = bias.collect();
    let nothing = one(&model, forbidden.clone());
    assert_eq!(
        (
            nothing.finish,
            nothing.text.as_str(),
            nothing.completion_tokens
        ),
        (FinishReason::Length, "", 0)
    );
    forbidden.constraint = Some(choices(&["y", "yes"]));
    let first = model.tokenizer().encode("y").unwrap()[0];
    forbidden.sampling.logit_bias.remove(&first);
    let whole = one(&model, forbidden);
    assert_eq!(
        (whole.finish, whole.text.as_str()),
        (FinishReason::Eos, "y")
    );
    assert_eq!(whole.completion_tokens, 1);
}

#[test]
fn a_biased_choice_wins() {
    let model = tiny(Compute::Exact, 1);
    for text in ["yes", "no", "是", "不是"] {
        let mut asked = request(0, Some(choices(&["yes", "no", "是", "不是"])));
        for id in model.tokenizer().encode(text).unwrap() {
            asked.sampling.logit_bias.insert(id, 50.0);
        }
        assert_eq!(one(&model, asked).text, text);
    }
}

#[test]
fn what_cannot_be_fulfilled_is_refused_before_any_work() {
    let model = tiny(Compute::Fast, 1);
    let schema = Constraint::JsonSchema;
    for (constraint, part) in [
        (choices(&[]), "choices"),
        (Constraint::Regex("(a".into()), "regular expression"),
        (Constraint::Regex("(?=a)b".into()), "look-around"),
        (Constraint::Regex(r"[^\x00-\u{10FFFF}]".into()), "fulfil"),
        (schema(json!({"type": "strin"})), "strin"),
        (
            schema(json!({"type": "array", "uniqueItems": true})),
            "uniqueItems",
        ),
        (
            schema(json!({"type": "integer", "minimum": 5, "maximum": 1})),
            "minimum",
        ),
        (
            schema(json!({"$ref": "http://localhost/x.json"})),
            "JSON schema",
        ),
        (schema(json!({"$ref": "#"})), "fulfil"),
        (schema(json!({"allOf": [{"$ref": "#"}]})), "fulfil"),
        (schema(json!(false)), "Unsatisfiable"),
        (schema(json!([1])), "object"),
    ] {
        let requests = [request(0, None), request(1, Some(constraint.clone()))];
        let outcome = model.generate(None, &requests, &mut Silent, &calm());
        let Err(EngineError::Invalid(fault)) = outcome else {
            panic!("{constraint:?}: {outcome:?}");
        };
        let named = fault.starts_with("request 1: ") && fault.contains(part);
        let advised = ["; give", "; write", "; mend"];
        assert!(
            advised.iter().any(|advice| fault.contains(advice)),
            "{fault}"
        );
        assert!(named && fault.len() < 900, "{constraint:?}: {fault}");
    }
}

/// Grammars made to take time and memory: refused, cut short or fulfilled, and soon.
#[test]
fn hostile_grammars_end_soon() {
    let model = tiny(Compute::Fast, 2);
    let any_of = |branch: u32| {
        let object =
            |i: u32| json!({"properties": {format!("p{branch}_{i}"): {"type": "integer"}}});
        json!({"anyOf": (0..10).map(object).collect::<Vec<_>>()})
    };
    let nested = (0..120).fold(
        json!({"type": "string"}),
        |inner, _| json!({"type": "array", "items": inner}),
    );
    let many: serde_json::Map<String, Json> = (0..1500)
        .map(|i| (format!("p{i}"), json!({"type": "integer"})))
        .collect();
    let schemas = [
        json!({"allOf": (0..8).map(any_of).collect::<Vec<_>>()}),
        nested,
        json!({"type": "object", "properties": many}),
        json!({"type": "array", "items": {"type": "string", "maxLength": 1_000_000}, "minItems": 1_000_000}),
        json!({"type": "integer", "multipleOf": 999_999_937, "minimum": -1e15, "maximum": 1e15}),
        json!({"type": "object", "patternProperties": {"^.*a.{30}$": {}, "^.*b.{30}$": {"type": "integer"}}}),
        json!({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}),
    ];
    let deep = format!("{}a{}", "(".repeat(20_000), ")+".repeat(20_000));
    let expressions = [
        "((a{1000}){1000}){1000}",
        "(([a-z]{0,1000}b){0,1000}c){0,1000}",
        ".*a.{200}b.{200}",
        r"(a+)+b|(a|aa)+c|(.*.*.*)*d|\p{L}{1,500}",
        &deep,
    ];
    let texts: Vec<String> = (0..2500)
        .map(|i| format!("choice {i} 选择{}", i * 7919))
        .collect();
    let mut constraints = vec![Constraint::Choices(texts)];
    constraints.extend(schemas.into_iter().map(Constraint::JsonSchema));
    constraints.extend(expressions.map(|text| Constraint::Regex(text.into())));
    for constraint in constraints {
        let started = std::time::Instant::now();
        let asked = request(1, Some(constraint.clone()));
        let outcome = model.generate(None, &[asked], &mut Silent, &calm());
        let took = started.elapsed();
        let what: String = format!("{constraint:?}").chars().take(80).collect();
        eprintln!("{took:?} {} {what}", outcome.is_ok());
        assert!(took.as_secs() < 10, "{took:?} {what}");
    }
}

/// The tiny model under a vocabulary of SentencePiece's kind: blanks as `▁`, single bytes as `<0x..>`.
fn with_sentence_piece(name: &str) -> (Folder, LoadedModel) {
    let mut texts: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    texts.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>")));
    let words = [
        "▁", "▁▁", "▁yes", "▁no", "▁way", "▁{", "是", "▁是", "不", "way", "\"", "▁\"",
    ];
    texts.extend(words.map(String::from));
    texts.extend(('a'..='z').map(String::from));
    texts.extend((texts.len()..1024).map(|id| format!("<unused{id}>")));
    let vocabulary: serde_json::Map<String, Json> = texts
        .iter()
        .zip(0..)
        .map(|(text, id): (_, u32)| (text.clone(), json!(id)))
        .collect();
    let special = |id: usize| {
        json!({"id": id, "content": texts[id], "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(1), special(2)],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "pre_tokenizer": null, "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "fuse_unk": true,
                  "byte_fallback": true, "vocab": vocabulary, "merges": []}
    });
    let folder = Folder::new(name);
    for file in ["config.json", "model.safetensors"] {
        folder.write(
            file,
            &std::fs::read(golden_path("tiny").join(file)).unwrap(),
        );
    }
    let path = folder.write("tokenizer.json", tokenizer.to_string().as_bytes());
    let model = Engine::new(1, Compute::Exact)
        .load(path.parent().unwrap())
        .unwrap();
    (folder, model)
}

#[test]
fn sentence_piece_vocabularies_keep_the_form_too() {
    let (_folder, model) = with_sentence_piece("forms");
    let asked = |seed, constraint| GenerateRequest {
        prompt: Prompt::Text("is it so".into()),
        ..request(seed, Some(constraint))
    };
    for (constraint, fulfils) in forms() {
        for seed in 0..12 {
            let completion = one(&model, asked(seed, constraint.clone()));
            let what = format!("{constraint:?}, seed {seed}: {completion:?}");
            assert!(
                completion.finish == FinishReason::Eos && fulfils(&completion.text),
                "{what}"
            );
        }
    }
    // A first blank belongs to the token and not to the text; a second one is text.
    let id = |text: &str| {
        let bytes = text.replace('▁', " ");
        let mut ids = 0..model.config.vocab_size as u32;
        ids.rfind(|id| model.tokenizer().piece(*id) == bytes.as_bytes())
            .unwrap()
    };
    for (texts, tokens, expect) in [
        (["yes", "no"], vec!["▁yes"], "yes"),
        (["yes", "no"], vec!["▁", "n", "o"], "no"),
        (["no", "no way"], vec!["▁no", "▁way"], "no way"),
        (["no", "no way"], vec!["n", "o", "▁", "way"], "no way"),
        ([" no", "y"], vec!["▁▁", "n", "o"], " no"),
        (["是", "不是"], vec!["▁是"], "是"),
    ] {
        let mut biased = asked(0, choices(&texts));
        // All but the wanted tokens are forbidden, so that these very tokens spell the text.
        let allowed: Vec<u32> = tokens.iter().map(|text| id(text)).collect();
        let ids = 0..model.config.vocab_size as u32;
        biased.sampling.logit_bias = ids
            .filter(|id| !allowed.contains(id))
            .map(|id| (id, f32::NEG_INFINITY))
            .collect();
        let completion = one(&model, biased);
        let found = (completion.text.as_str(), completion.finish);
        assert_eq!(found, (expect, FinishReason::Eos), "{tokens:?}");
        // A blank before the first token may or may not be there.
        assert!(completion.completion_tokens as usize - tokens.len() <= 1);
    }
}
