//! A sequence's result does not depend on its neighbours, on chunks or on threads: bit for bit.

use autodidact_domain::random::Random;
use autodidact_domain::{
    Completion, FinishReason, GenerateRequest, InterruptReason, Message, Prompt,
};

use super::*;
use crate::{EngineError, GenerateObserver, Silent, Urgency};

pub(super) fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter()
        .map(|row| row.iter().map(|x| x.to_bits()).collect())
        .collect()
}

#[test]
fn chunks_and_threads_do_not_change_a_bit() {
    let mut random = Random::from_seed(5);
    let ids: Vec<u32> = (0..150).map(|_| random.below(1024) as u32).collect();
    for compute in [Compute::Exact, Compute::Fast] {
        let expect = bits(&all_logits(&tiny(compute, 1), None, &ids, 1));
        for (threads, chunk) in [(1, 7), (2, 128), (3, 33)] {
            assert_eq!(
                bits(&all_logits(&tiny(compute, threads), None, &ids, chunk)),
                expect,
                "{compute:?} {threads} {chunk}"
            );
        }
    }
}

/// Logits of each sequence's last token, all sequences computed together.
fn together(model: &LoadedModel, lora: Option<&Updates>, sequences: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let mut caches: Vec<SequenceCache> = sequences
        .iter()
        .map(|ids| model.decoder.new_cache(ids.len()).unwrap())
        .collect();
    let mut caches: Vec<&mut SequenceCache> = caches.iter_mut().collect();
    let (mut buffers, mut out) = (Buffers::default(), Vec::new());
    // All but the last token first, then all last tokens in one pass of as many rows.
    for last in [false, true] {
        let mut batch = Batch::default();
        for (index, ids) in sequences.iter().enumerate() {
            let split = ids.len() - 1;
            let (part, position) = if last {
                (&ids[split..], split)
            } else {
                (&ids[..split], 0)
            };
            let first = batch.push(index, part, position);
            if last {
                batch.wanted.push(first);
            }
        }
        let mut sink = |_: usize, rows: &mut [f32]| {
            out.extend(
                rows.chunks_exact(model.config.vocab_size)
                    .map(<[f32]>::to_vec),
            );
        };
        model
            .decoder
            .forward(
                &model.team,
                &batch,
                &mut caches,
                lora,
                &mut buffers,
                &mut sink,
            )
            .unwrap();
    }
    out
}

pub(super) fn check_rows(model: &LoadedModel, lora: Option<&Updates>) {
    let mut random = Random::from_seed(6);
    let vocabulary = model.config.vocab_size;
    let sequences: Vec<Vec<u32>> = (0..32)
        .map(|_| {
            (0..2 + random.below(40))
                .map(|_| random.below(vocabulary) as u32)
                .collect()
        })
        .collect();
    let alone: Vec<Vec<f32>> = sequences
        .iter()
        .map(|ids| together(model, lora, std::slice::from_ref(ids)).remove(0))
        .collect();
    let among = |count: usize| bits(&together(model, lora, &sequences[..count]));
    assert_eq!(among(8), bits(&alone[..8]));
    assert_eq!(among(32), bits(&alone));
}

#[test]
fn a_row_alone_among_8_and_among_32() {
    check_rows(&tiny(Compute::Exact, 2), None);
    check_rows(&tiny(Compute::Fast, 2), None);
}

#[test]
fn a_row_alone_among_8_and_among_32_in_every_family() {
    for (family, _) in super::families::FAMILIES {
        let folder = golden_path("families").join(family);
        for compute in [Compute::Exact, Compute::Fast] {
            check_rows(&Engine::new(2, compute).load(&folder).unwrap(), None);
        }
    }
}

#[test]
fn a_row_alone_among_8_and_among_32_on_the_real_models() {
    for model in Real::ALL {
        for compute in [Compute::Exact, Compute::Fast] {
            let model = model.load(compute).into_iter();
            model.for_each(|model| check_rows(model, None));
        }
    }
}

