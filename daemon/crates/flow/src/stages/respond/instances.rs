//! The instances of an instruction, each an input with its answer, and which of them are kept: the reference's filters on them.

use autodidact_domain::verdict::Evidence;
use autodidact_domain::{Completion, Verdict};
use autodidact_text::normalize;

use crate::prompts::flatten;
use crate::stages::prompt_too_long;

/// An input with the answer to it.
pub(crate) struct Instance {
    pub(crate) input: String,
    /// The answer, where there is a whole one.
    pub(crate) output: Option<String>,
    /// What the answer was read from, or what came before it and was no use.
    pub(crate) completion: Completion,
    /// The drop of one that overlaps a held-out task.
    pub(crate) overlap: Option<Verdict>,
}

impl Instance {
    /// Makes one that came to nothing: half an example is none.
    pub(crate) fn failed(completion: Completion) -> Self {
        Self {
            input: String::new(),
            output: None,
            completion,
            overlap: None,
        }
    }

    /// Makes one with its answer.
    pub(crate) fn new(input: String, output: Option<String>, completion: Completion) -> Self {
        Self {
            input,
            output,
            completion,
            overlap: None,
        }
    }

    /// Tells why it comes to nothing, where it does.
    fn failure(&self) -> Option<Verdict> {
        if let Some(drop) = prompt_too_long("respond", &self.completion) {
            return Some(drop);
        }
        if self.output.is_some() {
            return self.overlap.clone();
        }
        if self.completion.text.trim().is_empty() {
            let evidence = Evidence::default();
            return Some(Verdict::drop("respond", "no_answer", evidence));
        }
        let tokens = self.completion.completion_tokens;
        let evidence = note(format!("no whole sentence in {tokens} tokens"));
        Some(Verdict::drop("respond", "truncated", evidence))
    }
}

fn note(text: String) -> Evidence {
    Evidence {
        note: Some(text),
        ..Evidence::default()
    }
}

/// Which instances are kept, and what that makes of their instruction.
pub(crate) struct Settled {
    /// The places of those that are kept; none where the instruction is dropped.
    pub(crate) kept: Vec<usize>,
    pub(crate) verdict: Verdict,
}

/// Settles what becomes of an instruction's instances.
///
/// One without a whole answer ends as `no_answer`, `truncated` or `prompt_too_long`, one that says what an earlier one says as
/// `duplicate_instance`, and one that overlaps a held-out task by that; the instruction goes on with the others, and its verdict names those that ended. Where one input has two
/// different answers, nothing tells which is right: the instruction is dropped as `conflicting_outputs`.
pub(crate) fn settle(instances: &[Instance]) -> Settled {
    let (mut kept, mut ended): (Vec<usize>, Vec<(usize, Verdict)>) = (Vec::new(), Vec::new());
    for (i, instance) in instances.iter().enumerate() {
        if let Some(failure) = instance.failure() {
            ended.push((i, failure));
            continue;
        }
        let output = instance.output.as_deref().unwrap_or_default();
        let same_input =
            |other: &&usize| normalize(&instances[**other].input) == normalize(&instance.input);
        let output_of = |other: usize| instances[other].output.as_deref().unwrap_or_default();
        let twins: Vec<usize> = kept.iter().filter(same_input).copied().collect();
        if let Some(twin) = twins
            .iter()
            .find(|twin| normalize(output_of(**twin)) == normalize(output))
        {
            let evidence = note(format!("the same as instance {}", twin + 1));
            ended.push((i, Verdict::drop("respond", "duplicate_instance", evidence)));
            continue;
        }
        // What differs in case or punctuation may be another question: "A" and "a".
        let is_equal =
            |twin: &&usize| flatten(&instances[**twin].input) == flatten(&instance.input);
        if let Some(twin) = twins.iter().find(is_equal) {
            let evidence = note(format!(
                "the input {:?} has the answers {:?} and {:?}",
                cut(&instance.input),
                cut(output_of(*twin)),
                cut(output)
            ));
            return Settled {
                kept: Vec::new(),
                verdict: Verdict::drop("respond", "conflicting_outputs", evidence),
            };
        }
        kept.push(i);
    }
    let verdict = match (kept.is_empty(), ended.first()) {
        (true, Some((_, verdict))) => verdict.clone(),
        (true, None) => Verdict::drop("respond", "no_answer", Evidence::default()),
        (false, None) => Verdict::keep("respond"),
        (false, Some(_)) => Verdict {
            evidence: note(told(instances.len(), &kept, &ended)),
            ..Verdict::keep("respond")
        },
    };
    Settled { kept, verdict }
}

fn told(all: usize, kept: &[usize], ended: &[(usize, Verdict)]) -> String {
    let ended = ended
        .iter()
        .map(|(i, verdict)| format!("instance {}: {}", i + 1, verdict.reason));
    let ended: Vec<String> = ended.collect();
    format!("{} of {all} instances; {}", kept.len(), ended.join(", "))
}

/// Shortens a text for evidence.
fn cut(text: &str) -> String {
    const MOST: usize = 80;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use autodidact_domain::FinishReason;

    use super::*;

    fn completion(finish: FinishReason, text: &str) -> Completion {
        Completion {
            text: text.to_string(),
            finish,
            prompt_tokens: 2000,
            completion_tokens: 7,
            logprobs: Vec::new(),
        }
    }

    fn answered(input: &str, output: &str) -> Instance {
        let told = completion(FinishReason::Eos, output);
        Instance::new(input.to_string(), Some(output.to_string()), told)
    }

    #[test]
    fn an_answer_whose_input_had_no_room_is_none() {
        let whole = settle(&[answered("", "It is short.")]);
        assert_eq!(whole.verdict.reason, "kept");
        let without = Instance::failed(completion(FinishReason::NoRoom, ""));
        let without = settle(&[without]).verdict;
        assert_eq!(without.reason, "prompt_too_long");
        let note = without.evidence.note.unwrap_or_default();
        assert!(note.contains("2000 tokens"), "{note}");
    }

    #[test]
    fn an_instruction_goes_on_with_the_instances_that_are_whole_and_new() {
        let failed = |finish, text| Instance::failed(completion(finish, text));
        let check = |instances: &[Instance], kept: &[usize], reason: &str, note: &str| {
            let settled = settle(instances);
            assert_eq!(
                (settled.kept.as_slice(), settled.verdict.reason.as_str()),
                (kept, reason)
            );
            assert_eq!(settled.verdict.evidence.note.unwrap_or_default(), note);
        };
        check(&[answered("a", "b")], &[0], "kept", "");
        check(&[failed(FinishReason::Eos, " ")], &[], "no_answer", "");
        let cut = || failed(FinishReason::Length, "It is");
        check(&[cut()], &[], "truncated", "no whole sentence in 7 tokens");
        check(
            &[
                cut(),
                answered("a", "b"),
                answered("A.", "B"),
                answered("c", "b"),
            ],
            &[1, 3],
            "kept",
            "2 of 4 instances; instance 1: truncated, instance 3: duplicate_instance",
        );
        check(
            &[
                answered("a", "yes"),
                answered("b", "no"),
                answered(" a", "no"),
            ],
            &[],
            "conflicting_outputs",
            "the input \" a\" has the answers \"yes\" and \"no\"",
        );
        check(
            &[answered("A", "upper"), answered("a", "lower")],
            &[0, 1],
            "kept",
            "",
        );
        check(&[], &[], "no_answer", "");
    }
}
