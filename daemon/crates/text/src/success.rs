//! When an answer to a held-out task counts as a success.

use autodidact_domain::TaskType;

use crate::{chrf, normalize, parse_spans, rouge_l, span_f1, tokenize};

/// The least span F1 with which an extraction succeeds.
pub const EXTRACTION_SPAN_F1: f64 = 0.5;
/// The least chrF (0 to 100) with which a translation succeeds.
pub const TRANSLATION_CHRF: f64 = 40.0;
/// The least ROUGE-L F with which an answer to any other task succeeds.
pub const OPEN_ROUGE_L: f64 = 0.3;

/// Tells whether an answer succeeds against the reference answer. The definition, by task type:
///
/// | task type | succeeds when |
/// |---|---|
/// | classification, or none told but labels declared | the answer is the reference label after [`normalize`]: case, width and punctuation around it do not matter, any other word does |
/// | extraction | [`span_f1`] of the listed spans is at least 0.5 |
/// | translation | [`chrf`] is at least 40 |
/// | every other, or none told | [`rouge_l`] over [`tokenize`]'s tokens is at least 0.3 |
///
/// In every type an answer that equals the reference after [`normalize`] succeeds, and an empty answer or one to an empty
/// reference fails.
pub fn succeeds(
    task_type: Option<TaskType>,
    labels: &[String],
    answer: &str,
    reference: &str,
) -> bool {
    let (normal_answer, normal_reference) = (normalize(answer), normalize(reference));
    if normal_answer.is_empty() || normal_reference.is_empty() {
        return false;
    }
    if normal_answer == normal_reference {
        return true;
    }
    match task_type_of(task_type, labels) {
        Some(TaskType::Classification) => false,
        Some(TaskType::Extraction) => {
            span_f1(&parse_spans(answer), &parse_spans(reference)) >= EXTRACTION_SPAN_F1
        }
        Some(TaskType::Translation) => chrf(answer, reference) >= TRANSLATION_CHRF,
        Some(
            TaskType::Writing
            | TaskType::QuestionAnswering
            | TaskType::Rewriting
            | TaskType::Reasoning
            | TaskType::Code
            | TaskType::Conversation,
        )
        | None => rouge_l(&tokenize(answer), &tokenize(reference)) >= OPEN_ROUGE_L,
    }
}

/// Finds the type by which a task is judged: one of no type that declares labels is a classification.
pub fn task_type_of(task_type: Option<TaskType>, labels: &[String]) -> Option<TaskType> {
    task_type.or_else(|| (!labels.is_empty()).then_some(TaskType::Classification))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_task_type() {
        let check = |task_type, answer: &str, reference: &str, expect: bool| {
            assert_eq!(
                succeeds(task_type, &[], answer, reference),
                expect,
                "{task_type:?} {answer:?} {reference:?}"
            );
        };
        let classification = Some(TaskType::Classification);
        check(classification, "Positive.", "positive", true);
        check(classification, "“负面”。", "负面", true);
        check(classification, "not spam", "spam", false);
        check(classification, "positive negative", "positive", false);
        check(classification, "", "positive", false);
        check(classification, "c", "C++", false);

        let extraction = Some(TaskType::Extraction);
        check(extraction, "Chile, Norway", "Chile; Norway; Kenya", true);
        check(extraction, "Chile, Peru", "Chile; Norway; Kenya", false);
        check(extraction, "白鹭、田鼠", "白鹭；野鸭；田鼠", true);
        check(extraction, "", "白鹭", false);

        let translation = Some(TaskType::Translation);
        check(
            translation,
            "El museo abre a las once.",
            "El museo abre a las diez.",
            true,
        );
        check(
            translation,
            "Museum ten",
            "El museo abre a las diez.",
            false,
        );
        check(translation, "你好！", "你好。", true);

        for open in [
            None,
            Some(TaskType::Writing),
            Some(TaskType::Code),
            Some(TaskType::Reasoning),
        ] {
            check(open, "It is a barometer, I think", "A barometer.", true);
            check(
                open,
                "I do not know what that might be",
                "A barometer.",
                false,
            );
            check(open, "+", "+", true);
            check(open, "anything", "", false);
        }
    }

    #[test]
    fn declared_labels_make_a_task_of_no_type_a_classification() {
        let labels = ["yes".to_string(), "no".to_string()];
        assert!(succeeds(None, &labels, "Yes!", "yes"));
        assert!(!succeeds(None, &labels, "yes yes no", "yes"));
        assert!(succeeds(None, &[], "yes yes no", "yes"));
    }
}