/// As many sequences at once as their keys and values have room for, and the same completions.
#[test]
fn sequences_share_what_there_is_for_their_keys_and_values() {
    #[derive(Default)]
    struct AtWork(std::collections::BTreeSet<usize>);
    impl GenerateObserver for AtWork {
        fn token(&mut self, request: usize) {
            self.0.insert(request);
        }
    }
    let model = tiny(Compute::Fast, 1);
    let request = |index: u64| {
        let prompt = Prompt::Text(format!("{index}: a task"));
        GenerateRequest::new(prompt, sampled(index, 40))
    };
    let run = |sequences: Option<u64>| {
        let longest = model.encode(&request(11).prompt).unwrap().len() + 40;
        let bytes = model.decoder.cache_bytes(longest) as u64;
        model.allow(sequences.map(|sequences| sequences * bytes));
        let mut session = model.session(None).unwrap();
        for index in 0..12 {
            session.add(request(index), Urgency::Ordinary).unwrap();
        }
        let (mut most, mut completions) = (0, vec![None; 12]);
        while !session.is_idle() {
            let mut at_work = AtWork::default();
            session.step(&mut at_work).unwrap();
            most = most.max(at_work.0.len());
            while let Some((number, completion)) = session.take_finished() {
                completions[number] = Some(completion);
            }
        }
        model.allow(None);
        (most, completions)
    };
    let (all, expected) = run(None);
    assert_eq!(all, 12);
    let (few, found) = run(Some(3));
    assert_eq!(few, 3);
    assert_eq!(found, expected);
}

pub(super) fn requests() -> Vec<GenerateRequest> {
    let header = "Come up with a series of different tasks:\n\n";
    let prompts = [
        Prompt::Text(format!("{header}1. Write a poem.\n2.")),
        Prompt::Chat(vec![Message::user("Write a story about the sea.")]),
        Prompt::Text(format!("{header}1. Write a poem.\n2. Name a bird.\n3.")),
        Prompt::Text("x".repeat(300)),
    ];
    let request = |index: usize| {
        GenerateRequest::new(
            prompts[index % prompts.len()].clone(),
            sampled(index as u64, 5 + (index as u32 * 7) % 40),
        )
    };
    (0..40).map(request).collect()
}

/// Forty requests, so that some wait; common beginnings, so that some share caches.
#[test]
fn completions_depend_on_their_own_request_alone() {
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let requests = requests();
        let expect: Vec<Completion> = requests
            .iter()
            .map(|request| {
                model
                    .generate(None, std::slice::from_ref(request), &mut Silent, &calm())
                    .unwrap()
                    .remove(0)
            })
            .collect();
        assert_eq!(
            model
                .generate(None, &requests, &mut Silent, &calm())
                .unwrap(),
            expect
        );
        assert_eq!(
            tiny(compute, 1)
                .generate(None, &requests[3..11], &mut Silent, &calm())
                .unwrap(),
            expect[3..11]
        );
        let texts: std::collections::BTreeSet<&str> =
            expect.iter().map(|done| done.text.as_str()).collect();
        assert!(texts.len() > 30, "seeds matter");
    }
}

#[test]
fn losses_depend_on_their_own_conversation_alone() {
    let conversation = |index: usize| {
        vec![
            Message::user(format!("Name bird {index}.")),
            Message::assistant("Owl, ".repeat(1 + index * 5 % 60)),
        ]
    };
    let mut conversations: Vec<Vec<Message>> = (0..40).map(conversation).collect();
    conversations.push(vec![Message::user("No answer.")]);
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let all = model
            .response_loss(None, &conversations, &mut || {}, &calm())
            .unwrap();
        for (conversation, expect) in conversations.iter().zip(&all) {
            let alone = model
                .response_loss(
                    None,
                    std::slice::from_ref(conversation),
                    &mut || {},
                    &calm(),
                )
                .unwrap();
            assert_eq!(&alone[0], expect);
        }
        assert_eq!(all[40].tokens, 0);
        assert!(
            all[..40]
                .iter()
                .all(|loss| loss.tokens > 2 && loss.negative_log_likelihood > 0.0)
        );
    }
}

#[test]
fn a_response_loss_is_the_sum_over_its_tokens() {
    let model = tiny(Compute::Exact, 2);
    let messages = vec![Message::user("Name a bird."), Message::assistant("An owl.")];
    let loss = model
        .response_loss(None, std::slice::from_ref(&messages), &mut || {}, &calm())
        .unwrap()[0];
    let spans = model.conversation_spans(&messages, false).unwrap();
    let (mut ids, mut expect, mut tokens) = (Vec::new(), 0.0, 0);
    for span in spans {
        let begin = ids.len();
        ids.extend(span.ids);
        if span.is_response {
            let logits = all_logits(&model, None, &ids, 128);
            for at in begin..ids.len() {
                let row = &logits[at - 1];
                let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
                expect += total.ln() - f64::from(row[ids[at] as usize]);
                tokens += 1;
            }
        }
    }
    assert_eq!(loss.tokens, tokens);
    assert!(
        (loss.negative_log_likelihood - expect).abs() < 1e-4,
        "{loss:?} {expect}"
    );
}

#[derive(Default)]
struct Recorder {
    texts: Vec<String>,
    tokens: u64,
    interrupt_at: Option<(u64, Interrupt)>,
}

impl GenerateObserver for Recorder {
    fn token(&mut self, _: usize) {
        self.tokens += 1;
        if let Some((at, interrupt)) = &self.interrupt_at
            && self.tokens >= *at
        {
            interrupt.raise(InterruptReason::Pause);
        }
    }

    fn piece(&mut self, request: usize, text: &str) {
        self.texts
            .resize(self.texts.len().max(request + 1), String::new());
        self.texts[request].push_str(text);
    }
}

#[test]
fn pieces_join_to_the_completions() {
    let model = tiny(Compute::Fast, 2);
    let mut requests = requests();
    for request in &mut requests {
        request.sampling.stop = vec!["the".into(), ".\n".into()];
    }
    let mut recorder = Recorder::default();
    let completions = model
        .generate(None, &requests, &mut recorder, &calm())
        .unwrap();
    recorder.texts.resize(completions.len(), String::new());
    for (completion, text) in completions.iter().zip(&recorder.texts) {
        assert_eq!(&completion.text, text);
        assert!(!completion.text.contains("the") && !completion.text.contains(".\n"));
    }
    assert!(
        completions
            .iter()
            .any(|completion| completion.finish == FinishReason::Stop)
    );
    assert_eq!(
        recorder.tokens,
        completions
            .iter()
            .map(|done| u64::from(done.completion_tokens))
            .sum::<u64>()
    );
}

#[test]
fn stops_span_tokens_and_greedy_text_ends_before_them() {
    let model = tiny(Compute::Exact, 1);
    let prompt = Prompt::Chat(vec![Message::user("Write a story about the sea.")]);
    let request = |stop: Vec<String>| {
        GenerateRequest::new(
            prompt.clone(),
            Sampling {
                max_tokens: 40,
                stop,
                ..Sampling::default()
            },
        )
    };
    let whole = model
        .generate(None, &[request(vec![])], &mut Silent, &calm())
        .unwrap()
        .remove(0)
        .text;
    let middle = whole.chars().count() / 2;
    let stop: String = whole.chars().skip(middle).take(7).collect();
    assert!(
        model.tokenizer().encode(&stop).unwrap().len() > 1,
        "{stop:?}"
    );
    let cut = model
        .generate(
            None,
            &[request(vec!["never there".into(), stop.clone()])],
            &mut Silent,
            &calm(),
        )
        .unwrap()
        .remove(0);
    assert_eq!(cut.text, whole.split(&stop).next().unwrap());
    assert_eq!(cut.finish, FinishReason::Stop);
}

#[test]
fn a_completion_does_not_end_by_itself_before_its_least_tokens() {
    let model = tiny(Compute::Exact, 1);
    let generate = |min_tokens, temperature| {
        let requests: Vec<GenerateRequest> = (0..8)
            .map(|seed| {
                let sampling = Sampling {
                    min_tokens,
                    temperature,
                    seed,
                    ..sampled(seed, 60)
                };
                GenerateRequest::new(
                    Prompt::Chat(vec![Message::user(format!("Say {seed}."))]),
                    sampling,
                )
            })
            .collect();
        let completions = model.generate(None, &requests, &mut Silent, &calm());
        completions.unwrap()
    };
    for temperature in [0.0, 0.9] {
        let free = generate(0, temperature);
        let ends_early = |completion: &&Completion| completion.completion_tokens < 40;
        assert!(free.iter().filter(ends_early).count() > 0, "{free:?}");
        for (held, free) in generate(40, temperature).iter().zip(&free) {
            assert!(held.completion_tokens >= 40, "{held:?}");
            // What would have gone on so long by itself is the same.
            if free.completion_tokens > 40 {
                assert_eq!(held.text, free.text);
            }
        }
    }
}

#[test]
fn what_stands_for_an_early_end_is_written_and_the_completion_goes_on() {
    let model = tiny(Compute::Exact, 1);
    let generate = |min_tokens, early_end: &str| {
        let sampling = Sampling {
            max_tokens: 60,
            min_tokens,
            early_end: early_end.into(),
            ..Sampling::default()
        };
        let prompt = Prompt::Chat(vec![Message::user("Name a bird.")]);
        let requests = [GenerateRequest::new(prompt, sampling)];
        let mut completions = model.generate(None, &requests, &mut Silent, &calm());
        completions.as_mut().unwrap().remove(0)
    };
    let free = generate(0, " and then");
    assert_eq!(free.finish, FinishReason::Eos, "{free:?}");
    let held = generate(free.completion_tokens + 8, " and then");
    assert!(
        held.text.starts_with(&format!("{} and then", free.text)),
        "{held:?}"
    );
    assert!(held.completion_tokens >= free.completion_tokens + 8);
    // An end that is late enough stays one.
    assert_eq!(generate(1, " and then").text, free.text);
}

#[test]
fn an_interrupt_ends_generation() {
    let model = tiny(Compute::Fast, 2);
    let interrupt = Interrupt::new();
    let mut recorder = Recorder {
        interrupt_at: Some((50, interrupt.clone())),
        ..Recorder::default()
    };
    let outcome = model.generate(None, &requests(), &mut recorder, &interrupt);
    assert!(matches!(outcome, Err(EngineError::Interrupted)) && recorder.tokens < 50 + 32);
    let raised = model.response_loss(
        None,
        &[vec![Message::user("a"), Message::assistant("b")]],
        &mut || {},
        &interrupt,
    );
    assert!(matches!(raised, Err(EngineError::Interrupted)));
}

#[test]
fn limits_are_kept() {
    let model = tiny(Compute::Fast, 1);
    let request = |text: &str, max_tokens| {
        GenerateRequest::new(Prompt::Text(text.into()), sampled(1, max_tokens))
    };
    let generate = |request| model.generate(None, &[request], &mut Silent, &calm());
    assert!(matches!(
        generate(request("", 5)),
        Err(EngineError::Invalid(_))
    ));
    let none = generate(request("a", 0)).unwrap().remove(0);
    assert_eq!(
        (none.finish, none.completion_tokens),
        (FinishReason::Length, 0)
    );
    let long = generate(request(&"#~".repeat(3000), 5)).unwrap().remove(0);
    assert_eq!(
        (long.finish, long.text.as_str()),
        (FinishReason::NoRoom, "")
    );
    assert!(long.prompt_tokens > 1024);
    // The context ends before max_tokens does.
    let ids = model.tokenizer().encode(&"#~".repeat(505)).unwrap().len() as u32;
    assert!(ids < 1024);
    let filled = generate(request(&"#~".repeat(505), u32::MAX))
        .unwrap()
        .remove(0);
    assert!(filled.prompt_tokens + filled.completion_tokens <= 1024);
}

/// Requests that come while others are at work, urgent ones among them, and one that goes away.
#[test]
fn joining_and_leaving_changes_nobodys_completion() {
    for compute in [Compute::Exact, Compute::Fast] {
        let model = tiny(compute, 2);
        let requests = requests();
        let expect = model
            .generate(None, &requests, &mut Silent, &calm())
            .unwrap();
        let mut session = model.session(None).unwrap();
        let mut numbers = Vec::new();
        let mut found = vec![None; requests.len()];
        let mut passes = 0;
        while numbers.len() < requests.len() || !session.is_idle() {
            // Three at a time, every second pass.
            let joining = if passes % 2 == 0 { 3 } else { 0 };
            for request in requests.iter().skip(numbers.len()).take(joining) {
                let urgency = match numbers.len() % 5 {
                    0 => Urgency::Urgent,
                    _ => Urgency::Ordinary,
                };
                numbers.push(session.add(request.clone(), urgency).unwrap());
            }
            if passes == 6 {
                session.abandon(numbers[4]);
            }
            session.step(&mut Silent).unwrap();
            while let Some((number, completion)) = session.take_finished() {
                found[number] = Some(completion);
            }
            passes += 1;
        }
        for (index, number) in numbers.iter().enumerate() {
            if index != 4 {
                assert_eq!(found[*number].as_ref(), Some(&expect[index]), "{index}");
            }
        }
    }
}

#[test]
fn an_urgent_request_does_not_wait_for_a_place() {
    struct First(Option<usize>);
    impl GenerateObserver for First {
        fn token(&mut self, request: usize) {
            if request >= 60 {
                self.0.get_or_insert(request);
            }
        }
    }
    let model = tiny(Compute::Fast, 2);
    let request = |index: u64| {
        GenerateRequest::new(Prompt::Text(format!("Task {index}:")), sampled(index, 60))
    };
    let mut session = model.session(None).unwrap();
    for index in 0..60 {
        session.add(request(index), Urgency::Ordinary).unwrap();
    }
    for _ in 0..5 {
        session.step(&mut Silent).unwrap();
    }
    session.add(request(60), Urgency::Ordinary).unwrap();
    session.add(request(61), Urgency::Urgent).unwrap();
    let mut first = First(None);
    session.step(&mut first).unwrap();
    assert_eq!(first.0, Some(61), "in the very next pass");
}

#[test]
fn a_common_beginning_is_computed_once() {
    let model = tiny(Compute::Fast, 1);
    let header = "Come up with a series of tasks:\n1. Write a poem about the sea.\n2. ".repeat(3);
    let requests: Vec<GenerateRequest> = (0..20)
        .map(|index| {
            GenerateRequest::new(Prompt::Text(format!("{header}{index}")), sampled(index, 1))
        })
        .collect();
    let prompt = model.encode(&requests[0].prompt).unwrap().len();
    let mut session = model.session(None).unwrap();
    for request in &requests {
        session.add(request.clone(), Urgency::Ordinary).unwrap();
    }
    let mut passes = 0;
    while !session.is_idle() {
        session.step(&mut Silent).unwrap();
        passes += 1;
    }
    // Each for itself would take all the prompts' tokens; together it is one prompt and nineteen ends of a few tokens.
    let (once, each) = (
        prompt.div_ceil(MAX_BATCH_TOKENS) + 1,
        (20 * prompt).div_ceil(MAX_BATCH_TOKENS),
    );
    assert!(
        passes <= once + 1 && once + 1 < each,
        "{passes} passes, {once} and {each}"
    );
}
